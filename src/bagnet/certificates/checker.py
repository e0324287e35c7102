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

FORMAT = 1
BOUNDS = {  # what a window's scores for two classes can be apart at least
    "probabilities": -1.0,
    "clipped": -15.0,
    "tanh": -2.0,
}
STEEPEST = {"probabilities": 1.0, "clipped": 1.0, "tanh": 0.05}
ROUNDING = 1e-5  # of the largest logit: how far a window's logit may be off
CEILING = 1e4  # classifiers take logits beyond it for this


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
    values = evidence.astype(np.float64).clip(-CEILING, CEILING)
    rows = _touched(said, "vertical", said["size"][0], values.shape[1])
    columns = _touched(said, "horizontal", said["size"][1], values.shape[2])
    if said["method"] == "margin":
        certified = _by_margin(values, said, rows, columns)
    elif said["method"] == "voting":
        certified = _by_voting(values, said, rows, columns)
    else:
        raise Rejected(f"there is no method {said['method']!r}")
    if said["certified"] and not certified:
        raise Rejected("the certificate claims what its evidence does not prove")
    return bool(said["certified"])


def _read(certificate: Any) -> tuple[np.ndarray, dict[str, Any]]:
    if hasattr(certificate, "statement"):
        evidence, said = certificate.values, json.loads(json.dumps(certificate.statement()))
    else:
        try:
            with np.load(certificate, allow_pickle=False) as file:
                evidence, said = file["evidence"], json.loads(str(file["statement"]))
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise Rejected(f"{certificate}: is no certificate, or damaged ({error})") from None
    if said.get("format") != FORMAT:
        raise Rejected(f"a certificate of another version ({said.get('format')})")
    sealed = json.dumps({name: value for name, value in said.items() if name != "seal"}, sort_keys=True)
    if hashlib.sha256(sealed.encode()).hexdigest() != said.get("seal"):
        raise Rejected("the certificate was edited")
    if hashlib.sha256(np.ascontiguousarray(evidence, "<f4").tobytes()).hexdigest() != said["evidence"]:
        raise Rejected("the evidence is not that of the certificate: one of the two was edited")
    if min(said["count"], said["best"]) < 1:
        raise Rejected("a certificate against no patch, or about no class, proves nothing")
    if evidence.ndim != 3 or not np.isfinite(evidence).all():
        raise Rejected("the evidence is no map of finite logits for each class")
    return evidence, said


def _touched(said: dict[str, Any], name: str, pixels: int, cells: int) -> list[list[int]]:
    """For each place of a patch along an axis the cells whose windows it touches."""
    axis, geometry = said["placement"][name], said["geometry"]
    size, stride, origin = geometry["size"], geometry["stride"], geometry["origin"]
    length = axis["source"] if said["frame"] == "photo" else axis["length"]
    if not 0 < pixels <= length:
        raise Rejected(f"a patch of {pixels} pixels, of an axis of {length}")
    if cells != (axis["length"] - size - 2 * origin) // stride + 1:
        raise Rejected("the evidence is not that of windows which lie so")
    needed = [_needed(axis, pixel) if said["frame"] == "photo" else (pixel, pixel + 1) for pixel in range(axis["length"])]
    places = []
    for start in range(length - pixels + 1):
        changed = [pixel for pixel, (first, last) in enumerate(needed) if first < start + pixels and start < last]
        touched = [
            cell
            for cell in range(cells)
            if any(origin + stride * cell <= pixel < origin + stride * cell + size for pixel in changed)
        ]
        if touched not in places:
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


def _by_margin(values: np.ndarray, said: dict[str, Any], rows: list[list[int]], columns: list[list[int]]) -> bool:
    """No rival, or fewer than `best`, can catch up at any place."""
    if said["aggregation"] not in BOUNDS:
        raise Rejected(f"evidence that is not bounded ({said['aggregation'] or 'logits'}) proves nothing")
    scores, apart, label = _bounded(values, said["aggregation"]), BOUNDS[said["aggregation"]], said["label"]
    slack = 2 * values[0].size * ROUNDING * np.abs(values).max() * STEEPEST[said["aggregation"]]
    for touched_rows in rows:
        for touched_columns in columns:
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


def _by_voting(values: np.ndarray, said: dict[str, Any], rows: list[list[int]], columns: list[list[int]]) -> bool:
    """Every place is covered by a mask, and the label leads under every two masks."""
    if said["count"] != 1 or said["best"] != 1:
        raise Rejected("voting proves one patch and the best class alone")
    for name, cells in zip(("rows", "columns"), values.shape[1:], strict=True):
        if not all(0 <= first < last <= cells for first, last in said[name]):
            raise Rejected(f"a mask of {name} that are not on the map")
    masks = []
    for top, bottom in said["rows"]:
        for left, right in said["columns"]:
            masks.append(np.zeros(values.shape[1:], bool))
            masks[-1][top:bottom, left:right] = True
    for name, places in (("rows", rows), ("columns", columns)):
        for touched in places:
            if not any(set(touched) <= set(range(first, last)) for first, last in said[name]):
                raise Rejected(f"no mask covers the {name} {touched} of a patch")
    slack = ROUNDING * np.abs(values).max() + values[0].size ** 2 * CEILING * 2.0**-52
    for first in masks:
        for second in masks:
            left = ~(first | second)
            means = values[:, left].mean(1)
            if means[said["label"]] - np.delete(means, said["label"]).max() - 2 * slack <= 0:
                return False
    return True


if __name__ == "__main__":
    for path in sys.argv[1:]:
        try:
            print(f"{path}: {'certified' if check(path) else 'not certified'}")
        except (Rejected, OSError) as reason:
            sys.exit(f"{path}: {reason}")
