// The map of a class in tiles, fetched when they are first looked at.

import { strength } from './colours.js';

const KEPT = 192; // tiles of a class, at most
const SKIPPED = Infinity; // a cell of a white tile; NaN is one that could not be computed

export class MapTiles {
  /** `path` of the map; `arrived` is called when there is something new to draw, `failed` with what went wrong. */
  constructor(service, path, about, arrived, failed) {
    Object.assign(this, { service, path, about, arrived, failed });
    this.tiles = new Map(); // from the one that was not looked at for longest
  }

  /** A promise of a tile: { values, rows, columns }. */
  fetched(halvings, row, column) {
    const key = `${halvings}/${row}/${column}`;
    let entry = this.tiles.get(key);
    this.tiles.delete(key);
    if (!entry) {
      entry = { tile: null };
      entry.promise = this.service.values(`${this.path}/${key}`).then((values) => {
        entry.tile = new Tile(values, this.widthOf(halvings, column));
        this.arrived();
        return entry.tile;
      });
      entry.promise.catch(this.failed);
    }
    this.tiles.set(key, entry);
    if (this.tiles.size > KEPT) this.tiles.delete(this.tiles.keys().next().value);
    return entry;
  }

  widthOf(halvings, column) {
    const columns = Math.ceil(this.about.columns / 2 ** halvings);
    return Math.min(this.about.tile, columns - column * this.about.tile);
  }

  /** The logit of a window. */
  async value(row, column) {
    const { tile: side } = this.about;
    const tile = await this.fetched(0, Math.floor(row / side), Math.floor(column / side)).promise;
    return tile.values[(row % side) * tile.columns + (column % side)];
  }

  /**
   * The smallest tile at hand that holds a part of the map, while that part itself is on its way: { tile, x, y, columns, rows } is
   * the part of it to draw, `exact` whether it is the part itself.
   */
  atHand(halvings, row, column) {
    const { tile: side, map_levels: levels } = this.about;
    for (let up = 0; halvings + up < levels; up += 1) {
      const { tile } = this.fetched(halvings + up, row >> up, column >> up);
      if (tile) {
        const part = side / 2 ** up;
        return { tile, exact: up === 0, x: (column % 2 ** up) * part, y: (row % 2 ** up) * part, columns: part, rows: part };
      }
    }
    return null;
  }
}

class Tile {
  constructor(values, columns) {
    Object.assign(this, { values, columns, rows: values.length / columns });
    this.skipped = this.mask((value) => value === SKIPPED);
    this.missing = this.mask(Number.isNaN);
  }

  /** The cells in their colours, as strong as what they say. */
  coloured(colour, limit) {
    if (this.limit === limit) return this.canvas;
    this.limit = limit;
    this.canvas = this.painted((value) => (Number.isFinite(value) ? [...colour(value, limit), 255 * strength(value, limit)] : [0, 0, 0, 0]));
    return this.canvas;
  }

  /** A canvas that is opaque at some cells; null where it would be empty. */
  mask(held) {
    return this.values.some(held) ? this.painted((value) => [0, 0, 0, held(value) ? 255 : 0]) : null;
  }

  painted(rgba) {
    const image = new ImageData(this.columns, this.rows);
    this.values.forEach((value, cell) => image.data.set(rgba(value), 4 * cell));
    const canvas = new OffscreenCanvas(this.columns, this.rows);
    canvas.getContext('2d').putImageData(image, 0, 0);
    return canvas;
  }
}
