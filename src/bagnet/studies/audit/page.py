"""The page of an audit: its results in words, measures and contact sheets, in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from ...figures.page import render
from ...figures.words import percent, signed
from ...geometry import Box
from .findings import Audit, Example, Flips, RankedPattern
from .patterns import MOST, SEEN

EXAMPLES = 12  # windows of a pattern to show
_FIRST = 10  # patterns in full, of whatever class


class _Limits(NamedTuple):
    """How much of everything is shown."""

    classes: int = 60  # with their patterns, those with the highest scores
    patterns: int = 3  # of each class
    causes: int = 3  # of each confusion
    examples: int = 8  # of each pattern of a class, and of each cause
    bad: int = 100  # images that could not be used


_LIMITS = _Limits()

TileKey = tuple[int, tuple[int, int]]  # number of the image, cell


@dataclass(frozen=True, slots=True)
class Tile:
    """A window to look at.

    Args:
        window: as a picture.
        image: all of it, small.
        box: the window in the small image.
        name: of the image.
    """

    window: Image.Image
    image: Image.Image
    box: Box
    name: str


class _Measure(NamedTuple):
    """One of a pattern's measures: its name, its value in words, as a share for a bar, and what to know of it."""

    name: str
    value: str
    share: float
    words: str


def shown(audit: Audit) -> Iterator[Example]:
    """The windows that the page has pictures of."""
    for confusion in audit.confusions:
        for cause in confusion.causes[: _LIMITS.causes]:
            yield from cause.examples[: _LIMITS.examples]
    for pattern in audit.top_patterns(_FIRST):
        yield from pattern.examples
    for label in _labels(audit)[: _LIMITS.classes]:
        for pattern in audit.of_class(label)[: _LIMITS.patterns]:
            yield from pattern.examples[: _LIMITS.examples]


def page(audit: Audit, tiles: Mapping[TileKey, Tile]) -> str:
    """The whole of it as HTML.

    Args:
        audit: the results.
        tiles: a picture for each window that `shown` names.
    """
    return render(
        __package__,
        "audit.html",
        title=f"What {audit.model} relies on",
        audit=audit,
        classes=[str(entry) for entry in audit.classes],
        sentences=audit.sentences(),
        top_patterns=audit.top_patterns(_FIRST),
        labels=_labels(audit),
        tiles=tiles,
        limits=_LIMITS,
        seen=SEEN,
        definitions=_definitions(audit),
        measures_of=_measures,
        presence_of=lambda pattern: _presence(audit, pattern),
        caption_of=lambda example, tile: _caption(audit, example, tile),
        flips_in_words=_flips,
    )


def _labels(audit: Audit) -> list[int]:
    """The classes that have patterns, those with the highest scores first."""
    ranked = sorted(audit.patterns, key=lambda pattern: -pattern.score)
    return [pattern.label for pattern in ranked if pattern.rank == 1]


def _measures(pattern: RankedPattern) -> list[_Measure]:
    difference = pattern.margin_drop_over_control
    shares = (
        ("Coverage", pattern.coverage, f"{pattern.images:,} of {pattern.predictions:,} predictions have it"),
        (
            "Margin drop when masked",
            pattern.margin_drop,
            f"{percent(pattern.control_margin_drop)} with as many windows masked at random; the difference lies between "
            f"{percent(difference.low)} and {percent(difference.high)}",
        ),
        (
            "Flips when masked",
            pattern.flip_rate,
            f"{pattern.flips:,} of {pattern.predictions:,} predictions; {pattern.control_flips:,} with as many windows masked at "
            "random",
        ),
        ("Evidence", pattern.evidence_share, "of the positive evidence for the class, where it is"),
        ("Masked area", pattern.masked_area, "of the input, where it is"),
    )
    similarities = (
        ("Similar appearance", pattern.appearance_similarity, ""),
        ("Similar position", pattern.position_similarity, pattern.where),
    )
    return [
        *(_Measure(name, percent(share), share, words) for name, share, words in shares),
        *(_Measure(name, f"{value:.2f}", value, words) for name, value, words in similarities),
    ]


def _presence(audit: Audit, pattern: RankedPattern) -> str:
    """Where else it is."""
    name = audit.classes[pattern.label]
    in_class = f"In {pattern.present_in_class:,} of {pattern.class_images:,} images of {name}. " if pattern.class_images else ""
    present, absent = pattern.present_elsewhere, pattern.other_images - pattern.present_elsewhere
    if not present:
        return f"{in_class}In none of {pattern.other_images:,} images of other classes."
    predicted = f"{pattern.present_and_predicted:,} of these are classified as {name}"
    share = percent(pattern.present_and_predicted / present)
    without = f", of those without it {percent(pattern.absent_and_predicted / absent)}" if absent else ""
    return f"{in_class}In {present:,} of {pattern.other_images:,} images of other classes: {predicted} ({share}){without}."


def _caption(audit: Audit, example: Example, tile: Tile) -> str:
    true, predicted = audit.classes[example.true], audit.classes[example.predicted]
    return f"{tile.name}: shows {true}, classified as {predicted}; logit {signed(example.logit)}"


def _flips(counts: Flips) -> str:
    return (
        f"{counts.flips_to_true:,} correct, {counts.flips_to_other:,} another class; true class ahead of the predicted one in "
        f"{counts.true_ahead:,} of {counts.images:,}"
    )


def _definitions(audit: Audit) -> dict[str, str]:
    return {
        "Decisive windows": f"of each image the {audit.windows} windows with the largest logits for the predicted class, half a "
        "window apart at least; of wrong images also those with the largest difference between the logits of the predicted and "
        "the true class. The mean of all windows is the network's logit, so nothing is estimated here.",
        "Pattern": "decisive windows of all images that are classified as a class, rightly or not, clustered by the network's "
        f"features of them (their direction; Ward's method, {MOST} clusters at most), where they are in {SEEN} images or more.",
        "Masked": "the pixels of a pattern's windows become the mean colour, and the logits are recomputed exactly. A prediction "
        "flips when another class has the largest logit then. The margin is how far the class's logit is above the next one's; "
        "its drop is the share of it that is gone, a mean over all predictions of the class: 0 for those without the pattern, 1 "
        "for those that flip. A window is larger than what it contains: what changes with it need not be due to one thing in it.",
        "At random": "the same number of windows of the same images, drawn at random: how much is lost with any loss of "
        "pixels. The interval of the difference is the bootstrap's at 95 %, over the predictions of the class; a pattern where "
        "it reaches down to 0 may be due to chance, and is named below its class only.",
        "Similar appearance, similar position": "1 - the variance of the windows' features, or positions, within the pattern / "
        "that of all decisive windows: 1 is always the same, 0 as varied as any.",
        "Score": "(margin drop - margin drop at random) x (similar appearance + similar position) / 2. It only ranks: a "
        "legitimate part of an object that looks the same everywhere scores high too.",
        "In other images": "a pattern is in an image where the features of any of its windows are as near to the pattern's "
        "centre as nine in ten of its own.",
    }
