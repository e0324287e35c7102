// A photograph with the evidence over it, drawn on a canvas in pixels of the network's input.

import { strength } from './colours.js';

const LEAST = 600; // pixels of a canvas along its longer side, so that lines on a small input are as fine as on a large one

/** Paint RGB pixels on a canvas, enlarged where they are few; grey ones let the colours of the map speak. */
export function paintPixels(canvas, { pixels, width, height }, grey) {
  const scale = Math.ceil(LEAST / Math.max(width, height));
  canvas.width = scale * width;
  canvas.height = scale * height;
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    const [red, green, blue] = [pixels[from], pixels[from + 1], pixels[from + 2]];
    const light = 0.299 * red + 0.587 * green + 0.114 * blue;
    image.data[to] = grey ? light : red;
    image.data[to + 1] = grey ? light : green;
    image.data[to + 2] = grey ? light : blue;
    image.data[to + 3] = 255;
  }
  const plain = new OffscreenCanvas(width, height);
  plain.getContext('2d').putImageData(image, 0, 0);
  const context = canvas.getContext('2d');
  context.scale(scale, scale);
  context.drawImage(plain, 0, 0);
}

/** Width and height in pixels of the input. */
function sizeOf(canvas) {
  const { a: scale } = canvas.getContext('2d').getTransform();
  return [canvas.width / scale, canvas.height / scale];
}

/**
 * Colour each pixel by what the windows say that hold it. Few large windows overlap: there it is the mean of those that hold a
 * pixel; else each cell is a square about the centre of its window.
 */
export function paintMap(canvas, geometry, map, columns, { limit, opacity, colour, spread }) {
  const context = canvas.getContext('2d');
  const [across, down] = sizeOf(canvas).map((length) => (spread ? geometry.runs(length) : geometry.squares(length)));
  for (const [top, bottom, firstRow, lastRow] of down) {
    for (const [left, right, firstColumn, lastColumn] of across) {
      let sum = 0;
      for (let row = firstRow; row < lastRow; row += 1) {
        for (let column = firstColumn; column < lastColumn; column += 1) sum += map[row * columns + column];
      }
      const held = (lastRow - firstRow) * (lastColumn - firstColumn);
      if (!held) continue;
      const value = sum / held;
      const [red, green, blue] = colour(value, limit);
      context.fillStyle = `rgba(${red},${green},${blue},${opacity * strength(value, limit)})`;
      context.fillRect(left, top, right - left, bottom - top);
    }
  }
}

/** Outline boxes; the first one strongly. */
export function outline(canvas, boxes, dashed = false) {
  const context = canvas.getContext('2d');
  const thick = Math.max(...sizeOf(canvas)) / 220; // the longer side is what fits the screen
  context.setLineDash(dashed ? [4 * thick, 3 * thick] : []);
  boxes.forEach(({ left, top, width, height }, order) => {
    context.lineWidth = order === 0 ? 2 * thick : thick;
    context.strokeStyle = '#ffffff';
    context.strokeRect(left, top, width, height);
    context.lineWidth = order === 0 ? thick : thick / 2;
    context.strokeStyle = '#12141a';
    context.strokeRect(left, top, width, height);
  });
}
