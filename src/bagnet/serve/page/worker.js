// The network, off the page's own thread: photographs in, evidence out. One of two ways to run it, chosen by the configuration.

import { prepared } from './resize.js';

let about;
let run;

/** onnxruntime-web in this browser. */
async function wasm() {
  const ort = await import('./onnxruntime/ort.wasm.min.mjs');
  ort.env.wasm.wasmPaths = new URL('./onnxruntime/', import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
  const response = await fetch(new URL(about.model, import.meta.url));
  if (!response.ok) throw new Error(`${about.model} cannot be fetched (${response.status})`);
  const session = await ort.InferenceSession.create(await response.arrayBuffer(), { executionProviders: ['wasm'] });
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
    const response = await fetch(new URL('./v1/explain?all=true&prepared=true', import.meta.url), { method: 'POST', body, headers });
    const answer = await response.json();
    if (!response.ok) throw new Error(typeof answer.detail === 'string' ? answer.detail : `the service says ${response.status}`);
    const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer);
    const [classes, rows, columns] = answer.all_maps.shape;
    return { values: floats(answer.all_maps.values), logits: floats(answer.all_maps.logits), classes, rows, columns };
  };
}

const tasks = {
  async open({ configuration }) {
    about = configuration;
    run = about.engine === 'http' ? http() : await wasm();
    return {};
  },
  async explain({ rgba, width, height }) {
    const start = performance.now();
    const input = prepared(rgba, width, height, about.preprocessing);
    const smallest = Math.max(1, about.geometry.size + 2 * about.geometry.origin);
    if (Math.min(input.width, input.height) < smallest) {
      throw new Error(`the photograph is smaller than a window of ${about.geometry.size} pixels`);
    }
    const answer = await run(input.pixels, input.width, input.height);
    return { ...input, ...answer, width: input.width, height: input.height, milliseconds: performance.now() - start };
  },
  async run({ pixels, width, height }) {
    const start = performance.now();
    return { ...(await run(pixels, width, height)), milliseconds: performance.now() - start };
  },
};

self.onmessage = async ({ data: { id, task, ...rest } }) => {
  try {
    self.postMessage({ id, answer: await tasks[task](rest) });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
