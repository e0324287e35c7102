// The page: what is shown, and what a visitor does with it.

import { certificate } from './certificate.js';
import { colourScale, LIMITS, limitFor } from './colours.js';
import { erase, restore, sticker } from './edits.js';
import { Engine } from './engine.js';
import { percent, signed } from './evidence.js';
import { outline, paintMap, paintPixels } from './heatmap.js';
import { radius } from './resize.js';
import { toggleTheme } from './theme.js';
import { allowThreads } from './threads.js';
import { askedToken } from './token.js';

const $ = (id) => document.getElementById(id);
const SHOWN = 12; // classes of the list, where nothing is searched
const STRONGEST = 3; // windows
const HINT = $('window').textContent;

const about = globalThis.bagnet ?? (await (await fetch('./bagnet.json')).json());
if (about.engine === 'wasm') await allowThreads();
if (about.asks_token) about.token = await askedToken('./v1/models');
const engine = new Engine(about);
const { geometry } = engine;
const colour = colourScale(about.colours);
const few = geometry.size > 1.5 * geometry.stride; // overlapping windows: each pixel has the mean of those that hold it
const spread = few && geometry.size >= 64;

const state = { views: [], active: 0, target: null, versus: null, opacity: 0.75, limit: null, mode: 'look', cell: null, worst: false };

const view = () => state.views[state.active];
const named = (index) => about.classes[index];

// --- Photographs -------------------------------------------------------------------------------------------------------------

const PNG_DEPTH = 24; // where the header of a PNG file says how many bits a level has

/** The pixels of an image file, upright, over white. */
async function decoded(blob) {
  if (about.preprocessing.grey) {
    const header = new Uint8Array(await blob.slice(0, PNG_DEPTH + 1).arrayBuffer());
    if (header[1] === 0x50 && header[2] === 0x4e && header[3] === 0x47 && header[PNG_DEPTH] > 8) {
      const [black, white] = about.preprocessing.grey;
      throw new Error(`for this model level ${black} is black and ${white} white, and a browser reads the upper 8 bits of 16: save it with 8, or run bagnet explain`);
    }
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image', colorSpaceConversion: 'none' });
  } catch {
    throw new Error('this is no image that this browser can read: a JPEG, PNG or WebP file, perhaps?');
  }
  if (bitmap.width * bitmap.height > about.largest) throw new Error(`the photograph has more than ${about.largest / 1e6} million pixels`);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = '#ffffff';
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** Explain a photograph, in the place of all others or beside the first; whether that went well. */
async function open(blob, name, { beside = false, sample = null } = {}) {
  clearError();
  busy(`looking at ${name} …`);
  try {
    const seen = await engine.explain(await decoded(blob));
    show({ ...seen, name, sample, edits: [] }, beside);
    document.body.dataset.milliseconds = Math.round(seen.milliseconds);
    busy('');
    keepLink();
    return true;
  } catch (error) {
    fail(error);
    return false;
  }
}

/** Explain a photograph, or two side by side. */
async function openAll([file, second, ...more]) {
  if (!file || !(await open(file, file.name))) return;
  if (second) await open(second, second.name, { beside: true });
  if (more.length && $('error').hidden) busy('two photographs are compared at a time: the others are left out', 4000);
}

function show(opened, beside) {
  state.views = beside ? [state.views[0], opened] : [opened];
  state.active = state.views.length - 1;
  if (!beside) {
    state.target = null;
    state.versus = null;
    state.cell = null;
  }
  if (state.target === null) [state.target] = opened.evidence.top(1);
  if (state.limit === null) state.limit = startLimit(opened);
  $('start').hidden = true;
  $('work').hidden = false;
  $('panel').hidden = false;
  rebuild();
}

function startLimit({ evidence }) {
  const map = evidence.map(state.target ?? evidence.top(1)[0]);
  return limitFor(Math.max(...map.map(Math.abs)));
}

async function openSample(sample, options = {}) {
  let blob;
  try {
    blob = await (await fetch(sample.file)).blob();
  } catch {
    fail(new Error('the photograph cannot be fetched: is the web server still there?'));
    return;
  }
  await open(blob, sample.title, { ...options, sample: sample.file });
}

// --- Drawing -----------------------------------------------------------------------------------------------------------------

/** Stages anew: one canvas for each photograph. */
function rebuild() {
  const stages = $('stages');
  stages.replaceChildren(...state.views.map((seen, index) => {
    const stage = document.createElement('div');
    stage.className = 'stage';
    const canvas = document.createElement('canvas');
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'img');
    const caption = document.createElement('p');
    stage.append(canvas, caption);
    Object.assign(seen, { stage, canvas, caption });
    listen(canvas, index);
    return stage;
  }));
  draw();
}

function draw() {
  for (const seen of state.views) drawView(seen);
  drawPanel();
}

function drawView(seen) {
  const { canvas, evidence, caption } = seen;
  const map = evidence.map(state.target, state.versus);
  paintPixels(canvas, seen, state.opacity > 0);
  paintMap(canvas, geometry, map, evidence.columns, { limit: state.limit, opacity: state.opacity, colour, spread });
  if (seen === view()) {
    const strongest = evidence.strongest(map, STRONGEST).map((cell) => windowOf(seen, cell));
    outline(canvas, state.cell === null ? strongest.slice(0, 1) : [windowOf(seen, state.cell)]);
    if (state.worst && proofOf(seen)) outline(canvas, [geometry.box(proofOf(seen).worst)], true);
  }
  const [best] = evidence.top(1);
  caption.textContent = `${seen.name}: ${named(best)}, ${percent(evidence.probabilities[best])}`;
  seen.stage.classList.toggle('active', state.views.length > 1 && seen === view());
  canvas.setAttribute('aria-label', `${caption.textContent}. Evidence for ${title()}; arrow keys go from window to window.`);
}

function title() {
  return state.versus === null ? named(state.target) : `${named(state.target)} and not ${named(state.versus)}`;
}

function windowOf({ evidence }, cell) {
  return geometry.window(Math.floor(cell / evidence.columns), cell % evidence.columns);
}

function drawPanel() {
  const seen = view();
  const { evidence } = seen;
  const map = evidence.map(state.target, state.versus);
  const sum = map.reduce((total, value) => total + value, 0);
  $('answer').textContent = title();
  const what = state.versus === null ? `, ${percent(evidence.probabilities[state.target])} of the probability` : ' between the two logits';
  $('adds-up').textContent = `${map.length} windows say ${signed(sum)} together; their mean is the logit, ${signed(sum / map.length)}${what}.`;
  drawContributions(map);
  drawClasses(evidence);
  drawVersus(evidence);
  drawProof(seen);
  drawStrongest(seen, map);
  drawWindow();
  $('undo').disabled = !seen.edits.length;
  $('reset').disabled = !seen.edits.length;
  $('least').textContent = signed(-state.limit, state.limit < 1 ? 1 : 0);
  $('most').textContent = signed(state.limit, state.limit < 1 ? 1 : 0);
  $('scale').value = LIMITS.indexOf(state.limit);
  $('scale').setAttribute('aria-valuetext', `colours end at ${state.limit} logits`);
}

/** Each window's share of the logit, sorted: what speaks for to the right of the middle, what speaks against to the left. */
function drawContributions(map) {
  const canvas = $('contributions');
  const context = canvas.getContext('2d');
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const sorted = Array.from(map).sort((a, b) => b - a);
  const largest = Math.max(...sorted.map(Math.abs), 1e-9);
  const step = width / sorted.length;
  sorted.forEach((value, order) => {
    context.fillStyle = `rgb(${colour(value, state.limit)})`;
    const tall = Math.max(1, (Math.abs(value) / largest) * (height / 2 - 2));
    context.fillRect(order * step, value >= 0 ? height / 2 - tall : height / 2, Math.max(1, step - (step > 4 ? 1 : 0)), tall);
  });
  const style = getComputedStyle(document.documentElement);
  context.strokeStyle = style.getPropertyValue('--soft'); // about the bars, as pale ones are not seen on white
  context.beginPath();
  context.moveTo(0, height / 2);
  sorted.forEach((value, order) => {
    for (const edge of [order, order + 1]) context.lineTo(edge * step, height / 2 - (value / largest) * (height / 2 - 2));
  });
  context.lineTo(width, height / 2);
  context.closePath();
  context.stroke();
  const mean = sorted.reduce((total, value) => total + value, 0) / sorted.length;
  context.fillStyle = style.getPropertyValue('--ink');
  context.fillRect(0, height / 2 - (mean / largest) * (height / 2 - 2) - 1, width, 2);
  canvas.setAttribute('aria-label', `What the windows say, sorted: from ${signed(sorted[0])} to ${signed(sorted.at(-1))}; the line is their mean, ${signed(mean)}`);
}

function drawClasses(evidence) {
  const wanted = $('search').value.trim().toLowerCase();
  const all = evidence.top(evidence.count);
  const found = wanted ? all.filter((index) => named(index).toLowerCase().includes(wanted)) : all;
  const shown = found.slice(0, wanted ? 40 : SHOWN);
  if (!wanted && !shown.includes(state.target)) shown.push(state.target);
  const focused = document.activeElement?.dataset?.index;
  $('classes').replaceChildren(...shown.map((index) => {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.dataset.index = index;
    button.setAttribute('aria-pressed', String(index === state.target));
    button.style.setProperty('--share', `${100 * evidence.probabilities[index]}%`);
    for (const text of [named(index), signed(evidence.logits[index]), percent(evidence.probabilities[index])]) {
      button.append(Object.assign(document.createElement('span'), { textContent: text }));
    }
    button.onclick = () => choose(index);
    item.append(button);
    return item;
  }));
  if (!shown.length) $('classes').append(Object.assign(document.createElement('li'), { textContent: 'no class has these letters', className: 'soft' }));
  if (focused !== undefined) $('classes').querySelector(`[data-index="${focused}"]`)?.focus();
}

function drawVersus(evidence) {
  const rivals = evidence.top(30).filter((index) => index !== state.target);
  if (state.versus !== null && !rivals.includes(state.versus)) rivals.push(state.versus);
  const alone = Object.assign(document.createElement('option'), { value: '', textContent: '(show the class alone)' });
  $('versus').replaceChildren(alone, ...rivals.map((index) => Object.assign(document.createElement('option'), { value: index, textContent: named(index) })));
  $('versus').value = state.versus === null ? '' : String(state.versus);
}

/** Whether a sticker can change the answer: kept until the evidence or the sticker changes. */
function proofOf(seen) {
  const share = Number($('patch').value);
  if (seen.proof?.share !== share || seen.proof.changes !== seen.evidence.changes) {
    seen.proof = { share, changes: seen.evidence.changes, verdict: certificate(seen, geometry, share, radius(about.preprocessing.interpolation)) };
  }
  return seen.proof.verdict;
}

function drawProof(seen) {
  $('proof').hidden = about.multilabel || seen.evidence.count < 2;
  if ($('proof').hidden) return;
  const proof = proofOf(seen);
  $('worst').disabled = proof === null;
  $('verdict').className = proof?.certified ? 'badge sure' : 'badge';
  $('verdict').textContent = proof?.certified ? 'certified' : 'not certified';
  if (proof === null) $('reason').textContent = 'Two masks of that size leave no window to vote.';
  else if (proof.certified) $('reason').textContent = `No such sticker, wherever it is put and whatever it shows, changes the answer of the two-mask vote, ${named(proof.label)} (${signed(proof.margin)} logits are left).`;
  else $('reason').textContent = `A sticker might change the answer of the two-mask vote, ${named(proof.label)}: at the worst place ${named(proof.rival)} could win.`;
}

function drawStrongest(seen, map) {
  $('windows').replaceChildren(...seen.evidence.strongest(map, STRONGEST).map((cell) => {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    const { left, top, width: size } = windowOf(seen, cell);
    const canvas = Object.assign(document.createElement('canvas'), { width: size, height: size });
    const image = new ImageData(size, size);
    for (let row = 0; row < size; row += 1) {
      for (let column = 0; column < size; column += 1) {
        const [y, x] = [top + row, left + column];
        const to = 4 * (row * size + column);
        const inside = y >= 0 && x >= 0 && y < seen.height && x < seen.width;
        for (let channel = 0; channel < 3; channel += 1) image.data[to + channel] = inside ? seen.pixels[3 * (y * seen.width + x) + channel] : 0;
        image.data[to + 3] = 255;
      }
    }
    canvas.getContext('2d').putImageData(image, 0, 0);
    button.append(canvas, signed(map[cell]));
    button.setAttribute('aria-label', `Window ${place(seen, cell)}: ${signed(map[cell])}`);
    button.onclick = () => point(cell);
    item.append(button);
    return item;
  }));
}

function place({ evidence }, cell) {
  return `in row ${Math.floor(cell / evidence.columns) + 1} of ${evidence.rows}, column ${(cell % evidence.columns) + 1} of ${evidence.columns}`;
}

function drawWindow() {
  if (state.cell === null) {
    $('window').textContent = HINT;
    return;
  }
  const seen = view();
  const map = seen.evidence.map(state.target, state.versus);
  const best = seen.evidence.topOfWindow(state.cell, 3).map(({ index, logit }) => `${named(index)} ${signed(logit)}`);
  $('window').textContent = `The window ${place(seen, state.cell)} says ${signed(map[state.cell])} to ${title()}. Alone it would answer ${best.join(', then ')}.`;
}

// --- What a visitor does -----------------------------------------------------------------------------------------------------

function choose(index) {
  state.target = index;
  if (state.versus === index) state.versus = null;
  draw();
  keepLink();
}

function point(cell) {
  state.cell = cell;
  drawView(view());
  drawWindow();
}

function position(event, seen) {
  const box = seen.canvas.getBoundingClientRect();
  const scale = Math.min(box.width / seen.width, box.height / seen.height);
  return [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale];
}

function cellAt(seen, x, y) {
  return geometry.nearest(y, seen.height) * seen.evidence.columns + geometry.nearest(x, seen.width);
}

function listen(canvas, index) {
  const seen = state.views[index];
  canvas.onfocus = () => activate(index);
  canvas.onpointerdown = (event) => {
    activate(index);
    if (state.mode === 'look') point(cellAt(seen, ...position(event, seen)));
    else edit(seen, ...position(event, seen));
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    const [x, y] = position(event, seen);
    if (state.mode === 'look') {
      const cell = cellAt(seen, x, y);
      if (index === state.active && cell !== state.cell) point(cell);
    } else if (event.buttons) {
      edit(seen, x, y, true);
    }
  };
  canvas.onpointerup = (event) => {
    if (state.mode !== 'sticker' || !canvas.hasPointerCapture(event.pointerId)) return;
    const [x, y] = position(event, seen);
    working.then(() => edit(seen, x, y, true)); // where it is let go
  };
  canvas.onkeydown = (event) => {
    const { rows, columns } = seen.evidence;
    const cell = state.cell ?? 0;
    const moves = {
      ArrowLeft: cell % columns ? -1 : 0,
      ArrowRight: (cell + 1) % columns ? 1 : 0,
      ArrowUp: cell >= columns ? -columns : 0,
      ArrowDown: cell < (rows - 1) * columns ? columns : 0,
    };
    if (event.key in moves) {
      event.preventDefault();
      point(state.cell === null ? 0 : cell + moves[event.key]);
    } else if ((event.key === 'Enter' || event.key === ' ') && state.mode !== 'look') {
      event.preventDefault();
      const { left, top, width: size } = windowOf(seen, cell);
      edit(seen, left + size / 2, top + size / 2);
    }
  };
}

function activate(index) {
  if (state.active === index) return;
  state.active = index;
  state.cell = null;
  draw();
}

let working = Promise.resolve();
let underway = 0; // edits that are looked at, or wait for it
let last = null;
let held = null; // the sticker that is being dragged

/** Paint over a square about a position, and recompute the touched windows. While the pointer moves, a sticker goes with it. */
function edit(seen, x, y, moving = false) {
  const { mode } = state;
  const dragged = moving && mode === 'sticker';
  const side = Math.round((Number($('brush').value) / 100) * Math.min(seen.width, seen.height));
  if (moving && !dragged && last && Math.hypot(x - last[0], y - last[1]) < side / 2) return working;
  last = [x, y];
  [x, y] = [Math.round(x), Math.round(y)]; // as a link has them
  if (dragged && (underway || (held?.x === x && held.y === y))) return working;
  underway += 1;
  working = working.then(async () => {
    if (dragged && held && seen.edits.at(-1) === held) undo(seen);
    const painted = mode === 'sticker' ? sticker(seen, x, y, side) : erase(seen, x, y, side, about.mean);
    seen.stage.classList.add('busy');
    const start = performance.now();
    let change = null;
    try {
      change = await engine.change(seen, painted.box);
      held = { mode, x, y, side, painted, change };
      seen.edits.push(held);
      document.body.dataset.change = Math.round(performance.now() - start);
    } catch (error) {
      held = null;
      restore(seen, painted);
      fail(error);
    }
    underway -= 1;
    seen.stage.classList.remove('busy');
    if (!state.views.includes(seen)) return; // the visitor has gone on to another photograph
    draw();
    keepLink();
    if (!change) return;
    const [best] = seen.evidence.top(1);
    busy(`${change.windows} windows recomputed: ${named(best)}, ${percent(seen.evidence.probabilities[best])}`, 2500);
  });
  return working;
}

function undo(seen) {
  const { painted, change } = seen.edits.pop();
  restore(seen, painted);
  if (change.before) seen.evidence.replace(change.row, change.column, change.before);
}

/** Undo some of the last edits of the photograph that is shown, once the strokes before are looked at. */
function takeBack(count) {
  return working.then(() => {
    const seen = view();
    if (!seen) return;
    for (let left = count; left > 0 && seen.edits.length; left -= 1) undo(seen);
    draw();
    keepLink();
  });
}

// --- Links, files and messages -----------------------------------------------------------------------------------------------

function keepLink() {
  if (about.engine === 'kernel') return; // a cell has no address
  const seen = state.views[0];
  const words = new URLSearchParams();
  if (seen?.sample) words.set('photo', seen.sample);
  words.set('class', state.target);
  if (state.versus !== null) words.set('not', state.versus);
  words.set('opacity', state.opacity);
  words.set('scale', state.limit);
  for (const { mode, x, y, side } of seen.edits) words.append('edit', [mode, x, y, side].join(','));
  history.replaceState(null, '', `#${words}`);
}

async function openLink() {
  if (about.engine === 'kernel') return;
  const words = new URLSearchParams(location.hash.slice(1));
  const sample = about.samples.find(({ file }) => file === words.get('photo'));
  if (!sample) return;
  const number = (name, good) => {
    const value = words.has(name) ? Number(words.get(name)) : NaN;
    return Number.isFinite(value) && good(value) ? value : null;
  };
  const isClass = (index) => Number.isInteger(index) && index >= 0 && index < about.classes.length;
  const [target, versus, opacity, limit] = [
    number('class', isClass), number('not', isClass), number('opacity', (share) => share >= 0 && share <= 1), number('scale', (logit) => LIMITS.includes(logit)),
  ];
  const edits = words.getAll('edit').map((text) => text.split(',')).filter(([mode, ...where]) => ['erase', 'sticker'].includes(mode) && where.length === 3 && where.every((text) => Number.isFinite(Number(text))));
  if (opacity !== null) state.opacity = opacity;
  if (limit !== null) state.limit = limit;
  $('opacity').value = 100 * state.opacity;
  await openSample(sample);
  if (!view()) return;
  if (target !== null) state.target = target;
  if (versus !== null && versus !== state.target) state.versus = versus;
  const seen = view();
  for (const [mode, x, y, side] of edits.slice(0, 50)) {
    $('brush').value = Math.round((100 * Number(side)) / Math.min(seen.width, seen.height));
    state.mode = mode;
    last = null;
    await edit(seen, Number(x), Number(y));
  }
  setMode('look');
  draw();
}

function save(blob, name) {
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function stem() {
  return view().name.replace(/\.[^.]*$/, '').replace(/[^\w-]+/g, '_');
}

function record() {
  const { evidence, placement, width, height, edits, name } = view();
  const proof = $('proof').hidden ? null : proofOf(view());
  const map = evidence.map(state.target, state.versus);
  return {
    model: about.model_name,
    photograph: name,
    top: evidence.top(5).map((index) => ({ index, name: named(index), logit: evidence.logits[index], probability: evidence.probabilities[index] })),
    shown: { class: named(state.target), not: state.versus === null ? null : named(state.versus), logit: map.reduce((sum, value) => sum + value, 0) / map.length },
    map: Array.from({ length: evidence.rows }, (_, row) => Array.from(map.slice(row * evidence.columns, (row + 1) * evidence.columns))),
    certificate: proof && { ...proof, label: named(proof.label), rival: named(proof.rival), share: Number($('patch').value), method: 'voting' },
    geometry: about.geometry,
    input: { width, height },
    placement,
    edits: edits.map(({ mode, painted }) => ({ mode, box: painted.box })),
  };
}

let fading;
function busy(text, milliseconds = 0) {
  clearTimeout(fading);
  $('status').textContent = text;
  if (milliseconds) fading = setTimeout(() => busy(''), milliseconds);
}

function fail(error) {
  busy('');
  $('error').hidden = false;
  $('error').textContent = error.message;
}

function clearError() {
  $('error').hidden = true;
}

function setMode(mode) {
  state.mode = mode;
  for (const button of document.querySelectorAll('[data-mode]')) button.setAttribute('aria-pressed', String(button.dataset.mode === mode));
}

// --- Beginning ---------------------------------------------------------------------------------------------------------------

const cooled = (about.temperature ?? 1) === 1 ? '' : ` · probabilities at temperature ${Number(about.temperature.toPrecision(3))}`;
$('model').textContent = `${about.model_name} · windows of ${geometry.size} px, every ${geometry.stride} px${cooled}`;
$('private').textContent = about.engine === 'wasm' ? 'It stays on this device: the network runs in this page.' : about.engine === 'kernel' ? 'The network runs in the kernel of this notebook.' : 'It is sent to the service that this page came from, and not kept.';
$('samples').replaceChildren(...about.samples.map((sample) => {
  const item = document.createElement('li');
  item.innerHTML = '<figure><button type="button"><img alt=""></button><figcaption></figcaption></figure>';
  const [button, image, caption] = ['button', 'img', 'figcaption'].map((name) => item.querySelector(name));
  Object.assign(image, { src: sample.file, alt: sample.title, loading: 'lazy' });
  caption.textContent = sample.credit;
  button.onclick = () => openSample(sample);
  return item;
}));
const bar = $('scale-bar').getContext('2d');
for (let step = 0; step <= 256; step += 1) {
  bar.fillStyle = `rgb(${colour(step - 128, 128)})`;
  bar.fillRect(step, 0, 1, 1);
}
for (const [id, beside] of [['file', false], ['camera', false], ['second', true]]) {
  $(id).onchange = ({ target }) => {
    const [file] = target.files;
    target.value = '';
    if (file) open(file, file.name, { beside });
  };
}
for (const button of document.querySelectorAll('[data-mode]')) button.onclick = () => setMode(button.dataset.mode);
$('search').oninput = () => drawClasses(view().evidence);
$('versus').onchange = ({ target }) => {
  state.versus = target.value === '' ? null : Number(target.value);
  draw();
  keepLink();
};
$('patch').onchange = () => draw();
$('worst').onclick = ({ target }) => {
  state.worst = !state.worst;
  target.setAttribute('aria-pressed', String(state.worst));
  state.views.forEach(drawView);
};
$('opacity').oninput = ({ target }) => {
  state.opacity = target.value / 100;
  state.views.forEach(drawView);
  keepLink();
};
$('scale').oninput = ({ target }) => {
  state.limit = LIMITS[target.value];
  draw();
  keepLink();
};
$('undo').onclick = () => takeBack(1);
$('reset').onclick = () => takeBack(Infinity);
$('another').onclick = () => {
  state.views = [];
  state.limit = null;
  $('start').hidden = false;
  $('work').hidden = true;
  $('panel').hidden = true;
  history.replaceState(null, '', location.pathname + location.search);
};
$('save-picture').onclick = () => view().canvas.toBlob((blob) => save(blob, `${stem()}.why.png`));
$('save-json').onclick = () => save(new Blob([JSON.stringify(record(), null, 1)], { type: 'application/json' }), `${stem()}.why.json`);
$('link').onclick = async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    busy(view().sample ? 'the link is copied' : 'the link is copied; it has no photograph of yours in it', 2500);
  } catch {
    busy(location.href, 6000);
  }
};
$('theme').onclick = () => {
  toggleTheme();
  if (view()) draw();
};
let depth = 0;
addEventListener('dragenter', () => document.body.classList.toggle('dropping', (depth += 1) > 0));
addEventListener('dragleave', () => document.body.classList.toggle('dropping', (depth -= 1) > 0));
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove('dropping');
  openAll(event.dataTransfer.files);
});
addEventListener('hashchange', () => openLink().catch(fail)); // another link, in the address of this page
addEventListener('pointerdown', clearError);
addEventListener('paste', (event) => {
  const file = Array.from(event.clipboardData.files).find(({ type }) => type.startsWith('image/'));
  if (file) open(file, 'the pasted photograph');
});
addEventListener('keydown', (event) => {
  if (event.key === 'Escape') clearError();
  if ((event.ctrlKey || event.metaKey) && event.key === 'z' && view() && event.target.tagName !== 'INPUT') {
    event.preventDefault();
    $('undo').click();
  }
});
if (about.engine === 'kernel') {
  document.body.dataset.host = about.run ? 'kernel' : 'none'; // without a network nothing can be looked at again
  show({ ...engine.shown(about.shown), edits: [] }, false);
}
engine.ready.then(openLink).catch(fail).finally(() => {
  document.body.dataset.ready = 'yes';
});
