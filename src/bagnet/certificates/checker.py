"""An independent check of certificates: NumPy alone, nothing of this package, and the definitions written out as loops.

`python checker.py certificate.npz` works wherever NumPy is.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from os import PathLike
from typing import Any

import numpy as np

FORMAT = 2
BOUNDS = {  # what a window's scores for two classes can be apart at least
    "probabilities": -1.0,
    "clipped": -15.0,
    "tanh": -2.0,
}
STEEPEST = {"probabilities": 1.0, "clipped": 1.0, "tanh": 0.05}
ROUNDING = 1e-5  # of the largest logit: how far a window's logit may be off
CEILING = 1e4  # classifiers take logits beyond it for this
Grid = dict[str, Any]  # what is said of the windows of one model
Places = list[tuple[tuple[int, ...], ...]]  # for each place of a patch along an axis the cells that it touches, of each grid


class Rejected(ValueError):
    """A certificate that does not prove what it says. The message says why."""


def check(certificate: str | PathLike[str] | Any) -> bool:
    """Prove anew what a certificate claims: that no patch changes the answer. One that claims nothing is left at that.

    Args:
        certificate: a file that `Certificate.save` wrote, or a certificate.

    Returns:
        whether no patch changes the answer.

    Raises:
        Rejected: the file is damaged or was edited, or claims what cannot be proved.
        OSError: it cannot be read.
    """
    evidence, said = _read(certificate)
    maps = [each.astype(np.float64).clip(-CEILING, CEILING) for each in evidence]
    grids = [said, *said["beside"]]
    rows = _places(said, grids, 0, [each.shape[1] for each in maps])
    columns = _places(said, grids, 1, [each.shape[2] for each in maps])
    if said["method"] == "margin" and len(maps) == 1:
        certified = _by_margin(maps[0], said, rows, columns)
    elif said["method"] == "voting":
        certified = _by_voting(maps, said, grids, rows, columns)
    else:
        raise Rejected(f"there is no method {said['method']!r} for {len(maps)} models")
    if said["certified"] and not certified:
        raise Rejected("the certificate claims what its evidence does not prove")
    return bool(said["certified"])


def _read(certificate: Any) -> tuple[list[np.ndarray], dict[str, Any]]:
    if hasattr(certificate, "statement"):
        said = json.loads(json.dumps(certificate.statement()))
        evidence = [certificate.values, *(grid.values for grid in certificate.beside)]
    else:
        try:
            with np.load(certificate, allow_pickle=False) as file:
                said = json.loads(str(file["statement"]))
                evidence = [file["evidence"], *(file[name] for name in sorted(file.files) if name.startswith("evidence_"))]
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise Rejected(f"{certificate}: is no certificate, or damaged ({error})") from None
    if said.get("format") != FORMAT:
        raise Rejected(f"a certificate of another version ({said.get('format')})")
    sealed = json.dumps({name: value for name, value in said.items() if name != "seal"}, sort_keys=True)
    if hashlib.sha256(sealed.encode()).hexdigest() != said.get("seal"):
        raise Rejected("the certificate was edited")
    if len(evidence) != 1 + len(said["beside"]) or len({len(each) for each in evidence}) > 1:
        raise Rejected("the evidence of some windows is missing, or of other classes")
    for each, grid in zip(evidence, [said, *said["beside"]], strict=True):
        if hashlib.sha256(np.ascontiguousarray(each, "<f4").tobytes()).hexdigest() != grid["evidence"]:
            raise Rejected("the evidence is not that of the certificate: one of the two was edited")
        if each.ndim != 3 or not np.isfinite(each).all():
            raise Rejected("the evidence is no map of finite logits for each class")
    if min(said["count"], said["best"]) < 1:
        raise Rejected("a certificate against no patch, or about no class, proves nothing")
    return evidence, said


def _places(said: Grid, grids: list[Grid], axis: int, cells: list[int]) -> Places:
    name, within = ("vertical", "horizontal")[axis], (said["region"][1 - axis], said["region"][3 - axis])
    pixels, frame = said["size"][axis], said["frame"]
    touched = [_touched(grid, name, pixels, within, frame, count) for grid, count in zip(grids, cells, strict=True)]
    if len({len(each) for each in touched}) > 1:
        raise Rejected("the windows are not on one image")
    return list(dict.fromkeys(zip(*touched, strict=True)))


def _touched(grid: Grid, name: str, pixels: int, within: tuple[int, int], frame: str, cells: int) -> list[tuple[int, ...]]:
    """For each place of a patch along an axis the cells of one grid whose windows it touches."""
    axis, geometry = grid["placement"][name], grid["geometry"]
    size, stride, origin = geometry["size"], geometry["stride"], geometry["origin"]
    length = axis["source"] if frame == "photo" else axis["length"]
    if not (0 < pixels <= within[1] - within[0] and within[0] >= 0 and within[1] <= length):
        raise Rejected(f"a patch of {pixels} pixels, within {within} of an axis of {length}")
    if cells != (axis["length"] - size - 2 * origin) // stride + 1:
        raise Rejected("the evidence is not that of windows which lie so")
    needed = [_needed(axis, pixel) if frame == "photo" else (pixel, pixel + 1) for pixel in range(axis["length"])]
    places: list[tuple[int, ...]] = []
    for start in range(within[0], within[1] - pixels + 1):
        changed = [pixel for pixel, (first, last) in enumerate(needed) if first < start + pixels and start < last]
        touched = tuple(
            cell
            for cell in range(cells)
            if any(origin + stride * cell <= pixel < origin + stride * cell + size for pixel in changed)
        )
        places.append(touched)
    return places


def _needed(axis: dict[str, Any], pixel: int) -> tuple[int, int]:
    """The pixels of the photograph that Pillow makes one of the input from, as [first, last)."""
    at = pixel + axis["start"]
    if not 0 <= at < axis["resized"]:
        return 0, 0  # beyond the photograph it is black
    if axis["resized"] == axis["source"]:
        return at, at + 1
    scale = axis["source"] / axis["resized"]
    reach = axis["filter_radius"] * max(1.0, scale)
    centre = (at + 0.5) * scale
    return max(0, int(centre - reach + 0.5)), min(axis["source"], int(centre + reach + 0.5))


def _by_margin(values: np.ndarray, said: dict[str, Any], rows: Places, columns: Places) -> bool:
    """No rival, or fewer than `best`, can catch up at any place."""
    if said["aggregation"] not in BOUNDS:
        raise Rejected(f"evidence that is not bounded ({said['aggregation'] or 'logits'}) proves nothing")
    scores, apart, label = _bounded(values, said["aggregation"]), BOUNDS[said["aggregation"]], said["label"]
    slack = 2 * values[0].size * ROUNDING * np.abs(values).max() * STEEPEST[said["aggregation"]]
    for (touched_rows,) in rows:
        for (touched_columns,) in columns:
            inside = np.zeros(values.shape[1:], bool)
            inside[np.ix_(touched_rows, touched_columns)] = True
            catching = 0
            for rival in range(len(values)):
                if rival != label:
                    lead = scores[label] - scores[rival]
                    left = lead.sum() - said["count"] * (lead[inside] - apart).sum()
                    catching += left - slack <= 0
            if catching >= said["best"]:
                return False
    return True


def _bounded(values: np.ndarray, aggregation: str) -> np.ndarray:
    if aggregation == "probabilities":
        powers = np.exp(values - values.max(0))
        return np.asarray(powers / powers.sum(0))
    return np.clip(values, 0, 15) if aggregation == "clipped" else np.tanh(0.05 * values - 1)


def _by_voting(maps: list[np.ndarray], said: Grid, grids: list[Grid], rows: Places, columns: Places) -> bool:
    """Every place is covered by a mask, on all grids at once, and the label leads under every two masks."""
    if said["count"] != 1 or said["best"] != 1:
        raise Rejected("voting proves one patch and the best class alone")
    for axis, (name, places) in enumerate((("rows", rows), ("columns", columns)), 1):
        for grid, values in zip(grids, maps, strict=True):
            if not all(0 <= first <= last <= values.shape[axis] for first, last in grid[name]):
                raise Rejected(f"a mask of {name} that are not on the map")
        if len({len(grid[name]) for grid in grids}) > 1:
            raise Rejected(f"masks of {name} on some of the windows alone")
        runs = [[set(range(*run)) for run in mask] for mask in zip(*(grid[name] for grid in grids), strict=True)]
        for place in places:
            if not any(all(set(cells) <= run for cells, run in zip(place, mask, strict=True)) for mask in runs):
                raise Rejected(f"no mask covers the {name} {place} of a patch")
    masks = []
    for down in range(len(said["rows"])):
        for across in range(len(said["columns"])):
            masks.append([np.zeros(values.shape[1:], bool) for values in maps])
            for mask, grid in zip(masks[-1], grids, strict=True):
                mask[slice(*grid["rows"][down]), slice(*grid["columns"][across])] = True
    cells = sum(values[0].size for values in maps)
    slack = ROUNDING * max(np.abs(values).max() for values in maps) + cells**2 * CEILING * 2.0**-52
    for first in masks:
        for second in masks:
            left = np.hstack([values[:, ~(one | two)] for values, one, two in zip(maps, first, second, strict=True)])
            means = left.mean(1)
            if means[said["label"]] - np.delete(means, said["label"]).max() - 2 * slack <= 0:
                return False
    return True


if __name__ == "__main__":
    for path in sys.argv[1:]:
        try:
            print(f"{path}: {'certified' if check(path) else 'not certified'}")
        except (Rejected, OSError) as reason:
            sys.exit(f"{path}: {reason}")
