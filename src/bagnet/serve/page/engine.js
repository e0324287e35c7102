// The page's side of the network: `explain` a photograph, `change` what was painted over.

import { Evidence } from './evidence.js';
import { Geometry } from './geometry.js';
import { tasks } from './tasks.js';

/** The network in a worker: `ask` it for a task. */
class Apart {
  constructor(configuration) {
    this.waiting = new Map();
    this.next = 0;
    this.worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    this.worker.onmessage = ({ data: { id, answer, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) resolve(answer);
      else reject(new Error(error));
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message || 'the network cannot be started'));
      this.waiting.clear();
    };
    this.ready = this.ask('open', { configuration });
  }

  ask(task, content, transfer = []) {
    return new Promise((resolve, reject) => {
      this.waiting.set(this.next, { resolve, reject });
      this.worker.postMessage({ id: this.next, task, ...content }, transfer);
      this.next += 1;
    });
  }
}

/** The network elsewhere, behind a function that the page was given: a notebook's kernel has it. */
class Given {
  constructor(configuration) {
    this.tasks = tasks(configuration.run, configuration);
    this.ready = Promise.resolve();
  }

  ask(task, content) {
    return this.tasks[task](content);
  }
}

export class Engine {
  constructor(configuration) {
    this.about = configuration;
    this.geometry = new Geometry(configuration.geometry);
    this.network = configuration.engine === 'kernel' ? new Given(configuration) : new Apart(configuration);
    this.ready = this.network.ready;
  }

  /** What was explained elsewhere, as `explain` returns it. */
  shown(answer) {
    return { ...answer, evidence: new Evidence({ ...answer, multilabel: this.about.multilabel, temperature: this.about.temperature }) };
  }

  /** ImageData of a photograph -> { pixels, width, height, placement, evidence, milliseconds }. */
  async explain(photo) {
    await this.ready;
    const rgba = photo.data.slice();
    const answer = await this.network.ask('explain', { rgba, width: photo.width, height: photo.height }, [rgba.buffer]);
    return this.shown(answer);
  }

  /** Compute again the windows that hold a pixel of a box of the input; returns what undoes it. */
  async change(view, box) {
    const { geometry } = this;
    const [top, bottom] = geometry.touching(box.top, box.bottom, view.height);
    const [left, right] = geometry.touching(box.left, box.right, view.width);
    if (bottom <= top || right <= left) return { row: 0, column: 0, before: null, windows: 0, milliseconds: 0 };
    const whole = geometry.origin !== 0; // a network that pads would pad the crop
    const part = whole ? await this.network.ask('run', { pixels: view.pixels, width: view.width, height: view.height }) : await this.part(view, top, bottom, left, right);
    const [row, column] = whole ? [0, 0] : [top, left];
    const before = view.evidence.replace(row, column, part);
    return { row, column, before, windows: part.rows * part.columns, milliseconds: part.milliseconds };
  }

  part({ pixels, width }, top, bottom, left, right) {
    const [y0, y1] = this.geometry.field(top, bottom);
    const [x0, x1] = this.geometry.field(left, right);
    const crop = new Uint8Array((y1 - y0) * (x1 - x0) * 3);
    for (let y = y0; y < y1; y += 1) {
      crop.set(pixels.subarray(3 * (y * width + x0), 3 * (y * width + x1)), 3 * (y - y0) * (x1 - x0));
    }
    return this.network.ask('run', { pixels: crop, width: x1 - x0, height: y1 - y0 }, [crop.buffer]);
  }
}
