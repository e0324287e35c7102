"""What was found: mistakes and their causes, shortcuts and how far the predictions hang on them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.names import ClassNames
from ...evaluation.evaluate import rounded
from ...geometry import Geometry
from ...statistics import Estimate

_DOWN, _ACROSS = ("top", "middle", "bottom"), ("left", "centre", "right")

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Example:
    """One window to show.

    Args:
        image: number of the image.
        cell: (row, column) of the window's cell.
        logit: what it says: a logit, or a difference of two.
        true: the image's class.
        predicted: what it is taken for.
    """

    image: int
    cell: tuple[int, int]
    logit: float
    true: int
    predicted: int


@dataclass(frozen=True, slots=True)
class Flips:
    """What becomes of mistaken images when windows are masked.

    Args:
        images: how many.
        to_true: how many are then taken for the true class.
        to_other: how many for a third class.
        ahead: in how many the true class has then a larger logit than the class that they were taken for.
    """

    images: int
    to_true: int
    to_other: int
    ahead: int


@dataclass(frozen=True)
class Cause:
    """Windows that look alike and cause the same mistake.

    Args:
        windows: how many.
        flips: of the mistaken images that have one, with only such windows masked.
        examples: the strongest first, one an image.
    """

    windows: int
    flips: Flips
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are taken for one other.

    Args:
        true: the class that they show.
        predicted: what they are taken for.
        shown: how many images show the true class.
        flips: with the windows masked that speak most for the predicted class against the true one.
        control: with as many windows masked that were drawn by lot.
        causes: clusters of the windows, the largest first.
    """

    true: int
    predicted: int
    shown: int
    flips: Flips
    control: Flips
    causes: tuple[Cause, ...]

    @property
    def images(self) -> int:
        """How many are taken for the other class."""
        return self.flips.images

    def to_dict(self, classes: ClassNames) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "true": str(classes[self.true]),
            "predicted": str(classes[self.predicted]),
            "images": self.images,
            "shown": self.shown,
            "masked": asdict(self.flips),
            "control": asdict(self.control),
            "causes": [{"windows": one.windows, "masked": asdict(one.flips)} for one in self.causes],
        }


@dataclass(frozen=True, eq=False)
class Shortcut:
    """A pattern that decides for a class across the data set. Whether it is a legitimate part of the object is for people to say.

    Args:
        label: the class.
        rank: 1 is the first of the class.
        predictions: images that are taken for the class.
        images: how many of these have such a window among their strongest.
        windows: such windows in all.
        lost: of the lead of the class over the next one, the share that is gone once such windows are masked; a mean over the
            predictions of the class, 0 for those without the pattern and 1 for those that fall.
        control_lost: the same, with as many windows masked that were drawn by lot.
        beyond: `lost` less `control_lost`, with the interval that the predictions of the class leave open.
        falls: how many of the images are not taken for the class any more once their windows of this kind are masked.
        control_falls: how many of them with as many windows masked that were drawn by lot.
        carried: of the class's positive evidence, the share of these windows and of those that are one clue with them; a mean
            over the images.
        area: share of the input that is masked, a mean over the images.
        look: how alike the windows look, 0 to 1: see `Pattern`.
        place: how alike they lie, 0 to 1.
        places: (rows, columns) how many windows lie where.
        parts: (3, 3) share of the windows whose centre is in each ninth of the image.
        own: images that show the class; `own_having`: how many of them have the pattern anywhere.
        own_having: see `own`.
        others: images of other classes.
        others_having: how many of them have the pattern anywhere.
        taken_having: of these, how many are taken for the class.
        taken_without: of the images of other classes without the pattern, how many are.
        examples: the strongest first, one an image.
        pattern: number of the pattern.
    """

    label: int
    rank: int
    predictions: int
    images: int
    windows: int
    lost: float
    control_lost: float
    beyond: Estimate
    falls: int
    control_falls: int
    carried: float
    area: float
    look: float
    place: float
    places: Ints
    parts: NDArray[np.float64]
    own: int
    own_having: int
    others: int
    others_having: int
    taken_having: int
    taken_without: int
    examples: tuple[Example, ...]
    pattern: int

    @property
    def coverage(self) -> float:
        """Share of the class's predictions that have such a window among their strongest."""
        return self.images / self.predictions

    @property
    def share_falling(self) -> float:
        """Share of all the class's predictions that fall when it is masked."""
        return self.falls / self.predictions

    @property
    def control_falling(self) -> float:
        """The same, with as many windows masked that were drawn by lot."""
        return self.control_falls / self.predictions

    @property
    def score(self) -> float:
        """What shortcuts are ranked by, 0 to 1: how much hangs on it x how much it is one and the same thing.

        (lead lost without it - lead lost without as much drawn by lot) x (look + place) / 2. The lead and not the falls alone, as
        a class may have more than one clue: a watermark beside honest evidence can be most of the lead and yet fell nothing.
        """
        return max(0.0, self.beyond.value) * (self.look + self.place) / 2

    @property
    def certain(self) -> bool:
        """Whether more hangs on it than on windows drawn by lot, beyond what chance makes of so few images."""
        return self.beyond.low > 0

    @property
    def where(self) -> str:
        """In words, the ninth of the image in which more than half of the windows lie."""
        row, column = divmod(int(self.parts.argmax()), 3)
        if self.parts[row, column] <= 0.5:
            return "in no one place"
        if (row, column) == (1, 1):
            return "in the middle"
        words = [word for word, plain in ((_DOWN[row], row == 1), (_ACROSS[column], column == 1)) if not plain]
        return f"at the {' '.join(words)}"

    @property
    def corner(self) -> float:
        """Share of the windows whose centre lies in one of the four ninths at the corners."""
        return float(self.parts[::2, ::2].sum())

    @property
    def border(self) -> float:
        """Share of the windows whose centre lies in one of the eight ninths along the border, corners among them."""
        return float(1 - self.parts[1, 1])

    def to_dict(self, classes: ClassNames) -> dict[str, Any]:
        """As JSON can hold it."""
        counts = ("predictions", "images", "windows", "falls", "control_falls")
        elsewhere = ("own", "own_having", "others", "others_having", "taken_having", "taken_without")
        shares = (
            "coverage",
            "lost",
            "control_lost",
            "share_falling",
            "control_falling",
            "carried",
            "area",
            "look",
            "place",
            "corner",
            "border",
        )
        return {
            "class": str(classes[self.label]),
            "rank": self.rank,
            "score": rounded(self.score),
            **{name: getattr(self, name) for name in counts},
            **{name: rounded(getattr(self, name)) for name in shares},
            "beyond": self.beyond.to_dict(),
            "where": self.where,
            "parts": [[rounded(share) for share in row] for row in self.parts.tolist()],
            "places": self.places.tolist(),
            **{name: getattr(self, name) for name in elsewhere},
        }


@dataclass(frozen=True, eq=False)
class Audit:
    """What a BagNet goes by on some images, and what it stumbles over.

    Args:
        model: name of the card.
        data: name of the images.
        classes: of the images.
        geometry: of the windows.
        windows: how many decide an image, at most.
        images: how many were classified.
        right: how many of them are.
        predictions: (K,) images that are taken for each class.
        bad: (image, reason) of those that could not be read.
        confusions: the most common, in order.
        shortcuts: the classes in order, each one's from the first on.
        clusters: (N, 2, W) of each decisive window the rank of its shortcut or the number of its cause; 0 where there is none.
        seconds: spent, but for writing the report.
        runtime: who ran the model.
        precision: that was executed.
    """

    model: str
    data: str
    classes: ClassNames
    geometry: Geometry
    windows: int
    images: int
    right: int
    predictions: Ints
    bad: tuple[tuple[str, str], ...]
    confusions: tuple[Confusion, ...]
    shortcuts: tuple[Shortcut, ...]
    clusters: Ints
    seconds: float = 0.0
    runtime: str = "torch"
    precision: str = "float32"

    def of_class(self, label: int) -> tuple[Shortcut, ...]:
        """The shortcuts of a class, first to last."""
        return tuple(one for one in self.shortcuts if one.label == label)

    def worst(self, count: int) -> tuple[Shortcut, ...]:
        """The shortcuts with the highest scores, of whatever class, of those that are no chance finds."""
        return tuple(sorted((one for one in self.shortcuts if one.certain), key=lambda one: -one.score)[:count])

    def sentences(self) -> list[str]:
        """The most important of it in words, a sentence or two each."""
        found = [
            f"{self.model} is right about {self.right:,} of {self.images:,} images of {self.data} "
            f"({percent(self.right / self.images)})."
        ]
        if self.confusions:
            found += [self._mistake(self.confusions[0]), self._mistakes()]
        first = self.worst(1)
        if first:
            found.append(self._shortcut(first[0]))
        else:
            found.append(
                "No class has a pattern on which more of its lead over the next class hangs than on windows drawn by lot, beyond "
                "what chance makes of so many images."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """All figures, as JSON can hold them."""
        return {
            "model": self.model,
            "data": self.data,
            "window": self.geometry.size,
            "stride": self.geometry.stride,
            "windows_per_image": self.windows,
            "runtime": self.runtime,
            "precision": self.precision,
            "images": self.images,
            "right": self.right,
            "bad": [list(pair) for pair in self.bad],
            "seconds": self.seconds,
            "sentences": self.sentences(),
            "confusions": [one.to_dict(self.classes) for one in self.confusions],
            "classes": [
                {
                    "class": str(entry),
                    "wnid": entry.wnid,
                    "predictions": int(self.predictions[label]),
                    "shortcuts": [one.to_dict(self.classes) for one in self.of_class(label)],
                }
                for label, entry in enumerate(self.classes)
            ],
        }

    def _mistake(self, one: Confusion) -> str:
        return (
            f'Its most common mistake: {one.images:,} of {one.shown:,} images of "{self.classes[one.true]}" are taken for '
            f'"{self.classes[one.predicted]}".'
        )

    def _mistakes(self) -> str:
        total = sum(one.images for one in self.confusions)
        masked, lots = (
            [percent(sum(getattr(one, name) for one in group) / total) for name in ("ahead", "to_true")]
            for group in ([one.flips for one in self.confusions], [one.control for one in self.confusions])
        )
        return (
            f"In the {total:,} images of the {len(self.confusions)} most common kinds of mistake, masking the windows that "
            f"caused it puts the true class ahead of the one predicted in {masked[0]}, and ahead of all classes in {masked[1]}; "
            f"masking as many windows by lot, in {lots[0]} and {lots[1]}."
        )

    def _shortcut(self, one: Shortcut) -> str:
        return (
            f"The pattern most like a shortcut, with a score of {one.score:.2f} of 1, is in "
            f'"{self.classes[one.label]}", {one.where}: '
            f"{percent(one.coverage)} of the {one.predictions:,} predictions of the class have it among their strongest windows. "
            f"When it is masked, {percent(one.lost)} of their lead over the next class is lost and {percent(one.share_falling)} "
            f"of them fall; with as much masked by lot, {percent(one.control_lost)} and {percent(one.control_falling)}. The "
            f"difference of the leads lost is {one.beyond.text(1, 100)} % (95 % interval over predictions)."
        )


def percent(share: float) -> str:
    """A share in words: "12.5 %"."""
    return f"{100 * share:.1f} %"
