// What is asked of the network: to explain a photograph, and to look at a part of one again.

import { prepared } from './resize.js';

/** `run`: (RGB pixels, width, height) => { values, logits, classes, rows, columns } of that input, or a promise of it. */
export function tasks(run, about) {
  return {
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
}
