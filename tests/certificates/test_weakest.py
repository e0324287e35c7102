from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bagnet.certificates import Patch
from bagnet.certificates.certify import certificate_of
from bagnet.certificates.weakest import weakest
from bagnet.data.names import ClassNames
from bagnet.evidence import Evidence
from bagnet.geometry import Box, Geometry, Placement


@pytest.fixture
def evidence() -> Evidence:
    """Class 0 leads by 3 at 15 of 16 windows side by side, and by 11 at the second of the first row."""
    values = np.zeros((2, 4, 4), np.float32)
    values[0] = 3.0
    values[0, 0, 1] = 11.0
    geometry, placement = Geometry(4, 4), Placement.identity(16, 16)
    return Evidence(values, values.mean((1, 2)), geometry, placement, ClassNames.numbered(2), Image.new("RGB", (16, 16)))


@pytest.mark.parametrize("method", ["voting", "margin"])
def test_margins_are_least_where_a_patch_costs_most(evidence: Evidence, method: str) -> None:
    """A patch of a pixel touches one window: each of the 16 is a place, and the loud one is the worst."""
    certificate = certificate_of(evidence, Patch(1, 1), method, aggregation="clipped")
    assert certificate.margins.shape == (4, 4)
    assert certificate.margins.min() == certificate.margin
    if method == "margin":  # 15 windows say 3 more and one 11; a touched one turns what it says into -15
        expected = np.full((4, 4), 14 * 3 + 11 - 15.0)
        expected[0, 1] = 15 * 3 - 15
        np.testing.assert_allclose(certificate.margins, expected / 16, atol=1e-3)
        assert certificate.worst == Box(1, 0, 2, 1)
    else:  # two masks leave 14 windows, without the loud one 3 each
        np.testing.assert_allclose(certificate.margins, 3.0, atol=1e-3)


def test_the_picture_says_what_is_certified(evidence: Evidence, tmp_path: Path) -> None:
    certificate = certificate_of(evidence, Patch(1, 1), "margin", aggregation="clipped")
    picture = weakest(certificate, evidence)
    texts = [text.get_text() for axes in picture.figure.axes for text in axes.texts]
    assert texts == ["1", "+2.37", "+1.87", *["+2.37"] * 14]  # of the outlined windows, then of the places
    words = " ".join(text.get_text() for text in picture.figure.texts)
    assert "No patch changes the answer" in words
    assert "least lead +1.87, over class 1" in words
    picture.save(tmp_path / "weakest.png")
    assert Image.open(tmp_path / "weakest.png").size[0] > 500
