// What is looked at, in the address of the page.

/** From an address: { slide, class, x, y, zoom, limit, opacity, grey, window }, as far as it says them. */
export function readLink(address) {
  const words = new URLSearchParams(new URL(address).hash.slice(1));
  const number = (name) => (words.has(name) && Number.isFinite(Number(words.get(name))) ? Number(words.get(name)) : null);
  const cell = (words.get('window') ?? '').split(',').map(Number);
  return {
    slide: number('slide'),
    class: words.get('class'),
    x: number('x'),
    y: number('y'),
    zoom: number('zoom'),
    limit: number('limit'),
    opacity: number('opacity'),
    grey: words.has('grey') ? words.get('grey') !== '0' : null,
    window: cell.length === 2 && cell.every(Number.isInteger) ? cell : null,
  };
}

export function writeLink({ slide, name, x, y, zoom, limit, opacity, grey, cell }) {
  const words = new URLSearchParams({
    slide,
    class: name,
    x: Math.round(x),
    y: Math.round(y),
    zoom: Number(zoom.toPrecision(5)),
    limit,
    opacity: Math.round(100 * opacity),
    grey: Number(grey),
  });
  if (cell) words.set('window', cell.join(','));
  history.replaceState(null, '', `#${words}`);
}
