// The page: which slide and class is shown, and what a visitor does with it.

import { colourScale, LIMITS, limitFor } from './colours.js';
import { signed } from './evidence.js';
import { Layer } from './layer.js';
import { drawLength } from './length.js';
import { readLink, writeLink } from './link.js';
import { drawClasses, drawStrongest, windowInWords } from './panel.js';
import { hatch } from './patterns.js';
import { Service } from './service.js';
import { toggleTheme } from './theme.js';
import { MapTiles } from './tiles.js';
import { askedToken } from './token.js';
import { Viewer } from './viewer.js';

const $ = (id) => document.getElementById(id);
const HINT = $('window').textContent;
const STRONGEST = 8; // windows
const NEAR = 24; // of these side by side are seen of a window that is flown to

const configuration = await (await fetch('./bagnet.json')).json();
const service = new Service(configuration.asks_token ? await askedToken('./v1/slides') : '');
const colour = colourScale(configuration.colours);
const state = { slide: 0, number: 0, cell: null, limit: 1, opacity: 0.75, grey: true };
let slides = [];
let about; // the slide that is shown
let viewer;
let layer;
let maps; // of its classes
let opening = null; // since when a slide is being opened

const nameOf = () => about.classes[state.number].name;

// --- What is shown -----------------------------------------------------------------------------------------------------------

/** Show a slide, as a link has it where it says something. */
async function open(link = {}) {
  viewer?.close();
  about = slides[state.slide];
  const numbered = about.classes.findIndex(({ name }) => name === link.class);
  if (link.class && numbered < 0) fail(new Error(`the link asks for ${link.class}, of which this slide has no map`));
  const best = about.classes.reduce((most, { logit }, index) => (logit > about.classes[most].logit ? index : most), 0);
  state.number = Math.max(0, numbered < 0 ? best : numbered);
  state.limit = LIMITS.includes(link.limit) ? link.limit : limitFor(about.typical);
  if (link.opacity !== null && link.opacity !== undefined) state.opacity = Math.min(1, Math.max(0, link.opacity / 100));
  state.grey = link.grey ?? state.grey;
  const [row, column] = link.window ?? [-1, -1];
  state.cell = row >= 0 && column >= 0 && row < about.rows && column < about.columns ? [row, column] : null;
  viewer = new Viewer($('stage'), service, state.slide, about, { drawn: draw, settled: keepLink, failed: fail });
  layer = new Layer(viewer.map, about, colour);
  maps = about.classes.map((_, number) => new MapTiles(service, `./v1/slides/${state.slide}/maps/${number}`, about, draw, fail));
  listen(viewer.view.canvas);
  opening = performance.now();
  await viewer.opened;
  viewer.grey(state.grey);
  if (link.x !== null && link.y !== null && link.zoom > 0) viewer.goTo(link, true);
  $('model').textContent = `${about.name}, ${about.width.toLocaleString('en')} × ${about.height.toLocaleString('en')} pixels, seen by ${about.model}`;
  $('slide').value = String(state.slide);
  keys('skipped', 'skipped: white all over');
  keys('missing', 'missing: could not be read');
  $('scale').max = LIMITS.length - 1;
  $('opacity').value = Math.round(100 * state.opacity);
  $('grey').checked = state.grey;
  await choose(state.number);
}

/** What hatched cells mean, where there are any. */
function keys(kind, text) {
  const key = $(kind);
  key.hidden = !about[kind];
  const canvas = key.querySelector('canvas');
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = hatch(context, kind, 2);
  context.fillRect(0, 0, canvas.width, canvas.height);
  key.querySelector('span').textContent = `${text} (${about[kind].toLocaleString('en')} windows)`;
}

/** Show the map of a class. */
async function choose(number) {
  state.number = number;
  const { name, logit } = about.classes[number];
  const computed = about.rows * about.columns - about.skipped - about.missing;
  $('answer').textContent = name;
  $('adds-up').textContent = `The mean of ${computed.toLocaleString('en')} windows is the logit of the image, ${signed(logit)}.`;
  viewer.view.canvas.setAttribute('aria-label', `${about.name}, with the evidence for ${name}. Arrow keys go from window to window, with shift they move the slide; plus and minus zoom, 0 shows all of it.`);
  drawClasses(about.classes, number, (chosen) => choose(chosen).catch(fail));
  draw();
  keepLink();
  const asked = about;
  drawWindow();
  const windows = await service.json(`./v1/slides/${state.slide}/maps/${number}/strongest?count=${STRONGEST}`);
  if (asked !== about || number !== state.number) return; // another is wanted by now
  const picture = (row, column, around) => service.picture(`./v1/slides/${state.slide}/windows/${row}/${column}?around=${around}`);
  await drawStrongest(windows, about.windows.size, picture, (row, column) => flyTo([row, column]));
}

function draw() {
  if (!viewer?.view.isOpen()) return;
  const place = viewer.place();
  const complete = layer.draw(maps[state.number], place, state.cell, state) && viewer.complete;
  document.body.dataset.drawn = complete ? 'yes' : 'no';
  if (complete && opening !== null) {
    document.body.dataset.milliseconds = Math.round(performance.now() - opening);
    opening = null;
  }
  drawLength($('length').firstElementChild, place.zoom, about.microns_per_pixel);
  const pooled = 2 ** layer.halvings(place.zoom, devicePixelRatio);
  $('pooled').textContent = pooled > 1 ? `; from so far each square is the mean of ${pooled} × ${pooled} windows` : '';
  if (Number($('scale').dataset.limit) !== state.limit) drawScale();
}

function drawScale() {
  const { limit } = state;
  const canvas = $('scale-bar');
  const context = canvas.getContext('2d');
  for (let x = 0; x < canvas.width; x += 1) {
    context.fillStyle = `rgb(${colour(x / 128 - 1, 1)})`;
    context.fillRect(x, 0, 1, 1);
  }
  $('least').textContent = signed(-limit, limit < 1 ? 1 : 0);
  $('most').textContent = signed(limit, limit < 1 ? 1 : 0);
  $('scale').value = LIMITS.indexOf(limit);
  $('scale').setAttribute('aria-valuetext', `colours end at ${limit} logits`);
  $('scale').dataset.limit = limit;
}

async function drawWindow() {
  const { cell, number } = state;
  if (!cell) {
    $('window').textContent = HINT;
    return;
  }
  const asked = about;
  try {
    const value = await maps[number].value(...cell);
    if (asked !== about || cell !== state.cell || number !== state.number) return;
    $('window').textContent = windowInWords({ row: cell[0], column: cell[1] }, value, nameOf(), about, layer.window(...cell));
  } catch (error) {
    fail(error);
  }
}

// --- What a visitor does -----------------------------------------------------------------------------------------------------

function point(cell) {
  if (String(cell) === String(state.cell)) return;
  state.cell = cell;
  draw();
  drawWindow();
}

/** Point at a window, from so near that it is seen. */
function flyTo(cell) {
  const box = layer.window(...cell);
  const { zoom } = viewer.target;
  const near = Math.min(viewer.map.clientWidth, viewer.map.clientHeight) / (NEAR * box.width);
  point(cell);
  viewer.goTo({ x: box.left + box.width / 2, y: box.top + box.height / 2, zoom: Math.max(zoom, near) });
  document.body.dataset.drawn = 'no'; // until the next picture
  keepLink();
}

/** Go so many windows on; the slide moves where that one would not be seen. */
function step(down, across) {
  const { x, y } = viewer.target;
  const [row, column] = state.cell ?? layer.cellAt(x, y);
  const moved = state.cell ? [row + down, column + across] : [row, column];
  const cell = [Math.min(about.rows - 1, Math.max(0, moved[0])), Math.min(about.columns - 1, Math.max(0, moved[1]))];
  point(cell);
  const box = layer.window(...cell);
  if (!viewer.sees(box)) viewer.goTo({ x: box.left + box.width / 2, y: box.top + box.height / 2 });
  keepLink();
}

function listen(canvas) {
  const hover = (event) => {
    const position = viewer.position(event);
    if (position) point(layer.cellAt(...position));
  };
  canvas.addEventListener('pointermove', (event) => { if (!event.buttons) hover(event); });
  canvas.addEventListener('click', (event) => {
    hover(event);
    keepLink();
  });
  canvas.addEventListener('keydown', (event) => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (steps && event.shiftKey) viewer.pan(0.15 * steps[1], 0.15 * steps[0]);
    else if (steps) step(...steps);
    else if (event.key === '+' || event.key === '=') viewer.nearer();
    else if (event.key === '-') viewer.nearer(-1);
    else if (event.key === '0') viewer.whole();
    else return;
    event.preventDefault();
  });
}

function keepLink() {
  if (viewer.view.isOpen()) writeLink({ ...state, ...viewer.target, name: nameOf() });
}

/** Follow a link. */
async function follow(link) {
  state.slide = slides[link.slide] ? link.slide : 0;
  await open(link);
}

let clearing = 0;

function say(text, milliseconds) {
  clearTimeout(clearing);
  $('status').textContent = text;
  clearing = setTimeout(() => { $('status').textContent = ''; }, milliseconds);
}

function fail(error) {
  $('error').textContent = error.message;
  $('error').hidden = false;
}

function clearError() {
  $('error').hidden = true;
}

$('nearer').onclick = () => viewer.nearer();
$('farther').onclick = () => viewer.nearer(-1);
$('whole').onclick = () => viewer.whole();
$('theme').onclick = toggleTheme;
$('scale').oninput = () => {
  state.limit = LIMITS[$('scale').value];
  draw();
};
$('opacity').oninput = () => {
  state.opacity = $('opacity').value / 100;
  draw();
};
$('grey').onchange = () => {
  state.grey = $('grey').checked;
  viewer.grey(state.grey);
};
for (const id of ['scale', 'opacity', 'grey']) $(id).addEventListener('change', keepLink);
$('slide').onchange = () => {
  const name = nameOf();
  state.slide = Number($('slide').value);
  const same = slides[state.slide].classes.some((each) => each.name === name);
  open({ class: same ? name : null }).catch(fail);
};
$('link').onclick = async () => {
  keepLink();
  try {
    await navigator.clipboard.writeText(location.href);
    say('the link is copied', 2500);
  } catch {
    say(location.href, 6000);
  }
};
// Another link, in the address of this page; by now a view that came to rest may have written its own there.
addEventListener('hashchange', ({ newURL }) => follow(readLink(newURL)).catch(fail));
addEventListener('pointerdown', clearError);
addEventListener('keydown', ({ key }) => { if (key === 'Escape') clearError(); });

try {
  slides = await service.json('./v1/slides');
  $('slide').replaceChildren(...slides.map(({ name }, number) => Object.assign(document.createElement('option'), { value: number, textContent: name })));
  $('slide').hidden = slides.length < 2;
  await follow(readLink(location.href));
} catch (error) {
  fail(error);
} finally {
  document.body.dataset.ready = 'yes';
}
