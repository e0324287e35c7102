// What is asked of the network: to explain a photograph, and to look at a part of one again.

import { placementOf, prepared } from './resize.js';

/** Refuse what the library and its service refuse: a photograph of which a window sees hardly a pixel, or too much of one. */
function check(width, height, { geometry, preprocessing, largest_input: largest }) {
  const { horizontal, vertical } = placementOf(width, height, preprocessing);
  if (geometry.size * Math.min(...[horizontal, vertical].map(({ source, resized }) => source / resized)) < 2) {
    throw new Error(`a photograph of ${width} × ${height} pixels is too small: a window would see less than 2 × 2 of them`);
  }
  if (horizontal.length * vertical.length > largest) {
    const remedy = preprocessing.resize ? 'crop it to a squarer shape' : 'scale it down';
    throw new Error(`of a photograph of ${width} × ${height} pixels the network would get more than ${largest / 1e6} million: ${remedy}`);
  }
}

/** `run`: (RGB pixels, width, height) => { values, logits, classes, rows, columns } of that input, or a promise of it. */
export function tasks(run, about) {
  return {
    async explain({ rgba, width, height }) {
      const start = performance.now();
      check(width, height, about);
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
