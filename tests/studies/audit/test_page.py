"""The page of an audit: all that it shows, in words that nothing can break."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bagnet.data.names import ClassNames
from bagnet.geometry import Box
from bagnet.studies.audit.findings import Audit, Cause, Confusion, Example, Flips
from bagnet.studies.audit.page import Tile, TileKey, page, shown

from .colours import FISH, LEAF
from .test_findings import pattern

EXAMPLES = (Example(3, (1, 2), 2.5, FISH, FISH), Example(4, (0, 1), -0.5, LEAF, FISH))


@pytest.fixture
def result(audited: tuple[Audit, Path]) -> Audit:
    """One pattern and one confusion, and names that are markup."""
    flips = Flips(4, 2, 1, 3)
    cause = Cause(5, flips, (Example(9, (2, 2), 1.0, LEAF, FISH),))
    return replace(
        audited[0],
        classes=ClassNames.from_words(["<fish>", "leaf & stem"]),
        patterns=(pattern(examples=EXAMPLES),),
        confusions=(Confusion(LEAF, FISH, 8, flips, Flips(4, 0, 0, 0), (cause,)),),
    )


def tiles(audit: Audit) -> dict[TileKey, Tile]:
    picture = Image.new("RGB", (8, 6), "red")
    return {
        (example.image, example.cell): Tile(picture, picture, Box(1, 2, 3, 5), f"<{example.image}>.png")
        for example in shown(audit)
    }


def test_shown_windows_are_those_of_patterns_and_causes(result: Audit) -> None:
    assert {example.image for example in shown(result)} == {3, 4, 9}
    many = tuple(replace(EXAMPLES[0], image=number) for number in range(12))
    weak = replace(result, confusions=(), patterns=tuple(pattern(rank=rank, examples=many) for rank in (1, 2, 3, 4)))
    assert len(list(shown(weak))) == 4 * 12 + 3 * 8  # in full as one of the first; then three of the class, eight of each


def test_every_word_is_escaped(result: Audit) -> None:
    text = page(result, tiles(result))
    assert "<fish>" not in text
    assert "&lt;fish&gt;" in text
    assert "leaf &amp; stem" in text
    assert "&lt;3&gt;.png: shows &lt;fish&gt;, classified as &lt;fish&gt;; logit +2.50" in text


def test_it_needs_nothing_beside_it(result: Audit) -> None:
    text = page(result, tiles(result))
    assert "http" not in text
    assert text.count('src="data:image/png;base64,') == 2 * 2 + 1  # of the pattern, above and below its class; of the cause
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")


def test_a_pattern_in_words_and_bars(result: Audit) -> None:
    text = page(result, tiles(result))
    for words in (
        "10 of 20 predictions have it",
        "10.0 % with as many windows masked at random; the difference lies between 30.0 % and 50.0 %",
        "5 of 20 predictions; 1 with as many windows masked at random",
        "In 9 of 18 images of &lt;fish&gt;. In 4 of 30 images of other classes: 2 of these are classified as &lt;fish&gt; "
        "(50.0 %), of those without it 3.8 %.",
        "score 0.28",
    ):
        assert words in text
    for name, width in (("Coverage", "50.0"), ("Margin drop when masked", "50.0"), ("Evidence", "25.0"), ("Masked area", "12.5")):
        assert f'<tr><th>{name}</th><td class="number">{width} %</td>\n<td><div class="bar"><i style="width:{width}%">' in text
    assert '<tr><th>Similar appearance</th><td class="number">0.90</td>' in text
    assert text.count('<figure class="other"') == 2  # the second example shows a leaf


def test_a_pattern_that_is_nowhere_else(result: Audit) -> None:
    alone = pattern(present_elsewhere=0, present_and_predicted=0, class_images=0, present_in_class=0, other_images=48)
    text = page(replace(result, patterns=(alone,)), tiles(result))
    assert '<p class="small">In none of 48 images of other classes.</p>' in text


def test_the_map_of_positions(result: Audit) -> None:
    counts = np.array([[0, 4, 0], [1, 0, 0]])
    text = page(replace(result, patterns=(pattern(position_counts=counts),)), tiles(result))
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert 'viewBox="0 0 3 2"' in drawing
    assert drawing.count("<rect") == 2
    assert '<rect x="1" y="0" width="1" height="1" fill-opacity="1.00"/>' in drawing
    assert '<rect x="0" y="1" width="1" height="1" fill-opacity="0.25"/>' in drawing


def test_a_confusion_in_words_and_bars(result: Audit) -> None:
    text = page(result, tiles(result))
    assert "2 correct, 1 another class; true class ahead of the predicted one in 3 of 4" in text
    assert '<i class="true" style="width:50.0%"></i>' in text
    assert '<i class="third" style="width:25.0%"></i>' in text
    assert "Group 1: 5 windows in 4 images; with only these masked, 2 correct" in text


def test_without_patterns_and_mistakes(result: Audit) -> None:
    text = page(replace(result, patterns=(), confusions=()), {})
    assert "No class has a pattern on which more of its margin" in text
    assert "There are none." in text
    assert "2 classes have no pattern in 5 of their predictions or more." in text
    assert "<article>" not in text


def test_of_many_classes_the_last_ones_are_named_only(result: Audit) -> None:
    many = tuple(pattern(label=label) for label in range(62))
    names = ClassNames.from_words([f"kind {number}" for number in range(62)])
    text = page(replace(result, classes=names, patterns=many, confusions=(), predictions=np.full(62, 20)), {})
    assert text.count("<details>") == 62
    assert text.count("Its measures are in <code>audit.json</code>") == 2


def test_images_that_could_not_be_used(result: Audit) -> None:
    bad = tuple((f"{number}.png", "<torn>") for number in range(102))
    text = page(replace(result, bad=bad), tiles(result))
    assert "102 images could not be used" in text
    assert text.count("<li>") == 100
    assert "&lt;torn&gt;" in text
    assert "and 2 more, in <code>audit.json</code>" in text
    assert "could not be used" not in page(result, tiles(result))
