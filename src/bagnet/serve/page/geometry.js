// Which pixels a window sees, and which windows a box of pixels touches: integers only, as in the library's geometry.

export class Geometry {
  constructor({ size, stride, origin }) {
    this.size = size;
    this.stride = stride;
    this.origin = origin;
  }

  /** Cells along an axis of so many pixels. */
  cells(length) {
    return Math.floor((length - this.size - 2 * this.origin) / this.stride) + 1;
  }

  /** The pixels that a cell sees. */
  window(row, column) {
    return this.box({ top: row, left: column, bottom: row + 1, right: column + 1 });
  }

  /** The pixels that a box of cells sees. */
  box({ top, left, bottom, right }) {
    const [[y0, y1], [x0, x1]] = [this.field(top, bottom), this.field(left, right)];
    return { left: x0, top: y0, width: x1 - x0, height: y1 - y0 };
  }

  /** First and one past the last of the cells along an axis whose windows hold a pixel from `start` to `stop`. */
  touching(start, stop, length) {
    const count = this.cells(length);
    const from = Math.max(0, start);
    const to = Math.min(length, stop);
    if (to <= from) return [0, 0];
    const first = Math.max(0, Math.ceil((from - this.origin - this.size + 1) / this.stride));
    const last = Math.min(count - 1, Math.floor((to - 1 - this.origin) / this.stride));
    return last < first ? [0, 0] : [first, last + 1];
  }

  /** The crop that computes a run of cells and no others: first and one past the last pixel. Exact without padding alone. */
  field(first, last) {
    return [this.origin + this.stride * first, this.origin + this.stride * (last - 1) + this.size];
  }

  /** The cell whose window's centre is nearest to a position. */
  nearest(position, length) {
    const cell = Math.round((position - this.origin - this.size / 2) / this.stride);
    return Math.min(this.cells(length) - 1, Math.max(0, cell));
  }

  /** Runs of pixels along an axis that are held by the same windows: [start, stop, first cell, one past the last]. */
  runs(length) {
    const count = this.cells(length);
    const edges = new Set([0, length]);
    for (let cell = 0; cell < count; cell += 1) {
      const start = this.origin + this.stride * cell;
      for (const edge of [start, start + this.size]) if (edge > 0 && edge < length) edges.add(edge);
    }
    const sorted = [...edges].sort((a, b) => a - b);
    return sorted.slice(1).map((stop, index) => [sorted[index], stop, ...this.touching(sorted[index], sorted[index] + 1, length)]);
  }

  /** The same, where each cell is drawn as a square about its centre, beside the others. */
  squares(length) {
    const inset = Math.floor((this.size - this.stride) / 2);
    return Array.from({ length: this.cells(length) }, (_, cell) => {
      const start = this.origin + this.stride * cell + inset;
      return [Math.max(0, start), Math.min(length, start + this.stride), cell, cell + 1];
    }).filter(([start, stop]) => stop > start);
  }
}
