// The viewer in a notebook's cell: the page in a frame, with the kernel behind it.

/** The address of a module of the page, and of all that it imports. */
function address(name, files, made) {
  made[name] ??= URL.createObjectURL(new Blob(
    [files[name].replace(/from '\.\/([\w-]+\.js)'/g, (_, wanted) => `from '${address(wanted, files, made)}'`)], { type: 'text/javascript' },
  ));
  return made[name];
}

/** A buffer as the kernel sends it, which may lie anywhere in a larger one. */
const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

/** Ask the kernel what the network says of some pixels. */
function asking(model) {
  const waiting = new Map();
  const cell = Math.random().toString(36).slice(2); // of this view: a widget may be shown in several cells
  let asked = 0;
  const answered = ({ id, error, shape }, buffers) => {
    const { resolve, reject } = waiting.get(id) ?? {};
    if (!resolve) return; // another view of the same widget asked
    waiting.delete(id);
    if (error) reject(new Error(error));
    else resolve({ values: floats(buffers[0]), logits: floats(buffers[1]), classes: shape[0], rows: shape[1], columns: shape[2] });
  };
  model.on('msg:custom', answered);
  const run = (pixels, width, height) => new Promise((resolve, reject) => {
    const id = `${cell}-${(asked += 1)}`;
    waiting.set(id, { resolve, reject });
    model.send({ id, width, height }, undefined, [pixels.slice().buffer]);
  });
  return { run, stop: () => model.off('msg:custom', answered) };
}

function render({ model, el }) {
  const frame = Object.assign(document.createElement('iframe'), { title: 'Evidence', srcdoc: model.get('page') });
  Object.assign(frame.style, { width: '100%', height: `${model.get('height')}px`, border: '0' });
  const { run, stop } = asking(model);
  const addresses = {};
  frame.onload = () => {
    const about = model.get('about');
    const [pixels, values] = ['pixels', 'values'].map((name) => model.get(name));
    frame.contentWindow.bagnet = {
      ...about,
      run: about.network ? run : null,
      shown: { ...about.shown, values: floats(values), pixels: new Uint8Array(pixels.buffer.slice(pixels.byteOffset, pixels.byteOffset + pixels.byteLength)) },
    };
    const script = frame.contentDocument.createElement('script');
    Object.assign(script, { type: 'module', src: address('main.js', model.get('files'), addresses) });
    frame.contentDocument.head.append(script);
  };
  el.append(frame);
  return () => {
    stop();
    Object.values(addresses).forEach((made) => URL.revokeObjectURL(made));
  };
}

export default { render };
