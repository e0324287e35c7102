// What a photograph shows, and where, in Node: an exported page's model, without this library and without a browser.
//
// Run `bagnet export --web site/` and `npm install onnxruntime-web jpeg-js pngjs` once, then
// `node onnx_explain.mjs site/ photo.jpg why.png`.

import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import jpeg from 'jpeg-js';
import * as ort from 'onnxruntime-web';
import { PNG } from 'pngjs';

const [site, photo, out] = process.argv.slice(2);
const about = JSON.parse(await readFile(join(site, 'bagnet.json'), 'utf8'));
const { prepared } = await import(pathToFileURL(resolve(site, 'resize.js'))); // Pillow's resize, to the last bit

const file = await readFile(photo);
const { data, width, height } = file[0] === 0x89 ? PNG.sync.read(file) : jpeg.decode(file, { useTArray: true });
const input = prepared(data, width, height, about.preprocessing);

const session = await ort.InferenceSession.create(await readFile(join(site, 'model.onnx')));
const image = new ort.Tensor('uint8', input.pixels, [1, input.height, input.width, 3]);
const { logits, evidence } = await session.run({ image });
const [, , rows, columns] = evidence.dims;
const order = [...logits.data.keys()].sort((a, b) => logits.data[b] - logits.data[a]);
for (const index of order.slice(0, 5)) console.log(about.classes[index].padEnd(30), logits.data[index].toFixed(2).padStart(7));

const map = evidence.data.slice(order[0] * rows * columns, (order[0] + 1) * rows * columns); // its mean is the logit
const scale = Math.max(...map.map(Math.abs));
const picture = new PNG({ width: input.width, height: input.height });
for (let pixel = 0; pixel < input.width * input.height; pixel += 1) {
  const [x, y] = [pixel % input.width, Math.floor(pixel / input.width)];
  const cell = Math.floor((y * rows) / input.height) * columns + Math.floor((x * columns) / input.width);
  const share = map[cell] / scale; // red speaks for the best class, blue against it
  const colour = [1 + Math.min(0, share), 1 - Math.abs(share), 1 - Math.max(0, share)];
  colour.forEach((value, c) => (picture.data[4 * pixel + c] = 0.4 * input.pixels[3 * pixel + c] + 0.6 * 255 * value));
  picture.data[4 * pixel + 3] = 255;
}
await writeFile(out, PNG.sync.write(picture));
