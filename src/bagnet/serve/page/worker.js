// The network, off the page's own thread: photographs in, evidence out. One of two ways to run it, chosen by the configuration.

import { tasks } from './tasks.js';

let about;

/** onnxruntime-web in this browser. */
async function wasm() {
  const ort = await import('./onnxruntime/ort.wasm.min.mjs');
  ort.env.wasm.wasmPaths = new URL('./onnxruntime/', import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
  const response = await fetch(new URL(about.model, import.meta.url));
  if (!response.ok) throw new Error(`${about.model} cannot be fetched (${response.status})`);
  // A part of a photograph has another shape than the whole: memory planned for one shape serves the next badly.
  const options = { executionProviders: ['wasm'], enableCpuMemArena: false, enableMemPattern: false };
  const session = await ort.InferenceSession.create(await response.arrayBuffer(), options);
  return async (pixels, width, height) => {
    const input = new ort.Tensor('uint8', pixels, [1, height, width, 3]);
    const output = await session.run({ image: input });
    const [, classes, rows, columns] = output.evidence.dims;
    return { values: output.evidence.data, logits: output.logits.data, classes, rows, columns };
  };
}

/** The service that the page came from. */
function http() {
  return async (pixels, width, height) => {
    const canvas = new OffscreenCanvas(width, height);
    const rgba = new Uint8ClampedArray(width * height * 4).fill(255);
    for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) rgba.set(pixels.subarray(from, from + 3), to);
    canvas.getContext('2d').putImageData(new ImageData(rgba, width, height), 0, 0);
    const body = await canvas.convertToBlob({ type: 'image/png' });
    const headers = { 'Content-Type': 'image/png', ...(about.token ? { Authorization: `Bearer ${about.token}` } : {}) };
    const request = fetch(new URL('./v1/explain?all=true&prepared=true', import.meta.url), { method: 'POST', body, headers });
    const response = await request.catch(() => {
      throw new Error('the service does not answer: is it still there?');
    });
    const answer = await response.json().catch(() => ({})); // a proxy in between says no in its own way
    if (!response.ok) throw new Error(typeof answer.detail === 'string' ? answer.detail : `the service says ${response.status}`);
    const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer);
    const [classes, rows, columns] = answer.all_maps.shape;
    return { values: floats(answer.all_maps.values), logits: floats(answer.all_maps.logits), classes, rows, columns };
  };
}

let work;
let idle;

async function open({ configuration }) {
  about = configuration;
  work = tasks(about.engine === 'http' ? http() : await wasm(), about);
  return {};
}

/** While nobody asks: look at parts that an eraser touches, so that the browser has compiled for them before the first stroke. */
function rehearse(times = 4) {
  if (about?.engine !== 'wasm' || about.geometry.origin !== 0 || times === 0) return;
  const side = about.geometry.size + 2 * about.geometry.stride;
  idle = setTimeout(async () => {
    await work.run({ pixels: new Uint8Array(side * side * 3), width: side, height: side });
    rehearse(times - 1);
  }, 150);
}

self.onmessage = async ({ data: { id, task, ...rest } }) => {
  clearTimeout(idle);
  try {
    self.postMessage({ id, answer: await (task === 'open' ? open : work[task])(rest) });
    if (task === 'explain') rehearse();
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
