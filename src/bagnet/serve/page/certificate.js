// What no sticker can change: two-mask voting on the map of evidence. `certificates/voting.py` has the theorem and its proof.

const MASKS = 6; // along an axis, at most
const ROUNDING = 1e-5; // of the largest logit: how far a window's logit may be off in float32
const CEILING = 1e4; // no network says as much of a window

/**
 * Whether a square sticker, anywhere on the photograph, showing anything, can change the answer of the two-mask vote.
 *
 * `share` is of the photograph's area; `radius` is the resize filter's, in pixels of its output.
 * Returns { certified, label, rival, margin, worst }: of `worst` the cells, { top, left, bottom, right }; null where two masks
 * of that size leave no window to vote.
 */
export function certificate({ evidence, placement }, geometry, share, radius) {
  const { vertical, horizontal } = placement;
  const side = Math.ceil(Math.sqrt(share * vertical.source * horizontal.source));
  const down = masks(touched(vertical, geometry, Math.min(side, vertical.source), radius));
  const across = masks(touched(horizontal, geometry, Math.min(side, horizontal.source), radius));
  return vote(evidence, down, across);
}

/** The longest runs of cells along an axis that a run of so many pixels of the photograph touches, in order. */
export function touched(axis, geometry, pixels, radius) {
  const taps = Array.from({ length: axis.resized }, (_, pixel) => tapsOf(axis, pixel, radius));
  const runs = new Map();
  let [first, last] = [0, 0]; // of the resized pixels with a tap in the run: neither ever goes back
  for (let start = 0; start + pixels <= axis.source; start += 1) {
    while (first < axis.resized && taps[first][1] <= start) first += 1;
    while (last < axis.resized && taps[last][0] < start + pixels) last += 1;
    const seen = [first, last].map((edge) => Math.min(axis.length, Math.max(0, edge - axis.start)));
    const [from, to] = geometry.touching(seen[0], seen[1], axis.length);
    if (to > from) runs.set(`${from},${to}`, [from, to]);
  }
  const all = [...runs.values()];
  return all.filter(([from, to]) => !all.some(([start, stop]) => (start !== from || stop !== to) && start <= from && to <= stop));
}

/** Pixels of the photograph with a place in the filter of one resized pixel, widened by one. */
function tapsOf({ source, resized }, pixel, radius) {
  if (source === resized) return [pixel, pixel + 1];
  const scale = source / resized;
  const [centre, reach] = [(pixel + 0.5) * scale, radius * Math.max(scale, 1)];
  return [Math.max(Math.floor(centre - reach) - 1, 0), Math.min(Math.ceil(centre + reach) + 1, source)];
}

/** Few runs, such that each of `runs` lies in one. */
function masks(runs) {
  const step = Math.ceil(runs.length / MASKS);
  return Array.from({ length: Math.ceil(runs.length / step) }, (_, group) => {
    const some = runs.slice(group * step, (group + 1) * step);
    return [Math.min(...some.map(([start]) => start)), Math.max(...some.map(([, stop]) => stop))];
  });
}

function vote(evidence, down, across) {
  const { values, rows, columns, count } = evidence;
  const rectangles = down.flatMap(([top, bottom]) => across.map(([left, right]) => ({ top, bottom, left, right })));
  const pairs = rectangles.flatMap((first) => rectangles.map((second) => overlap(first, second)));
  const n = rectangles.length;
  const area = ({ top, bottom, left, right }) => (bottom - top) * (right - left);
  const sizes = rectangles.map(area);
  const kept = pairs.map((both, pair) => rows * columns - sizes[Math.floor(pair / n)] - sizes[pair % n] + area(both));
  if (!n || Math.min(...kept) <= 0) return null;

  // Means of the windows outside each two masks, of every class; those outside one mask are outside it and itself.
  const means = new Float64Array(count * n * n);
  let largest = 0;
  for (let index = 0; index < count; index += 1) {
    const table = new Float64Array((rows + 1) * (columns + 1));
    for (let row = 0; row < rows; row += 1) {
      let line = 0;
      for (let column = 0; column < columns; column += 1) {
        const value = values[(index * rows + row) * columns + column];
        largest = Math.max(largest, Math.abs(value) || 0);
        line += Number.isNaN(value) ? -CEILING : Math.min(CEILING, Math.max(-CEILING, value));
        table[(row + 1) * (columns + 1) + column + 1] = table[row * (columns + 1) + column + 1] + line;
      }
    }
    const sum = ({ top, bottom, left, right }) => table[bottom * (columns + 1) + right] - table[top * (columns + 1) + right] - table[bottom * (columns + 1) + left] + table[top * (columns + 1) + left];
    const total = table.at(-1);
    const masked = rectangles.map(sum);
    pairs.forEach((both, pair) => {
      means[index * n * n + pair] = (total - (masked[Math.floor(pair / n)] + masked[pair % n] - sum(both))) / kept[pair];
    });
  }
  const best = pairs.map((_, pair) => leader(means, count, n * n, pair, -1));
  const label = answer(best, n);
  let [margin, worst, rival] = [Infinity, 0, -1];
  pairs.forEach((_, pair) => {
    const second = leader(means, count, n * n, pair, label);
    const lead = means[label * n * n + pair] - means[second * n * n + pair];
    if (lead < margin) [margin, worst, rival] = [lead, pair, second];
  });
  margin -= 2 * (ROUNDING * largest + (rows * columns) ** 2 * CEILING * 2 ** -52);
  return { certified: margin > 0, label, rival, margin, worst: rectangles[Math.floor(worst / n)] };
}

function overlap(first, second) {
  const [top, left] = [Math.max(first.top, second.top), Math.max(first.left, second.left)];
  return { top, left, bottom: Math.max(top, Math.min(first.bottom, second.bottom)), right: Math.max(left, Math.min(first.right, second.right)) };
}

/** The class that leads outside two masks, of all but one. */
function leader(means, count, pairs, pair, without) {
  let best = -1;
  for (let index = 0; index < count; index += 1) {
    if (index !== without && (best < 0 || means[index * pairs + pair] > means[best * pairs + pair])) best = index;
  }
  return best;
}

/** Of the voting classifier: where single masks disagree, one that no second mask sways carries its class. */
function answer(best, n) {
  const singles = Array.from({ length: n }, (_, mask) => best[mask * n + mask]);
  const counts = new Map();
  for (const label of singles) counts.set(label, (counts.get(label) ?? 0) + 1);
  const [majority] = [...counts].sort(([a, many], [b, more]) => more - many || a - b)[0];
  const sure = singles.findIndex((label, mask) => label !== majority && best.slice(mask * n, (mask + 1) * n).every((each) => each === label));
  return sure < 0 ? majority : singles[sure];
}
