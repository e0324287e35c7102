// The scale bar: a round number of micrometres, or of pixels where the file does not say how large they are.

const LONGEST = 130; // pixels of the screen

/** [length in units, text] of the longest round number of units that fits; a unit is so many pixels of the screen. */
export function roundLength(unit, longest = LONGEST) {
  const power = 10 ** Math.floor(Math.log10(longest / unit));
  const factor = [5, 2, 1].find((each) => each * power * unit <= longest);
  return factor * power;
}

export function lengthInWords(microns) {
  if (microns >= 1000) return `${Number((microns / 1000).toPrecision(3))} mm`;
  return `${Number(microns.toPrecision(3))} µm`;
}

export function drawLength(element, zoom, microns) {
  const unit = microns ? zoom / microns : zoom;
  const length = roundLength(unit);
  element.style.width = `${length * unit}px`;
  element.textContent = microns ? lengthInWords(length) : `${Number(length.toPrecision(3)).toLocaleString('en')} px`;
}
