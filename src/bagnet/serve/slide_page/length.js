// The scale bar: a round number of micrometres, metres or kilometres, or of pixels where the file does not say how large they are.

const LONGEST = 130; // pixels of the screen

/** [length in units, text] of the longest round number of units that fits; a unit is so many pixels of the screen. */
export function roundLength(unit, longest = LONGEST) {
  const power = 10 ** Math.floor(Math.log10(longest / unit));
  const factor = [5, 2, 1].find((each) => each * power * unit <= longest);
  return factor * power;
}

const UNITS = [[1e9, 'km'], [1e6, 'm'], [1e3, 'mm'], [1, 'µm']];

/** [micrometres, name] of the unit in which people say a length. */
export const unitOf = (microns) => UNITS.find(([unit]) => microns >= unit) ?? UNITS.at(-1);

export function lengthInWords(microns) {
  const [unit, name] = unitOf(microns);
  return `${Number((microns / unit).toPrecision(3))} ${name}`;
}

export function drawLength(element, zoom, microns) {
  const unit = microns ? zoom / microns : zoom;
  const length = roundLength(unit);
  element.style.width = `${length * unit}px`;
  element.textContent = microns ? lengthInWords(length) : `${Number(length.toPrecision(3)).toLocaleString('en')} px`;
}
