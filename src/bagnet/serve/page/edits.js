// What a visitor paints over: boxes of the network's input, each of which can be undone.

/** Paint a square of one colour about a position, within the image; returns its box and what was there. */
export function erase(view, x, y, side, colour) {
  return paint(view, x, y, side, () => colour);
}

/** A sticker: rings as bright as prints can be, which say nothing that anybody had meant. */
export function sticker(view, x, y, side) {
  const rings = [[250, 210, 60], [230, 60, 50], [250, 250, 250], [40, 110, 220]];
  return paint(view, x, y, side, (dx, dy) => rings[Math.floor((Math.hypot(dx - side / 2, dy - side / 2) * 8) / side) % rings.length]);
}

function paint(view, x, y, side, colourAt) {
  const begin = { left: Math.round(x - side / 2), top: Math.round(y - side / 2) };
  const box = {
    left: Math.max(0, begin.left),
    top: Math.max(0, begin.top),
    right: Math.min(view.width, begin.left + side),
    bottom: Math.min(view.height, begin.top + side),
  };
  const before = copy(view, box);
  for (let row = box.top; row < box.bottom; row += 1) {
    for (let column = box.left; column < box.right; column += 1) {
      view.pixels.set(colourAt(column - begin.left, row - begin.top), 3 * (row * view.width + column));
    }
  }
  return { box, before };
}

function copy({ pixels, width }, { left, top, right, bottom }) {
  const rows = [];
  for (let row = top; row < bottom; row += 1) rows.push(pixels.slice(3 * (row * width + left), 3 * (row * width + right)));
  return rows;
}

/** Put back what was there. */
export function restore(view, { box, before }) {
  before.forEach((line, row) => view.pixels.set(line, 3 * ((box.top + row) * view.width + box.left)));
}
