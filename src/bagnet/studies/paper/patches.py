"""Which windows speak most for a class? The strongest of all images, of the class and of other classes (Fig. 3)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...figures.charts import MARGIN
from ...figures.colours import SOFT
from ...figures.picture import Picture
from ...figures.sheet import Sheet, cropped
from ...figures.words import short, signed, wrapped
from ...files import file_stem
from ...progress import Progress
from ...runs.store import Store
from ...runs.sweep import check_finite, check_some
from ...runs.table import Row
from ...statistics import Estimate, mean
from .experiment import Experiment, Findings, Workplace
from .needs import Needs
from .subjects import Material, Subject

IN_CLASS, ELSEWHERE = KINDS = ("in_class", "elsewhere")  # windows of images of a class, and of images of other classes
_ENTRY = np.dtype([("logit", np.float32), ("row", np.int64), ("cell", np.int64)])
_SIDE, _PITCH, _ASIDE, _TITLES = 0.78, 0.88, 1.3, 0.45  # inches
_LINES = {IN_CLASS: 1.08, ELSEWHERE: 1.36}  # inches that a line of windows takes with the words under it
_WORDS = {IN_CLASS: "in images\nof the class", ELSEWHERE: "in images\nof other classes"}


@dataclass(frozen=True)
class Measures:
    """All that was measured; mappings are by the name of each model."""

    images: int
    unusable: Mapping[str, int]
    windows: int  # in the table
    strongest_in_class: Mapping[str, Estimate]  # share of the classes whose strongest window is in an image of the class


@dataclass(frozen=True)
class Patches(Experiment):
    """See `question`. The table has the windows of all classes; a figure has room for some of them.

    Args:
        count: windows in each line.
        shown: how many classes are shown, drawn by the seed among those that have images.
        named: show these classes instead, by name or WordNet id.
    """

    title = "The windows that speak most for a class"
    question = "What do the windows with the largest logits of a class show, in images of the class and in those of others?"
    paper = (
        "Fig. 3: for some classes the windows with the highest logits over all validation images, in one line those of images of "
        "the class, in another those of other images (recalled, not verified)."
    )
    differs = (
        "An image gives one window at most. The classes shown are drawn at random; the table has all. The interval is over "
        "classes."
    )
    needs = Needs(labels=True, bagnets=True, pictures=True)

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
            NotANumber: a logit is NaN.
            BadImage: no image can be used.
        """
        shown = self._shown(material)
        strongest = {bagnet.name: _strongest(material, bagnet, self.count, work) for bagnet in material.bagnets}
        rows, pictures = _windows(material, strongest, shown)
        bad = [(name, material.images.names[row], reason) for name, best in strongest.items() for row, reason in best.bad]
        for _, image, reason in bad:
            work.note_unusable(image, reason)
        shares = {name: mean(wins, material.seed) for name, best in strongest.items() if len(wins := best.wins())}
        unusable = {name: len(best.bad) for name, best in strongest.items()}
        measures = Measures(len(material), unusable, len(rows), shares)
        sentences = [_sentence(name, len(best.wins()), shares.get(name)) for name, best in strongest.items()]
        several = len(material.bagnets) > 1
        figures = {
            f"{self.name}-{file_stem(bagnet.name)}" if several else self.name: self._picture(material, bagnet, shown, pictures)
            for bagnet in material.bagnets
        }
        errors = [{"model": name, "image": image, "error": reason} for name, image, reason in bad]
        return Findings(measures, sentences, figures, [*rows, *errors])

    def check(self, material: Material) -> None:
        """As `Experiment.check`. UnknownClass, AmbiguousClass: a class that is to be shown."""
        super().check(material)
        self._shown(material)

    def _shown(self, material: Material) -> list[int]:
        """The classes of the figure, in order."""
        if self.named:
            return list(dict.fromkeys(material.classes.find(name) for name in self.named))
        labels = np.unique(material.labels.numpy())
        return sorted(np.random.default_rng(material.seed).permutation(labels)[: self.shown].tolist())

    def _picture(self, material: Material, bagnet: Subject, shown: Sequence[int], pictures: Mapping[_Key, _Window]) -> Picture:
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
        sheet.text(left, sheet.top, short(bagnet.name, 40), 9, fontweight="bold")
        sheet.text(left, sheet.top + 0.18, f"windows of {bagnet.window} px", color=SOFT)
        for line, label in enumerate(shown):
            y = sheet.top + _TITLES + line * block
            name = wrapped(str(material.classes[label]), _ASIDE - 0.1, 9.5, 3)
            sheet.text(MARGIN, y, name, 9.5, fontweight="bold")
            for kind in KINDS:
                below = 0.2 * name.count("\n") + 0.22 if kind == IN_CLASS else 0
                sheet.text(MARGIN, y + below, _WORDS[kind], color=SOFT)
                for rank in range(1, self.count + 1):
                    window = pictures.get(_Key(bagnet.name, label, kind, rank))
                    if window is not None:
                        _draw(sheet, left + (rank - 1) * _PITCH, y, window, kind)
                y += _LINES[kind]
        return Picture(sheet.figure)


class _Key(NamedTuple):
    """Which window: the strongest one for a class has rank 1."""

    model: str
    label: int
    kind: str
    rank: int


@dataclass(frozen=True)
class _Window:
    """One window as it is drawn."""

    image: Image.Image
    logit: float
    shows: str


def _draw(sheet: Sheet, x: float, y: float, window: _Window, kind: str) -> None:
    sheet.picture(x, y, _SIDE, window.image)
    middle = x + _SIDE / 2
    sheet.text(middle, y + _SIDE + 0.04, signed(window.logit), 7.5, fontweight="bold", ha="center")
    if kind == ELSEWHERE:
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

    best: NDArray[np.void]
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

    def entries(self, model: str) -> Iterator[tuple[_Key, np.void]]:
        """All windows, as elements of `best`."""
        for label in range(self.best.shape[1]):
            for kind, best in zip(KINDS, self.best[:, label], strict=True):
                for rank, entry in enumerate(best[np.isfinite(best["logit"])], 1):
                    yield _Key(model, label, kind, rank), entry

    def wins(self) -> NDArray[np.bool_]:
        """Of each class that has windows of both kinds: whether the strongest of all is in an image of the class."""
        in_class, elsewhere = self.best["logit"][:, :, 0]
        both = np.isfinite(in_class) & np.isfinite(elsewhere)
        wins: NDArray[np.bool_] = in_class[both] > elsewhere[both]
        return wins


def _strongest(material: Material, subject: Subject, count: int, work: Workplace) -> _Strongest:
    """One pass over the images. What is measured is kept after every batch."""
    name, names, labels = file_stem(subject.name), material.images.names, material.labels.tolist()
    strongest = _Strongest.kept_in(work.store, name) or _Strongest.of_nothing(len(names), len(material.classes), count)
    for batch in material.sweep(subject, np.flatnonzero(~strongest.seen).tolist()):
        features = subject.classifier.features(batch.x) if batch.rows else ()
        for row, bag in zip(batch.rows, features, strict=True):  # the maps of all classes at once only of one image
            logits, cells = _largest(subject, bag)
            check_finite(logits, subject.name, names[row])
            strongest.offer(row, labels[row], logits.numpy(), cells.numpy())
        strongest.bad.extend(batch.bad)
        strongest.seen[[*batch.rows, *(row for row, _ in batch.bad)]] = True
        strongest.keep_in(work.store, name)
    check_some(range(len(names) - len(strongest.bad)), strongest.bad)
    return strongest


def _largest(subject: Subject, features: Tensor) -> tuple[Tensor, Tensor]:
    """(C, h, w) features of an image -> (K,) the largest logit of each class, and (K,) the first cell that has it."""
    logits, cells = subject.classifier.head(features[None], subject.columns)[0].flatten(1).max(1)
    return logits.float().cpu(), cells.cpu()


def _windows(
    material: Material, strongest: Mapping[str, _Strongest], shown: Sequence[int]
) -> tuple[list[Row], dict[_Key, _Window]]:
    """(a row of the table for each window, windows to draw)

    An image's size is known only to who reads it, so that those with a window among the strongest are read once more.
    """
    subjects = {subject.name: subject for subject in material.bagnets}
    keys: list[_Key] = []
    by_image: dict[int, list[tuple[_Key, np.void]]] = {}
    for name, best in strongest.items():
        for key, entry in best.entries(name):
            keys.append(key)
            by_image.setdefault(int(entry["row"]), []).append((key, entry))
    rows: dict[_Key, Row] = {}
    pictures: dict[_Key, _Window] = {}
    labels, names = material.labels.tolist(), material.images.names
    for done, row in enumerate(sorted(by_image), 1):
        photo = material.images.photo(row)
        shows = material.classes[labels[row]]
        for key, entry in by_image[row]:
            subject, logit = subjects[key.model], float(entry["logit"])
            geometry, placement = subject.classifier.geometry, subject.transform.placement(photo.size, photo.orientation)
            cell = divmod(int(entry["cell"]), geometry.grid(*placement.input_size)[1])
            box = placement.display_box(geometry.window(*cell))
            rows[key] = {
                "model": key.model,
                "class": str(material.classes[key.label]),
                "wnid": material.classes[key.label].wnid or "",
                "kind": key.kind,
                "rank": key.rank,
                "image": names[row],
                "label": str(shows),
                "row": cell[0],
                "column": cell[1],
                "logit": logit,
                **box._asdict(),
            }
            if key.label in shown:
                pictures[key] = _Window(cropped(subject.transform.shown(photo), box), logit, str(shows))
        material.progress(Progress("the strongest windows", done, len(by_image)))
    return [rows[key] for key in keys], pictures


def _sentence(model: str, classes: int, share: Estimate | None) -> str:
    if share is None:
        return f"{model}: the images that can be used all show one class, with nothing to compare it to."
    return f"{model}: of {classes} classes, the strongest window of all images shows the class itself in {share.text(1, 100)} %."
