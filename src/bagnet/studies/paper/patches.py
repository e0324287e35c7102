"""Which windows speak most for a class? The strongest of all images, of the class and of other classes (Fig. 3)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...figures.evidence_picture import signed
from ...figures.picture import Picture
from ...figures.sheet import Sheet, cut_out
from ...figures.style import MARGIN, SOFT, short, wrapped
from ...files import file_stem
from ...progress import Progress
from ...runs.store import Store
from ...runs.sweep import check_finite, check_some
from ...runs.table import Row
from ...statistics import mean
from .experiment import Experiment, Findings, Workplace
from .subjects import Material, Subject, drawable

KINDS = ("own", "other")
_ENTRY = np.dtype([("logit", np.float32), ("row", np.int64), ("cell", np.int64)])
_SIDE, _PITCH, _ASIDE, _TITLES = 0.78, 0.88, 1.3, 0.45  # inches
_LINES = {"own": 1.08, "other": 1.36}  # inches that a line of windows takes with the words under it


@dataclass(frozen=True)
class Patches(Experiment):
    """See `question`. The table has the windows of all classes; a figure has room for some of them.

    Args:
        count: windows in each line.
        shown: how many classes are shown, drawn by the seed among those that have images.
        named: show these classes instead, by name or WordNet id.
    """

    name = "patches"
    title = "The windows that speak most for a class"
    question = "What do the windows with the largest logits of a class show, in images of the class and in those of others?"
    paper = (
        "Fig. 3: for some classes the windows with the highest logits over all validation images, in one line those of images of "
        "the class, in another those of other images (recalled, not verified)."
    )
    differs = (
        "An image gives one window at most. The classes shown are drawn by lot; the table has all. The interval is over classes."
    )

    count: int = 8
    shown: int = 8
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in ("count", "shown"):
            if getattr(self, option) < 1:
                raise ValueError(f"{option}={getattr(self, option)}: at least one is to be shown")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: there is no BagNet, or no class of a name.
            NotANumber: a logit is NaN.
            BadImage: no image can be used.
        """
        subjects = drawable(material, self.name)
        shown = self._shown(material)
        found = {one.name: _strongest(material, one, self.count, work) for one in subjects}
        rows, windows = _windows(material, subjects, found, shown)
        first = {}
        sentences = []
        for one in subjects:
            logits = found[one.name].best["logit"][:, :, 0]
            both = np.isfinite(logits).all(0)
            if not both.any():
                sentences.append(f"{one.name}: the images that can be used all show one class, with nothing to compare it to.")
                continue
            first[one.name] = mean(logits[0, both] > logits[1, both], material.seed)
            sentences.append(
                f"{one.name}: of {both.sum()} classes, the strongest window of all images shows the class itself in "
                f"{first[one.name].text(1, 100)} %."
            )
        measures = {
            "images": len(material),
            "unusable": {one.name: len(found[one.name].bad) for one in subjects},
            "windows": len(rows),
            "own_class_first": {name: estimate.to_dict() for name, estimate in first.items()},
        }
        paths = material.images.names
        for one in subjects:
            for row, reason in found[one.name].bad:
                work.note_unusable(paths[row], reason)
        errors = [
            {"model": one.name, "image": paths[row], "error": reason} for one in subjects for row, reason in found[one.name].bad
        ]
        several = len(subjects) > 1
        names = [f"{self.name}-{file_stem(one.name)}" if several else self.name for one in subjects]
        figures = {name: self._picture(material, one, shown, windows) for name, one in zip(names, subjects, strict=True)}
        return Findings(measures, sentences, figures, [*rows, *errors])

    def _shown(self, material: Material) -> list[int]:
        """The classes of the figure, in order."""
        if self.named:
            return list(dict.fromkeys(material.classes.find(name) for name in self.named))
        there = np.unique(material.labels.numpy())
        return sorted(np.random.default_rng(material.seed).permutation(there)[: self.shown].tolist())

    def _picture(
        self, material: Material, one: Subject, shown: Sequence[int], windows: Mapping[Any, Sequence[_Window]]
    ) -> Picture:
        block = sum(_LINES.values()) + 0.12
        across = max(self.count, 5) * _PITCH  # fewer windows leave no room for the words above them
        sheet = Sheet(
            2 * MARGIN + _ASIDE + across,
            _TITLES + block * len(shown) + 0.05,
            self.title,
            f"{material.data}: the largest logits of all {len(material):,} images, one window an image. Under each window its "
            "logit for the class; under those of other images also what these show.",
        )
        left = MARGIN + _ASIDE
        sheet.text(left, sheet.top, short(one.name, 40), 9, fontweight="bold")
        sheet.text(left, sheet.top + 0.18, f"windows of {one.window} px", color=SOFT)
        for place, label in enumerate(shown):
            y = sheet.top + _TITLES + place * block
            name = wrapped(str(material.classes[label]), _ASIDE - 0.1, 9.5, 3)
            sheet.text(MARGIN, y, name, 9.5, fontweight="bold")
            for kind in KINDS:
                below = 0.2 * name.count("\n") + 0.22 if kind == "own" else 0
                words = "in images\nof the class" if kind == "own" else "in images\nof other classes"
                sheet.text(MARGIN, y + below, words, color=SOFT)
                for rank, window in enumerate(windows.get((one.name, label, kind), ())):
                    _draw(sheet, left + rank * _PITCH, y, window, kind == "other")
                y += _LINES[kind]
        return Picture(sheet.figure)


@dataclass(frozen=True)
class _Window:
    """One window as it is drawn."""

    image: Image.Image
    logit: float
    shows: str


def _draw(sheet: Sheet, x: float, y: float, window: _Window, other: bool) -> None:
    sheet.picture(x, y, _SIDE, window.image)
    middle = x + _SIDE / 2
    sheet.text(middle, y + _SIDE + 0.04, signed(window.logit), 7.5, fontweight="bold", ha="center")
    if other:
        sheet.text(middle, y + _SIDE + 0.18, wrapped(window.shows, _PITCH, 6.5, 2), 6.5, color=SOFT, ha="center")


@dataclass(frozen=True)
class _Strongest:
    """The windows with the largest logits so far, one of an image at most.

    Args:
        best: (2, K, count) logit, row of the image and cell of its grid, the largest first; -inf where there is none yet. Of
            images of the class, and of others. Of equal logits the earlier image comes first, and in it the earlier cell.
        seen: (N,) images that were looked at.
        bad: (row, reason) of the images that cannot be used.
    """

    best: NDArray[Any]
    seen: NDArray[np.bool_]
    bad: list[tuple[int, str]]

    @classmethod
    def of_nothing(cls, images: int, classes: int, count: int) -> _Strongest:
        best = np.zeros((len(KINDS), classes, count), _ENTRY)
        best["logit"], best["row"] = -np.inf, -1
        return cls(best, np.zeros(images, np.bool_), [])

    @classmethod
    def kept_in(cls, store: Store, name: str) -> _Strongest | None:
        """What an interrupted run left; None where there was none."""
        arrays = store.kept(name)
        if arrays is None:
            return None
        bad = [(row, reason) for row, reason in json.loads(arrays["bad"].item())]
        return cls(arrays["best"], arrays["seen"], bad)

    def keep_in(self, store: Store, name: str) -> None:
        """As large at the end as at the beginning."""
        store.keep(name, best=self.best, seen=self.seen, bad=np.array(json.dumps(self.bad)))

    def offer(self, row: int, label: int, logits: NDArray[np.float32], cells: NDArray[np.int64]) -> None:
        """The strongest window of one image for each of the K classes."""
        kinds = (np.arange(len(logits)) != label).astype(np.intp)
        chosen = np.flatnonzero(logits >= self.best["logit"][kinds, np.arange(len(logits)), -1])
        new = np.zeros((len(chosen), 1), _ENTRY)
        new["logit"][:, 0], new["row"], new["cell"][:, 0] = logits[chosen], row, cells[chosen]
        together = np.concatenate([self.best[kinds[chosen], chosen], new], 1)
        order = np.lexsort((together["row"], -together["logit"]), 1)[:, :-1]
        self.best[kinds[chosen], chosen] = np.take_along_axis(together, order, 1)


def _strongest(material: Material, subject: Subject, count: int, work: Workplace) -> _Strongest:
    """One pass over the images. What is known is kept after every batch."""
    name, names, labels = file_stem(subject.name), material.images.names, material.labels.tolist()
    found = _Strongest.kept_in(work.store, name) or _Strongest.of_nothing(len(names), len(material.classes), count)
    for batch in material.sweep(subject, np.flatnonzero(~found.seen).tolist()):
        features = subject.model.features(batch.x) if batch.rows else ()
        for row, bag in zip(batch.rows, features, strict=True):  # the maps of all classes at once only of one image
            logits, cells = _largest(subject, bag)
            check_finite(logits, subject.name, names[row])
            found.offer(row, labels[row], logits.numpy(), cells.numpy())
        found.bad.extend(batch.bad)
        found.seen[[*batch.rows, *(row for row, _ in batch.bad)]] = True
        found.keep_in(work.store, name)
    check_some(range(len(names) - len(found.bad)), found.bad)
    return found


def _largest(subject: Subject, features: Tensor) -> tuple[Tensor, Tensor]:
    """(C, h, w) features of an image -> (K,) the largest logit of each class, and (K,) the first cell that has it."""
    logits, cells = subject.model.head(features[None], subject.columns)[0].flatten(1).max(1)
    return logits.float().cpu(), cells.cpu()


def _windows(
    material: Material, subjects: Sequence[Subject], found: Mapping[str, _Strongest], shown: Sequence[int]
) -> tuple[list[Row], dict[tuple[str, int, str], list[_Window]]]:
    """(a row of the table for each window, windows to draw by model, class and kind)

    An image's size is known only to who reads it, so that those with a window among the strongest are read once more.
    """
    wanted: dict[int, list[tuple[Subject, int, str, int, Any]]] = {}
    for one in subjects:
        for label, kind, rank, entry in _entries(found[one.name]):
            wanted.setdefault(int(entry["row"]), []).append((one, label, kind, rank, entry))
    rows: dict[tuple[str, int, str, int], Row] = {}
    drawn: dict[tuple[str, int, str, int], _Window] = {}
    labels, names = material.labels.tolist(), material.images.names
    for done, row in enumerate(sorted(wanted), 1):
        photo = material.images.photo(row)
        for one, label, kind, rank, entry in wanted[row]:
            placement = one.transform.placement(photo.image.size, photo.orientation)
            height, width = placement.input_size
            cell = divmod(int(entry["cell"]), one.model.geometry.grid(height, width)[1])
            box = placement.display_box(one.model.geometry.window(*cell))
            shows = material.classes[labels[row]]
            rows[one.name, label, kind, rank] = {
                "model": one.name,
                "class": str(material.classes[label]),
                "wnid": material.classes[label].wnid or "",
                "kind": kind,
                "rank": rank,
                "image": names[row],
                "label": str(shows),
                "row": cell[0],
                "column": cell[1],
                "logit": float(entry["logit"]),
                **box._asdict(),
            }
            if label in shown:
                drawn[one.name, label, kind, rank] = _Window(cut_out(photo.image, box), float(entry["logit"]), str(shows))
        material.progress(Progress("the strongest windows", done, len(wanted)))
    order = [(one.name, label, kind, rank) for one in subjects for label, kind, rank, _ in _entries(found[one.name])]
    pictures: dict[tuple[str, int, str], list[_Window]] = {}
    for key in order:
        if key in drawn:
            pictures.setdefault(key[:3], []).append(drawn[key])
    return [rows[key] for key in order], pictures


def _entries(found: _Strongest) -> Iterator[tuple[int, str, int, Any]]:
    """(class, kind, rank, entry) of all, from rank 1."""
    for label in range(found.best.shape[1]):
        for kind, best in zip(KINDS, found.best[:, label], strict=True):
            for rank, entry in enumerate(best[np.isfinite(best["logit"])], 1):
                yield label, kind, rank, entry
