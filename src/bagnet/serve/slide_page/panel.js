// Beside the slide: the classes, the strongest windows, and what one window says.

import { signed } from './evidence.js';
import { unitOf } from './length.js';

const AROUND = 3; // widths of a window, about the strongest ones
const $ = (id) => document.getElementById(id);

function made(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function drawClasses(classes, chosen, choose) {
  const focused = document.activeElement?.dataset?.index;
  const order = Array.from(classes.keys()).sort((a, b) => classes[b].logit - classes[a].logit || a - b);
  $('classes').replaceChildren(...order.map((index) => {
    const { name, logit } = classes[index];
    const button = made('button', { type: 'button', onclick: () => choose(index) }, made('span', { textContent: name }), made('span', { textContent: signed(logit) }));
    button.dataset.index = index;
    button.setAttribute('aria-pressed', String(index === chosen));
    return made('li', {}, button);
  }));
  if (focused !== undefined) $('classes').querySelector(`[data-index="${focused}"]`)?.focus();
}

/** The strongest windows as pictures with what is around them. `picture` gives an address of one: (row, column, pixels around). */
export async function drawStrongest(windows, size, picture, flyTo) {
  const around = Math.min(64, AROUND * size);
  const share = 100 / (1 + (2 * around) / size); // of the picture, that the window is
  for (const image of $('windows').querySelectorAll('img')) URL.revokeObjectURL(image.src);
  const images = windows.map(({ row, column, logit }) => {
    const image = made('img', { alt: '' });
    const frame = made('i', {});
    Object.assign(frame.style, { left: `${50 - share / 2}%`, top: `${50 - share / 2}%`, width: `${share}%`, height: `${share}%` });
    const button = made('button', { type: 'button', onclick: () => flyTo(row, column) }, made('div', { className: 'thumbnail' }, image, frame), signed(logit));
    button.setAttribute('aria-label', `Window in row ${row + 1}, column ${column + 1}: ${signed(logit)}`);
    return [made('li', {}, button), image, row, column];
  });
  $('windows').replaceChildren(...images.map(([item]) => item));
  if (!windows.length) $('windows').append(made('li', { className: 'soft', textContent: 'no window was computed' }));
  await Promise.all(images.map(async ([, image, row, column]) => { image.src = await picture(row, column, around); }));
}

/** What a window says, in words. */
export function windowInWords({ row, column }, value, name, about, box) {
  const [right, bottom] = [box.left + box.width, box.top + box.height];
  const pixels = (from, to) => `${Math.round(from).toLocaleString('en')} to ${Math.round(to).toLocaleString('en')}`;
  const [atRow, rows, atColumn, columns] = [row + 1, about.rows, column + 1, about.columns].map((count) => count.toLocaleString('en'));
  const where = `The window in row ${atRow} of ${rows}, column ${atColumn} of ${columns}`;
  const microns = about.microns_per_pixel;
  const [unit, unitName] = unitOf(box.width * microns);
  const length = (pixel) => (pixel * microns / unit).toLocaleString('en', { maximumFractionDigits: 1 });
  const centre = microns ? `; its centre is at ${length(box.left + box.width / 2)}, ${length(box.top + box.height / 2)} ${unitName}` : '';
  let says = `says ${signed(value)} to ${name}`;
  if (Number.isNaN(value)) says = 'is missing: its pixels could not be read';
  else if (value === Infinity) says = 'was skipped: its tile is white all over';
  return `${where} ${says}. Pixels ${pixels(box.left, right)} across, ${pixels(box.top, bottom)} down${centre}.`;
}
