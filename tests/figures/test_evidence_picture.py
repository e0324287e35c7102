"""Pictures: what is drawn where, and files that are whole or not there. (What they look like, only eyes can test.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bagnet.data.names import ClassName, ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.evidence import Evidence, explain
from bagnet.figures.evidence_picture import Style
from bagnet.geometry import Geometry, Placement

from ..evidence.detector import magenta_detector


@pytest.fixture
def evidence() -> Evidence:
    values = np.stack([np.full((3, 4), -2.0), np.arange(12.0).reshape(3, 4)]).astype(np.float32)
    classes = ClassNames([ClassName(("plain",)), ClassName(("stripes",))])
    image = Image.new("RGB", (33, 25), (0, 128, 0))
    return Evidence(values, values.mean((1, 2)), Geometry(9, 8), Placement.identity(25, 33), classes, image)


@pytest.mark.parametrize("style", ["evidence", "paper"])
@pytest.mark.parametrize("versus", [None, "plain"])
def test_every_kind_can_be_drawn(evidence: Evidence, style: Style, versus: str | None) -> None:
    image = evidence.picture(versus=versus, style=style).image
    assert image.width > image.height > 300


@pytest.mark.parametrize("size", [(2, 2), (400, 9), (9, 400), (3000, 40)])
def test_images_of_any_shape_can_be_drawn(size: tuple[int, int]) -> None:
    evidence = explain(magenta_detector(9), Image.new("RGB", size, "red"), transform=Preprocessing(9, None))
    for style in ("evidence", "paper"):
        image = evidence.picture(style=style).image  # type: ignore[arg-type]
        assert image.width * image.height < 6_000_000


def test_a_map_of_zeros_can_be_drawn() -> None:
    evidence = explain(magenta_detector(9), Image.new("RGB", (64, 64)))
    assert not evidence.values.any()
    assert evidence.picture().image.size


def test_colours_mean_the_same_on_one_scale(evidence: Evidence) -> None:
    """Red for, blue against, and the same colour for the same logit whatever else is in the map."""

    def share(image: Image.Image, channel: int) -> float:
        pixels = np.asarray(image).astype(int)
        others = [c for c in (0, 2) if c != channel]
        return float((pixels[:, :, channel] > pixels[:, :, others[0]] + 60).mean())

    positive, negative = evidence.picture("stripes").image, evidence.picture("plain").image
    assert share(positive, 0) > 2 * share(negative, 0)
    assert share(negative, 2) > 2 * share(positive, 2)
    assert share(evidence.picture("plain", scale=200.0).image, 2) < 0.5 * share(negative, 2)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "pdf", "svg"])
def test_files_of_each_kind(evidence: Evidence, tmp_path: Path, ending: str) -> None:
    evidence.picture().save(tmp_path / f"why.{ending}")
    content = (tmp_path / f"why.{ending}").read_bytes()
    magic = {"png": b"\x89PNG", "jpg": b"\xff\xd8", "webp": b"RIFF", "pdf": b"%PDF", "svg": b"<?xml"}
    assert content.startswith(magic[ending])


def test_bad_requests_are_refused(evidence: Evidence, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no style 'oil'"):
        evidence.picture(style="oil")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="positive"):
        evidence.picture(scale=0.0)
    with pytest.raises(ValueError, match="pictures end in"):
        evidence.picture().save(tmp_path / "why.txt")


def test_an_output_that_cannot_be_written_leaves_the_old_one(evidence: Evidence, tmp_path: Path) -> None:
    picture = evidence.picture()
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="cannot be written"):
        picture.save(tmp_path / "file" / "why.png")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
