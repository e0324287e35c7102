// The colours of evidence: blue speaks against, white is silent, red speaks for. The anchors come with the configuration.

const STEPS = 128; // to either side of white
export const LIMITS = [0.5, 1, 2, 5, 10, 15, 20, 30, 40, 60, 100, 200, 500]; // logits at which the colours may end

/** Where the colours end for a map with such a largest logit. */
export function limitFor(largest) {
  return LIMITS.find((limit) => limit >= 0.9 * largest) ?? LIMITS.at(-1);
}

/** How strongly a logit covers the image: what says little lets it through. */
export function strength(value, limit) {
  return Math.min(1, 0.15 + Math.abs(value) / limit);
}

/** Hex anchors -> (value, limit) => [red, green, blue]. */
export function colourScale(anchors) {
  const ends = anchors.map((code) => [1, 3, 5].map((start) => parseInt(code.slice(start, start + 2), 16)));
  const table = Array.from({ length: 2 * STEPS + 1 }, (_, step) => {
    const position = (step * (ends.length - 1)) / (2 * STEPS);
    const low = Math.min(ends.length - 2, Math.floor(position));
    return ends[low].map((channel, at) => Math.round(channel + (position - low) * (ends[low + 1][at] - channel)));
  });
  return (value, limit) => table[Math.round(Math.min(1, Math.max(-1, value / limit)) * STEPS) + STEPS];
}
