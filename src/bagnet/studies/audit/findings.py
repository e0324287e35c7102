"""What an audit reports: confusions and their causes, patterns and how far the predictions depend on them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.names import ClassNames
from ...evaluation.measures import rounded
from ...figures.words import counted, percent
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
        logit: of the window: a logit, or a difference of two.
        true: the image's class.
        predicted: what it is classified as.
    """

    image: int
    cell: tuple[int, int]
    logit: float
    true: int
    predicted: int


@dataclass(frozen=True, slots=True)
class Flips:
    """What becomes of confused images when windows are masked.

    Args:
        images: how many.
        flips_to_true: how many are then classified as the true class.
        flips_to_other: how many as a third class.
        true_ahead: in how many the true class has then a larger logit than the class that was predicted before.
    """

    images: int
    flips_to_true: int
    flips_to_other: int
    true_ahead: int


@dataclass(frozen=True)
class Cause:
    """Windows that look alike and cause the same confusion.

    Args:
        windows: how many.
        masked: of the confused images that have one, with only such windows masked.
        examples: the strongest first, one an image.
    """

    windows: int
    masked: Flips
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are classified as one other.

    Args:
        true: the class that they show.
        predicted: what they are classified as.
        class_images: how many images show the true class.
        masked: with the windows masked that speak most for the predicted class against the true one.
        control: with as many windows masked at random.
        causes: clusters of the windows, the largest first.
    """

    true: int
    predicted: int
    class_images: int
    masked: Flips
    control: Flips
    causes: tuple[Cause, ...]

    @property
    def images(self) -> int:
        """How many are classified as the other class."""
        return self.masked.images

    def to_dict(self, classes: ClassNames) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "true": str(classes[self.true]),
            "predicted": str(classes[self.predicted]),
            "images": self.images,
            "class_images": self.class_images,
            "masked": asdict(self.masked),
            "control": asdict(self.control),
            "causes": [{"windows": cause.windows, "masked": asdict(cause.masked)} for cause in self.causes],
        }


@dataclass(frozen=True, eq=False)
class RankedPattern:
    """A pattern that decides for a class across the data set; whether it is a shortcut, people must judge.

    Args:
        label: the class.
        rank: 1 is the first of the class.
        predictions: images that are classified as the class.
        images: how many of these have such a window among their strongest.
        windows: such windows in all.
        margin_drop: of the margin of the class over the next one, the share that is gone once such windows are masked; a mean
            over the predictions of the class, 0 for those without the pattern and 1 for those that flip.
        control_margin_drop: the same, with as many windows masked at random.
        margin_drop_over_control: `margin_drop` less `control_margin_drop`, with its interval over the predictions of the class.
        flips: how many of the images are no longer classified as the class once their windows of this kind are masked.
        control_flips: how many of them with as many windows masked at random.
        evidence_share: of the class's positive evidence, the share of these windows and of those that are one clue with them;
            a mean over the images.
        masked_area: share of the input that is masked, a mean over the images.
        appearance_similarity: how alike the windows look, 0 to 1: see `Pattern`.
        position_similarity: how alike they lie, 0 to 1.
        position_counts: (rows, columns) how many windows lie where.
        position_ninths: (3, 3) share of the windows whose centre is in each ninth of the image.
        class_images: images that show the class.
        present_in_class: how many of them have the pattern anywhere.
        other_images: images of other classes.
        present_elsewhere: how many of them have the pattern anywhere.
        present_and_predicted: of these, how many are classified as the class.
        absent_and_predicted: of the images of other classes without the pattern, how many are.
        examples: the strongest first, one an image.
        pattern: number of the pattern.
    """

    label: int
    rank: int
    predictions: int
    images: int
    windows: int
    margin_drop: float
    control_margin_drop: float
    margin_drop_over_control: Estimate
    flips: int
    control_flips: int
    evidence_share: float
    masked_area: float
    appearance_similarity: float
    position_similarity: float
    position_counts: Ints
    position_ninths: NDArray[np.float64]
    class_images: int
    present_in_class: int
    other_images: int
    present_elsewhere: int
    present_and_predicted: int
    absent_and_predicted: int
    examples: tuple[Example, ...]
    pattern: int

    @property
    def coverage(self) -> float:
        """Share of the class's predictions that have such a window among their strongest."""
        return self.images / self.predictions

    @property
    def flip_rate(self) -> float:
        """Share of all the class's predictions that flip when it is masked."""
        return self.flips / self.predictions

    @property
    def control_flip_rate(self) -> float:
        """The same, with as many windows masked at random."""
        return self.control_flips / self.predictions

    @property
    def score(self) -> float:
        """What patterns are ranked by, 0 to 1: how much depends on it x how much it is one and the same thing.

        (margin drop - margin drop with as much masked at random) x (appearance similarity + position similarity) / 2. The margin
        and not the flips alone, as a class may have more than one clue: a watermark beside honest evidence can be most of the
        margin and yet flip nothing.
        """
        return max(0.0, self.margin_drop_over_control.value) * (self.appearance_similarity + self.position_similarity) / 2

    @property
    def significant(self) -> bool:
        """Whether more depends on it than on windows drawn at random, beyond what chance makes of so few images."""
        return self.margin_drop_over_control.low > 0

    @property
    def where(self) -> str:
        """In words, the ninth of the image in which more than half of the windows lie."""
        row, column = divmod(int(self.position_ninths.argmax()), 3)
        if self.position_ninths[row, column] <= 0.5:
            return "in various places"
        if (row, column) == (1, 1):
            return "in the middle"
        words = [word for word, plain in ((_DOWN[row], row == 1), (_ACROSS[column], column == 1)) if not plain]
        return f"at the {' '.join(words)}"

    @property
    def corner_share(self) -> float:
        """Share of the windows whose centre lies in one of the four ninths at the corners."""
        return float(self.position_ninths[::2, ::2].sum())

    @property
    def border_share(self) -> float:
        """Share of the windows whose centre lies in one of the eight ninths along the border, corners among them."""
        return float(1 - self.position_ninths[1, 1])

    def to_dict(self, classes: ClassNames) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "class": str(classes[self.label]),
            "rank": self.rank,
            "score": rounded(self.score),
            **{name: getattr(self, name) for name in ("predictions", "images", "windows", "flips", "control_flips")},
            **{name: rounded(getattr(self, name)) for name in _SHARES},
            "margin_drop_over_control": self.margin_drop_over_control.to_dict(),
            "where": self.where,
            "position_ninths": [[rounded(share) for share in row] for row in self.position_ninths.tolist()],
            "position_counts": self.position_counts.tolist(),
            **{name: getattr(self, name) for name in _PRESENCE},
        }


_SHARES = (
    "coverage",
    "margin_drop",
    "control_margin_drop",
    "flip_rate",
    "control_flip_rate",
    "evidence_share",
    "masked_area",
    "appearance_similarity",
    "position_similarity",
    "corner_share",
    "border_share",
)
_PRESENCE = (
    "class_images",
    "present_in_class",
    "other_images",
    "present_elsewhere",
    "present_and_predicted",
    "absent_and_predicted",
)


@dataclass(frozen=True, eq=False)
class Audit:
    """What a model relies on for some images, and what its mistakes are made of.

    Args:
        model: name of the card.
        data: name of the images.
        classes: of the images.
        geometry: of the windows.
        windows: how many decide an image, at most.
        images: how many were classified.
        correct: how many of them correctly.
        predictions: (K,) images that are classified as each class.
        bad: (image, reason) of those that could not be used.
        confusions: the most common, in order.
        patterns: the classes in order, each one's from the first on.
        clusters: (N, 2, W) of each decisive window the rank of its pattern or the number of its cause; 0 where there is none.
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
    correct: int
    predictions: Ints
    bad: tuple[tuple[str, str], ...]
    confusions: tuple[Confusion, ...]
    patterns: tuple[RankedPattern, ...]
    clusters: Ints
    seconds: float = 0.0
    runtime: str = "torch"
    precision: str = "float32"

    def of_class(self, label: int) -> tuple[RankedPattern, ...]:
        """The patterns of a class, first to last."""
        return tuple(pattern for pattern in self.patterns if pattern.label == label)

    def top_patterns(self, count: int) -> tuple[RankedPattern, ...]:
        """The patterns with the highest scores, of whatever class, of those that are significant."""
        significant = (pattern for pattern in self.patterns if pattern.significant)
        return tuple(sorted(significant, key=lambda pattern: -pattern.score)[:count])

    def sentences(self) -> list[str]:
        """The most important of it in words, a sentence or two each."""
        share = percent(self.correct / self.images)
        said = [f"{self.model} classifies {self.correct:,} of {self.images:,} images of {self.data} correctly ({share})."]
        if self.confusions:
            said += [self._first_confusion(), self._confusions()]
        top = self.top_patterns(1)
        return [*said, self._pattern(top[0]) if top else _NO_PATTERN]

    def to_dict(self) -> dict[str, Any]:
        """All measures, as JSON can hold them."""
        return {
            "model": self.model,
            "data": self.data,
            "window": self.geometry.size,
            "stride": self.geometry.stride,
            "windows_per_image": self.windows,
            "runtime": self.runtime,
            "precision": self.precision,
            "images": self.images,
            "correct": self.correct,
            "bad": [list(pair) for pair in self.bad],
            "seconds": self.seconds,
            "sentences": self.sentences(),
            "confusions": [confusion.to_dict(self.classes) for confusion in self.confusions],
            "classes": [
                {
                    "class": str(entry),
                    "wnid": entry.wnid,
                    "predictions": int(self.predictions[label]),
                    "patterns": [pattern.to_dict(self.classes) for pattern in self.of_class(label)],
                }
                for label, entry in enumerate(self.classes)
            ],
        }

    def _first_confusion(self) -> str:
        first = self.confusions[0]
        return (
            f'Its most common mistake: {first.images:,} of {first.class_images:,} images of "{self.classes[first.true]}" are '
            f'classified as "{self.classes[first.predicted]}".'
        )

    def _confusions(self) -> str:
        total = sum(confusion.images for confusion in self.confusions)
        masked, control = (
            [percent(sum(getattr(flips, name) for flips in group) / total) for name in ("true_ahead", "flips_to_true")]
            for group in (
                [confusion.masked for confusion in self.confusions],
                [confusion.control for confusion in self.confusions],
            )
        )
        count = len(self.confusions)
        kinds = "most common kind of mistake" if count == 1 else f"{count} most common kinds of mistake"
        return (
            f"In the {counted(total, 'image')} of the {kinds}, masking the windows that caused it puts the true class ahead of "
            f"the predicted one in {masked[0]}, and ahead of all classes in {masked[1]}; "
            f"masking as many windows at random, in {control[0]} and {control[1]}."
        )

    def _pattern(self, top: RankedPattern) -> str:
        return (
            f"The pattern most like a shortcut, with a score of {top.score:.2f} of 1, is in "
            f'"{self.classes[top.label]}", {top.where}: '
            f"{percent(top.coverage)} of the {top.predictions:,} predictions of the class have it among their strongest windows. "
            f"When it is masked, their margin over the next class drops by {percent(top.margin_drop)} on average, and "
            f"{percent(top.flip_rate)} of them flip; with as many windows masked at random, "
            f"{percent(top.control_margin_drop)} and {percent(top.control_flip_rate)}. The difference of the margin drops is "
            f"{top.margin_drop_over_control.text(1, 100)} % (95 % interval over predictions)."
        )


_NO_PATTERN = (
    "No class has a pattern on which more of its margin over the next class depends than on windows drawn at random, beyond what "
    "chance makes of so few images."
)
