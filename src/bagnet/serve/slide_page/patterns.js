// Hatches for cells that say nothing: of white tiles that were skipped, and of pixels that cannot be read.

const SIDE = 8; // pixels of the screen

const KINDS = {
  skipped: { ground: 'rgba(150, 158, 172, 0.25)', line: 'rgba(91, 99, 117, 0.75)', crossed: false },
  missing: { ground: 'rgba(240, 180, 20, 0.6)', line: 'rgba(18, 20, 26, 0.9)', crossed: true },
};

/** A pattern to fill with, of a kind. */
export function hatch(context, kind, ratio = 1) {
  const side = SIDE * ratio;
  const { ground, line, crossed } = KINDS[kind];
  const canvas = new OffscreenCanvas(side, side);
  const drawing = canvas.getContext('2d');
  drawing.fillStyle = ground;
  drawing.fillRect(0, 0, side, side);
  drawing.strokeStyle = line;
  drawing.lineWidth = ratio;
  drawing.beginPath();
  for (const shift of [-side, 0, side]) {
    drawing.moveTo(shift - 1, side + 1);
    drawing.lineTo(shift + side + 1, -1);
    if (crossed) {
      drawing.moveTo(shift - 1, -1);
      drawing.lineTo(shift + side + 1, side + 1);
    }
  }
  drawing.stroke();
  return context.createPattern(canvas, 'repeat');
}
