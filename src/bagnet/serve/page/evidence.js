// The logit of every class at every window of one image. The mean of a class's map over the grid is its logit.

export class Evidence {
  /** values: Float32Array of (K, rows, columns), changed in place by `replace`. */
  constructor({ values, rows, columns, classes, multilabel = false, temperature = 1 }) {
    this.multilabel = multilabel;
    this.temperature = temperature;
    this.values = values;
    this.rows = rows;
    this.columns = columns;
    this.count = classes;
    this.changes = 0;
    this.update();
  }

  get cells() {
    return this.rows * this.columns;
  }

  /** Logits of all classes, from the maps, and their probabilities at the temperature. */
  update() {
    this.logits = new Float64Array(this.count);
    for (let index = 0; index < this.count; index += 1) {
      let sum = 0;
      const start = index * this.cells;
      for (let cell = 0; cell < this.cells; cell += 1) sum += this.values[start + cell];
      this.logits[index] = sum / this.cells;
    }
    if (this.multilabel) {
      this.probabilities = this.logits.map((logit) => 1 / (1 + Math.exp(-logit / this.temperature)));
      return;
    }
    const largest = this.logits.reduce((most, logit) => Math.max(most, logit), -Infinity);
    const powers = this.logits.map((logit) => Math.exp((logit - largest) / this.temperature));
    const sum = powers.reduce((total, power) => total + power, 0);
    this.probabilities = powers.map((power) => power / sum);
  }

  /** The map of a class, or of its difference to another. */
  map(index, versus = null) {
    const map = Float64Array.from(this.values.subarray(index * this.cells, (index + 1) * this.cells));
    if (versus !== null) for (let cell = 0; cell < map.length; cell += 1) map[cell] -= this.values[versus * this.cells + cell];
    return map;
  }

  /** Indices of the classes with the largest logits, best first. */
  top(count) {
    return Array.from(this.logits.keys()).sort((a, b) => this.logits[b] - this.logits[a] || a - b).slice(0, count);
  }

  /** What one window says most. */
  topOfWindow(cell, count) {
    const logits = Array.from({ length: this.count }, (_, index) => this.values[index * this.cells + cell]);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
    return order.slice(0, count).map((index) => ({ index, logit: logits[index] }));
  }

  /** The cells of a map with the largest values, best first. */
  strongest(map, count) {
    return Array.from(map.keys()).sort((a, b) => map[b] - map[a] || a - b).slice(0, count);
  }

  /** Put other windows' logits in the place of some: `part` has the cells from (row, column) on. Returns what was there. */
  replace(row, column, part) {
    const before = new Float32Array(part.values.length);
    for (let index = 0; index < this.count; index += 1) {
      for (let down = 0; down < part.rows; down += 1) {
        const from = (index * part.rows + down) * part.columns;
        const to = index * this.cells + (row + down) * this.columns + column;
        before.set(this.values.subarray(to, to + part.columns), from);
        this.values.set(part.values.subarray(from, from + part.columns), to);
      }
    }
    this.changes += 1;
    this.update();
    return { values: before, rows: part.rows, columns: part.columns };
  }
}

/** A logit with its sign, as the library writes it. */
export function signed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? '\u2212' : '+') + text;
}

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
