// What Pillow makes of a photograph by resize and crop, to the last bit: windows must see here what they see in the library.

const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight: (x) => {
      const a = -0.5;
      x = Math.abs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
  lanczos: {
    support: 3,
    weight: (x) => {
      const sinc = (t) => (t === 0 ? 1 : Math.sin(t * Math.PI) / (t * Math.PI));
      return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
    },
  },
};
const BITS = 22; // of the fixed-point weights

/** Half the width of a filter, in pixels of what it makes; it widens as the image shrinks. */
export const radius = (interpolation) => FILTERS[interpolation].support;

/** For each output pixel the first input pixel and the fixed-point weights of those that it is made from. */
function taps(source, target, filter) {
  const scale = source / target;
  const stretch = Math.max(1, scale);
  const support = filter.support * stretch;
  const shrink = 1 / stretch; // multiplied with, as Pillow does, lest the last bit differ
  return Array.from({ length: target }, (_, at) => {
    const centre = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(source, Math.trunc(centre + support + 0.5));
    const weights = [];
    let sum = 0;
    for (let pixel = first; pixel < last; pixel += 1) {
      const weight = filter.weight((pixel - centre + 0.5) * shrink);
      weights.push(weight);
      sum += weight;
    }
    const fixed = weights.map((weight) => {
      const share = (sum !== 0 ? weight / sum : weight) * 2 ** BITS;
      return Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
    return { first, weights: Int32Array.from(fixed) };
  });
}

/** One axis: `step` and `across` are the distances of neighbours along it and beside it, in bytes of the three-byte pixels. */
function pass(from, lines, source, target, filter, step, across, outStep, outAcross) {
  if (source === target) return from;
  const to = new Uint8Array(lines * target * 3);
  const plan = taps(source, target, filter);
  for (let line = 0; line < lines; line += 1) {
    for (let at = 0; at < target; at += 1) {
      const { first, weights } = plan[at];
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 2 ** (BITS - 1);
        let index = line * across + first * step + channel;
        for (let tap = 0; tap < weights.length; tap += 1, index += step) sum += from[index] * weights[tap];
        const value = Math.floor(sum / 2 ** BITS);
        to[line * outAcross + at * outStep + channel] = value < 0 ? 0 : value > 255 ? 255 : value;
      }
    }
  }
  return to;
}

/** RGB pixels resized by a filter of Pillow's. Newer versions begin with the height where that saves most: `heightFirst`. */
export function resized(rgb, width, height, newWidth, newHeight, interpolation, heightFirst) {
  const filter = FILTERS[interpolation];
  if (!filter) throw new Error(`there is no interpolation ${interpolation}`);
  if (heightFirst && newHeight < height && height - newHeight > 2 * (width - newWidth)) {
    const low = pass(rgb, width, height, newHeight, filter, 3 * width, 3, 3 * width, 3);
    return pass(low, newHeight, width, newWidth, filter, 3, 3 * width, 3, 3 * newWidth);
  }
  const wide = pass(rgb, height, width, newWidth, filter, 3, 3 * width, 3, 3 * newWidth);
  return pass(wide, newWidth, height, newHeight, filter, 3 * newWidth, 3, 3 * newWidth, 3);
}

/** Python's round: halves go to the even neighbour. */
function roundHalfEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** Where the network's input lies in a photograph, on both axes. */
export function placementOf(width, height, { resize, crop }) {
  const shorter = Math.min(width, height);
  const side = (pixels) => {
    if (!resize) return pixels;
    return pixels === shorter ? resize : Math.trunc((resize * pixels) / shorter);
  };
  const axis = (source) => {
    const full = side(source);
    if (!crop) return { source, resized: full, start: 0, length: full };
    const start = full >= crop ? roundHalfEven((full - crop) / 2) : -Math.floor((crop - full) / 2);
    return { source, resized: full, start, length: crop };
  };
  return { horizontal: axis(width), vertical: axis(height) };
}

/** RGBA pixels of a photograph -> { pixels: RGB of the network's input, width, height, placement }. */
export function prepared(rgba, width, height, preprocessing) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  const placement = placementOf(width, height, preprocessing);
  const { horizontal: across, vertical: down } = placement;
  const full = resized(rgb, width, height, across.resized, down.resized, preprocessing.interpolation, preprocessing.height_first);
  const pixels = new Uint8Array(across.length * down.length * 3); // black where the crop is larger
  for (let row = 0; row < down.length; row += 1) {
    const source = row + down.start;
    if (source < 0 || source >= down.resized) continue;
    const left = Math.max(0, -across.start);
    const count = Math.min(across.length - left, across.resized - Math.max(0, across.start));
    const begin = 3 * (source * across.resized + left + across.start);
    pixels.set(full.subarray(begin, begin + 3 * count), 3 * (row * across.length + left));
  }
  return { pixels, width: across.length, height: down.length, placement };
}
