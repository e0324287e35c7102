// The map over the slide: drawn anew with each picture of the slide, from the same place and zoom.

import { Geometry } from './geometry.js';
import { hatch } from './patterns.js';

const SMALL = 12; // pixels of the screen: a window that is drawn smaller has a ring about it
const RING = 14;

export class Layer {
  constructor(canvas, about, colour) {
    Object.assign(this, { canvas, about, colour });
    this.geometry = new Geometry(about.windows);
    this.scale = [about.width / about.level_width, about.height / about.level_height];
    this.scratch = new OffscreenCanvas(1, 1);
  }

  /** The window of a cell, in pixels of the largest level. */
  window(row, column) {
    const { left, top, width, height } = this.geometry.window(row, column);
    const [across, down] = this.scale;
    return { left: left * across, top: top * down, width: width * across, height: height * down };
  }

  /** The cell that is drawn nearest to a pixel of the largest level: [row, column]. */
  cellAt(x, y) {
    const { level_width: width, level_height: height } = this.about;
    return [this.geometry.nearest(y / this.scale[1], height), this.geometry.nearest(x / this.scale[0], width)];
  }

  /** How often a map is halved so that its cells are no smaller than a pixel of a screen. */
  halvings(zoom, ratio) {
    const cell = zoom * ratio * this.geometry.stride * Math.min(...this.scale);
    return Math.min(this.about.map_levels - 1, Math.max(0, Math.ceil(-Math.log2(cell))));
  }

  /**
   * Draw a map. `seen` is where the slide is on the screen: { left, top, zoom }, of its corner and in pixels of the screen for one
   * of the slide. Returns whether all tiles of the map that are wanted have come.
   */
  draw(tiles, seen, cell, { limit, opacity }) {
    const ratio = devicePixelRatio;
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((length) => Math.round(length * ratio));
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
      Object.assign(this.scratch, { width, height });
    }
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, width, height);
    const place = { left: seen.left * ratio, top: seen.top * ratio, zoom: seen.zoom * ratio };
    const complete = opacity === 0 || this.drawMap(context, tiles, place, this.halvings(seen.zoom, ratio), limit, opacity, ratio);
    if (cell) this.drawWindow(context, place, this.window(...cell), ratio);
    return complete;
  }

  drawMap(context, tiles, place, halvings, limit, opacity, ratio) {
    const { about, geometry } = this;
    const inset = geometry.origin + Math.floor((geometry.size - geometry.stride) / 2);
    const [across, down] = this.scale.map((scale) => scale * geometry.stride * place.zoom); // a cell on the screen
    const left = place.left + place.zoom * this.scale[0] * inset;
    const top = place.top + place.zoom * this.scale[1] * inset;
    const side = about.tile * 2 ** halvings; // cells of a tile
    const { width, height } = context.canvas;
    const range = (start, cell, cells, end) => [
      Math.max(0, Math.floor(-start / (cell * side))), Math.min(Math.ceil(cells / side), Math.ceil((end - start) / (cell * side))),
    ];
    const [firstColumn, lastColumn] = range(left, across, about.columns, width);
    const [firstRow, lastRow] = range(top, down, about.rows, height);
    context.save();
    context.imageSmoothingEnabled = false;
    this.clip(context, place, [left, top, left + about.columns * across, top + about.rows * down]);
    const hatched = { skipped: [], missing: [] };
    let complete = true;
    for (let row = firstRow; row < lastRow; row += 1) {
      for (let column = firstColumn; column < lastColumn; column += 1) {
        const part = tiles.atHand(halvings, row, column);
        complete = complete && Boolean(part?.exact);
        if (!part) continue;
        const [rows, columns] = [Math.min(part.rows, part.tile.rows - part.y), Math.min(part.columns, part.tile.columns - part.x)];
        const cells = side / part.columns; // of the map, in one of the tile
        // To whole pixels of the screen, so that neighbouring tiles leave no line between them.
        const [x0, y0] = [Math.round(left + column * side * across), Math.round(top + row * side * down)];
        const x1 = Math.round(left + (column * side + columns * cells) * across);
        const y1 = Math.round(top + (row * side + rows * cells) * down);
        const where = [part.x, part.y, columns, rows, x0, y0, x1 - x0, y1 - y0];
        context.globalAlpha = opacity;
        context.drawImage(part.tile.coloured(this.colour, limit), ...where);
        for (const kind of Object.keys(hatched)) if (part.tile[kind]) hatched[kind].push([part.tile[kind], where]);
      }
    }
    context.globalAlpha = 1;
    for (const [kind, masks] of Object.entries(hatched)) if (masks.length) this.drawHatched(context, kind, masks, ratio);
    context.restore();
    return complete;
  }

  /** Nothing is drawn outside the slide and the map, whose last cells stand for fewer where it was halved. */
  clip(context, place, [left, top, right, bottom]) {
    const end = [place.left + place.zoom * this.about.width, place.top + place.zoom * this.about.height];
    const from = [Math.max(left, place.left), Math.max(top, place.top)].map(Math.round);
    const to = [Math.min(right, end[0]), Math.min(bottom, end[1])].map(Math.round);
    context.beginPath();
    context.rect(...from, Math.max(0, to[0] - from[0]), Math.max(0, to[1] - from[1]));
    context.clip();
  }

  drawHatched(context, kind, masks, ratio) {
    const drawing = this.scratch.getContext('2d');
    const { width, height } = this.scratch;
    drawing.globalCompositeOperation = 'source-over';
    drawing.clearRect(0, 0, width, height);
    drawing.imageSmoothingEnabled = false;
    for (const [mask, where] of masks) drawing.drawImage(mask, ...where);
    drawing.globalCompositeOperation = 'source-in';
    drawing.fillStyle = hatch(drawing, kind, ratio);
    drawing.fillRect(0, 0, width, height);
    context.drawImage(this.scratch, 0, 0);
  }

  drawWindow(context, place, box, ratio) {
    const [left, top] = [place.left + place.zoom * box.left, place.top + place.zoom * box.top];
    const [width, height] = [place.zoom * box.width, place.zoom * box.height];
    for (const [colour, thick] of [['#ffffff', 4], ['#12141a', 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = thick * ratio;
      context.strokeRect(left, top, width, height);
      if (Math.min(width, height) >= SMALL * ratio) continue;
      context.beginPath();
      context.arc(left + width / 2, top + height / 2, RING * ratio, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
