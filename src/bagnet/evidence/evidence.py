"""Evidence: the logit of every class at every window, whose mean over the windows is the class's logit."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, isfinite
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.decode import printable
from ..data.names import ClassNames
from ..geometry import Box, Geometry, Placement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..engine.classifier import Classifier
    from ..figures.evidence_picture import Style
    from ..figures.picture import Picture
    from .dense_map import DenseMap

TOLERANCE = 1e-5  # how far the mean of a map may lie from its logit in float32, as a share of what `_scale` says

Floats = NDArray[np.floating[Any]]
Size = Literal["photo", "input"]
Spread = Literal["cells", "windows"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class as an image's answer.

    Args:
        index: place among the classes.
        name: its usual name.
        logit: the mean of its map.
        probability: softmax of the logits; of a multi-label network, the sigmoid of this one. At the model's temperature.
    """

    index: int
    name: str
    logit: float
    probability: float


@dataclass(frozen=True, slots=True)
class Window:
    """One window of an image and what it says of a class.

    Args:
        box: in pixels of the upright image, rounded and clipped, for pictures and for `image.crop`.
        logit: what it says.
        row: of its cell in the map.
        column: of its cell in the map.
    """

    box: Box
    logit: float
    row: int
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Cells side by side that speak for a class.

    Args:
        box: in which they are drawn, in pixels of the upright image, rounded and clipped.
        mask: (h, w) which cells they are.
        share: of the class's positive evidence.
    """

    box: Box
    mask: NDArray[np.bool_]
    share: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Evidence:
    """The logit of every class at every window of one image.

    Args:
        values: (K, h, w) logits. Read-only.
        logits: (K,) of the whole image, pooled before the head; the mean of `values` up to rounding.
        geometry: where the windows lie on the network's input.
        placement: where the network's input lies in the image.
        classes: the K classes.
        image: the upright picture, RGB.
        model: name of the card.
        source: where the image came from; "" where it was never a file.
        multilabel: each class is a question of its own.
        left_out: of classes that the model has and this evidence has not, the logarithm of their summed exponential logits, so
            that probabilities are those among all classes; at a temperature T, T times that of logits that are divided by T.
        temperature: by which logits are divided before they become probabilities, see `Card`; logits and maps are not.

    Raises:
        ValueError: the parts do not fit together, or a map's mean is not its logit.
    """

    values: Floats
    logits: Floats
    geometry: Geometry
    placement: Placement
    classes: ClassNames
    image: Image.Image
    model: str = ""
    source: str = ""
    multilabel: bool = False
    left_out: float = -inf
    temperature: float = 1.0

    def __post_init__(self) -> None:
        expected = (len(self.classes), *self.geometry.grid(*self.placement.input_size))
        if self.values.shape != expected or self.logits.shape != expected[:1]:
            raise ValueError(f"evidence of shape {self.values.shape} with logits {self.logits.shape}, expected {expected}")
        if self.image.size != self.placement.image_size:
            raise ValueError(f"an image of {self.image.size} pixels, placed as one of {self.placement.image_size}")
        largest = max(_scale(self.logits, self.values), abs(self.left_out) if isfinite(self.left_out) else 0.0)
        error = float(np.abs(self.values.mean((1, 2), dtype=np.float64) - self.logits).max())
        if not error <= TOLERANCE * largest:  # so written, NaN fails too
            raise ValueError(
                f"the mean of a map is {error:g} away from its logit, more than {TOLERANCE:g} of the logits' size ({largest:g}): "
                "the network computed in too low a precision (model.float() mends that), or its weights are not finite"
            )
        self.values.setflags(write=False)
        self.logits.setflags(write=False)

    def __repr__(self) -> str:
        best, (rows, columns) = self.top(1)[0], self.values.shape[1:]
        source = f"{printable(Path(self.source).name)}: " if self.source else ""
        return (
            f"Evidence({source}{best.name} {100 * best.probability:.1f} %; {rows} x {columns} windows of "
            f"{self.geometry.size} px, {len(self.classes)} classes, {self.model})"
        )

    def __eq__(self, other: object) -> bool:
        """Whether all of it is the same, to the last bit."""
        if not isinstance(other, Evidence):
            return NotImplemented
        names = ("geometry", "placement", "classes", "model", "source", "multilabel", "left_out", "temperature")
        return (
            all(getattr(self, name) == getattr(other, name) for name in names)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("values", "logits"))
            and self.image.size == other.image.size
            and self.image.tobytes() == other.image.tobytes()
        )

    def __hash__(self) -> int:
        return hash((self.model, self.source, self.logits.tobytes()))

    def _repr_png_(self) -> bytes:
        """As notebooks show it."""
        return self.picture()._repr_png_()

    @property
    def probabilities(self) -> Floats:
        """(K,) softmax of the logits, or the sigmoid of each where `multilabel`, float64; at the temperature."""
        scaled, left_out = self.logits.astype(np.float64) / self.temperature, self.left_out / self.temperature
        if self.multilabel:
            each: Floats = 1 / (1 + np.exp(-scaled))
            return each
        largest = max(float(scaled.max()), left_out)
        powers = np.exp(scaled - largest)
        shares: Floats = powers / (powers.sum() + exp(left_out - largest))
        return shares

    def top(self, count: int = 5) -> list[Prediction]:
        """The classes with the largest logits, best first; fewer where the model has fewer. ValueError for a count below 1."""
        _check_count(count)
        probabilities = self.probabilities
        return [self._prediction(int(index), probabilities) for index in np.argsort(-self.logits, kind="stable")[:count]]

    def prediction(self, target: int | str) -> Prediction:
        """What the image's answer says of one class. Raises as `map`."""
        return self._prediction(self.classes.find(target), self.probabilities)

    def indices_among(self, classes: ClassNames) -> list[int]:
        """Of each class its index among those of the model; not 0, 1, 2 ... where the maps of some were left out."""
        every = list(classes)
        return [every.index(entry) for entry in self.classes] if len(self.classes) < len(every) else list(range(len(every)))

    def map(self, target: int | str | None = None) -> Floats:
        """(h, w) logits of one class, whose mean is its logit.

        Args:
            target: index, WordNet id or name; the class with the largest logit where None.

        Raises:
            UnknownClass: no class answers to it.
            AmbiguousClass: several do.
        """
        values: Floats = self.values[self._index(target)]
        return values

    def difference(self, target: int | str, versus: int | str) -> Floats:
        """(h, w): why `target` and not `versus`, window by window; its mean is the difference of their logits.

        Raises:
            UnknownClass, AmbiguousClass: as `map`.
            ValueError: both are the same class.
        """
        if self._index(target) == self._index(versus):
            raise ValueError(f"{self.classes[self._index(target)]} is compared with itself: name another class")
        return self.map(target) - self.map(versus)

    def windows(
        self, target: int | str | None = None, count: int = 3, versus: int | str | None = None, apart: int = 1
    ) -> list[Window]:
        """The windows that speak most for a class, strongest first.

        Args:
            target: the class, as for `map`.
            count: how many; fewer where the map has fewer.
            versus: rank by what speaks for `target` rather than for this class.
            apart: least distance between two of them, in pixels of the network's input along either axis; neighbours
                overlap, and one clue shows up in several.

        Raises:
            UnknownClass, AmbiguousClass: as `map`.
            ValueError: a count below 1, or `versus` is the same class.
        """
        _check_count(count)
        values = self.map(target) if versus is None else self.difference(self._index(target), versus)
        chosen: list[Window] = []
        for cell in np.argsort(-values, axis=None, kind="stable"):
            row, column = divmod(int(cell), values.shape[1])
            steps = (max(abs(row - window.row), abs(column - window.column)) for window in chosen)
            if all(step * self.geometry.stride >= apart for step in steps):
                box = self.placement.display_box(self.geometry.window(row, column))
                chosen.append(Window(box, float(values[row, column]), row, column))
                if len(chosen) >= count:
                    break
        return chosen

    def heatmap(
        self,
        target: int | str | None = None,
        versus: int | str | None = None,
        *,
        size: Size = "photo",
        spread: Spread = "cells",
    ) -> Floats:
        """A map as large as the photograph, or as the network's input.

        Of "cells", each pixel has the logit of the cell that is drawn there: a stride x stride square about its window's centre.
        Of "windows", it has the mean of the logits of all windows that hold it; weighted with how many these are, the mean of
        that over the input is the logit again (but where windows stick out of the image). Where there is none, the map is 0.

        Args:
            target: the class, as for `map`.
            versus: the difference to this class instead.
            size: "photo" for pixels of the upright photograph, "input" for those of the network's input.
            spread: "cells" or "windows".

        Returns:
            (H, W) float32 logits.

        Raises:
            UnknownClass, AmbiguousClass: as `map`.
            ValueError: another size or spread is asked for, or `versus` is the same class.
        """
        for word, asked, known in (("size", size, Size), ("spread", spread, Spread)):
            if asked not in get_args(known):
                raise ValueError(f"there is no {word} {asked!r}: there are {' and '.join(get_args(known))}")
        values = self.map(target) if versus is None else self.difference(self._index(target), versus)
        height, width = self.placement.input_size
        down: NDArray[Any]
        if size == "photo":
            down, across = (axis.input_positions() for axis in (self.placement.vertical, self.placement.horizontal))
        else:
            down, across = (np.arange(side, dtype=np.float64) + 0.5 for side in (height, width))
        if spread == "windows":
            by_row, by_column = (_held(at, self.geometry, count) for at, count in zip((down, across), values.shape, strict=True))
            means: Floats = (by_row @ values @ by_column.T).astype(np.float32)
            return means
        first = self.geometry.centre_square(0, 0).top
        rows, columns = (np.floor((edge - first) / self.geometry.stride).astype(int) for edge in (down, across))
        inside_rows, inside_columns = (
            (index >= 0) & (index < count) for index, count in zip((rows, columns), values.shape, strict=True)
        )
        drawn = np.zeros((len(rows), len(columns)), np.float32)
        drawn[np.ix_(inside_rows, inside_columns)] = values[np.ix_(rows[inside_rows], columns[inside_columns])]
        return drawn

    def regions(self, target: int | str | None = None, share: float = 0.5) -> list[Region]:
        """Where a class's positive evidence lies: the strongest cells that hold a share of it, those side by side together.

        Args:
            target: the class, as for `map`.
            share: of the positive evidence, above 0 and at most 1.

        Returns:
            The regions, the one with most evidence first; none where nothing speaks for the class.

        Raises:
            UnknownClass, AmbiguousClass: as `map`.
            ValueError: share is out of range.
        """
        if not 0 < share <= 1:
            raise ValueError(f"the share must be above 0 and at most 1, got {share}")
        from skimage.measure import label

        positive = np.maximum(self.map(target), 0).astype(np.float64)
        total = positive.sum()
        order = np.argsort(-positive, axis=None, kind="stable")
        sums = np.cumsum(positive.ravel()[order])
        count = min(int(np.searchsorted(sums, share * total * (1 - 1e-12))) + 1, int((positive > 0).sum()))
        chosen = np.zeros(positive.size, bool)
        chosen[order[:count]] = True
        labels: NDArray[np.int64] = label(chosen.reshape(positive.shape), connectivity=2)  # type: ignore[no-untyped-call]
        masks = [labels == number for number in range(1, labels.max() + 1)]
        regions = [Region(self._drawn_box(mask), mask, float(positive[mask].sum() / total)) for mask in masks]
        return sorted(regions, key=lambda region: -region.share)

    def _drawn_box(self, mask: NDArray[np.bool_]) -> Box:
        """The box of the photograph in which some cells are drawn."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        first = self.geometry.centre_square(int(rows[0]), int(columns[0]))
        last = self.geometry.centre_square(int(rows[-1]), int(columns[-1]))
        return self.placement.display_box(first.hull(last))

    def picture(
        self,
        target: int | str | None = None,
        versus: int | str | None = None,
        *,
        style: Style = "evidence",
        scale: float | None = None,
        finer: DenseMap | None = None,
    ) -> Picture:
        """The photograph beside its evidence.

        Args:
            target: the class; the best one where None.
            versus: draw the difference to this class instead of the map itself.
            style: "evidence": every cell as it is, on a symmetric scale to the largest value; "paper": as the paper draws
                it, on a scale to the 99th percentile, under the edges of the photograph.
            scale: the logit at both ends of the colours, to compare pictures.
            finer: draw this map instead of the grid's: of one image, for the class, or for the class and `versus`.

        Raises:
            UnknownClass, AmbiguousClass: as `map`.
            ValueError: an unknown style, or a scale that is not positive.
        """
        from ..figures.evidence_picture import draw

        return draw(self, target, versus, style, scale, finer)

    def plot(self, target: int | str | None = None, versus: int | str | None = None, ax: Axes | None = None) -> Axes:
        """Draw the photograph with the evidence laid over it, into a figure of one's own.

        A cell's colour is its logit's, and its opacity grows with the logit's size. `figure.colorbar(ax.images[-1])` explains
        the colours.

        Args:
            target: the class; the best one where None.
            versus: draw the difference to this class instead of the map itself.
            ax: matplotlib's axes to draw on; pyplot's current ones where None.

        Returns:
            The axes, whose units are pixels of the upright photograph.

        Raises:
            UnknownClass, AmbiguousClass: as `map`.
            ValueError: `versus` is the same class.
        """
        from ..figures.evidence_picture import plot

        return plot(self, target, versus, ax)

    def widget(self, model: Classifier | None = None, height: int = 900) -> Any:
        """The viewer page in a notebook's cell.

        Args:
            model: whose evidence it is: then what is erased, or another photograph, is looked at in the kernel.
            height: of the cell, in pixels of the screen.

        Returns:
            An `anywidget`, which the notebook shows.

        Raises:
            ImportError: `pip install 'bagnet[notebook]'` is missing.
            ValueError: the evidence is not of this model, or of an image that this model prepares otherwise.
        """
        from ..serve.widget import widget

        return widget(self, model, height)

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one `.npz` file, the image included; `Evidence.load` reads it back equal.

        Raises:
            OSError: it cannot be written; an older file stays as it was.
        """
        from .file import write

        write(self, Path(fspath(path)))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Evidence:
        """Read what `save` wrote. Nothing in the file is run.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no evidence, or a broken one.
        """
        from .file import read

        return read(Path(fspath(path)))

    def _index(self, target: int | str | None) -> int:
        return int(self.logits.argmax()) if target is None else self.classes.find(target)

    def _prediction(self, index: int, probabilities: Floats) -> Prediction:
        return Prediction(index, str(self.classes[index]), float(self.logits[index]), float(probabilities[index]))


def _scale(logits: Floats, values: Floats) -> float:
    """The largest logit, or the largest mean of absolute evidence, where evidence for and against it all but cancels out."""
    return float(max(np.abs(logits).max(), np.abs(values).mean((1, 2), dtype=np.float64).max()))


def _held(positions: NDArray[np.float64], geometry: Geometry, count: int) -> NDArray[np.float64]:
    """(n,) positions along one axis of the input -> (n, count) the share of each window in the mean of those that hold them."""
    first = geometry.origin + geometry.stride * np.arange(count)
    holds = (positions[:, None] >= first) & (positions[:, None] < first + geometry.size)
    shares: NDArray[np.float64] = holds / np.maximum(1, holds.sum(1, keepdims=True))
    return shares


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"the count must be at least 1, got {count}")
