"""Answers by shape and by texture, of images whose answers are known."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import bagnet
from bagnet.bag import BagOfFeatures
from bagnet.data.names import ClassName, imagenet1k
from bagnet.data.transforms import Preprocessing
from bagnet.evaluation.cue_conflict import columns_of, cue_conflict, cues_of, entry_level
from bagnet.runs.store import OtherRun

PLAIN = Preprocessing(None, None, mean=(0.0,) * 3, std=(1.0,) * 3)
CLASSES = [ClassName(("tabby",), "n02123045"), ClassName(("Siamese",), "n02123597"), ClassName(("Indian elephant",), "n02504013"),
           ClassName(("digital clock",), "n03196217"), ClassName(("goldfish",), "n01443537")]  # fmt: skip
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "purple": (255, 0, 255)}


@pytest.fixture
def by_colour() -> BagOfFeatures:
    """Red is a tabby, green an elephant, blue a clock; what is red and blue at once a clock, as the Siamese is never seen."""
    head = nn.Linear(3, 5)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[0, 0] = head.weight[2, 1] = head.weight[3, 2] = 5.0
        head.bias.zero_()
        head.bias[4] = 6.0  # everything is a goldfish first of all, which is in no category
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return bagnet.windowed(network, 4, 4, scale="native", classes=CLASSES, preprocessing=PLAIN)


def stimuli(folder: Path, **colours: str) -> Path:
    for name, colour in colours.items():
        path = folder / name.partition("1")[0] / f"{name.replace('_', '-')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), COLOURS[colour]).save(path)
    return folder


def test_answers_are_counted(by_colour: BagOfFeatures, tmp_path: Path) -> None:
    images = stimuli(
        tmp_path / "images",
        cat1_elephant1="red",  # shape
        cat1_elephant2="green",  # texture
        elephant1_cat1="red",  # texture
        clock1_cat1="green",  # neither
        cat2_clock1="purple",  # of two cats one is seen: on average less than the clock
        cat1_cat2="red",  # says nothing of the two
        bird1_cat1="red",  # no class is a bird
    )
    (result,) = cue_conflict(by_colour, images, tmp_path / "out", workers=0)
    assert (result.images, result.by_shape, result.by_texture) == (5, 1, 3)
    assert result.shape.value == pytest.approx(1 / 4)
    assert result.shape.low < 1 / 4 < result.shape.high
    with (tmp_path / "out" / "answers.csv").open() as file:
        answers = {row["image"].rsplit("/", 1)[-1]: row["answer"] for row in csv.DictReader(file)}
    assert answers["cat2-clock1.png"] == "clock"
    assert answers["clock1-cat1.png"] == "elephant"
    with (tmp_path / "out" / "cue_conflict.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["by_shape"], row["by_texture"], float(row["shape_value"])) == ("1", "3", 0.25)


def test_it_goes_on_where_it_was_cut_short(by_colour: BagOfFeatures, tmp_path: Path) -> None:
    images = stimuli(tmp_path / "images", cat1_elephant1="red", cat1_elephant2="green", elephant1_cat1="red")
    whole = cue_conflict(by_colour, images, tmp_path / "whole", workers=0, batch_size=1)

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cue_conflict(by_colour, images, tmp_path / "out", workers=0, batch_size=1, progress=stop)
    assert cue_conflict(by_colour, images, tmp_path / "out", workers=0, batch_size=1) == whole
    assert (tmp_path / "out" / "answers.csv").read_bytes() == (tmp_path / "whole" / "answers.csv").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        cue_conflict(by_colour, images, tmp_path / "third", workers=0, batch_size=1, progress=stop)
    with pytest.raises(OtherRun):
        cue_conflict(by_colour, stimuli(tmp_path / "images", cat3_elephant1="red"), tmp_path / "third", workers=0)


def test_what_cannot_be_read_is_told(by_colour: BagOfFeatures, tmp_path: Path) -> None:
    images = stimuli(tmp_path / "images", cat1_elephant1="red", cat1_elephant2="green")
    (images / "cat" / "cat1-elephant2.png").write_bytes(b"no image")
    (result,) = cue_conflict(by_colour, images, tmp_path / "out", workers=0)
    assert (result.images, result.by_shape) == (1, 1)
    assert "cat1-elephant2.png: " in (tmp_path / "out" / "answers.csv").read_text()


def test_what_does_not_fit_is_refused(by_colour: BagOfFeatures, tmp_path: Path) -> None:
    images = stimuli(tmp_path / "images", cat1_elephant1="red")
    with pytest.raises(ValueError, match=r"names of their own, got windowed4s4\S*, windowed4s4"):
        cue_conflict([by_colour, by_colour], images, tmp_path / "out")
    with pytest.raises(ValueError, match="of no image does it know the categories of both"):
        cue_conflict(by_colour, stimuli(tmp_path / "others", bird1_cat1="red"), tmp_path / "out")
    numbered = bagnet.create(num_classes=2)
    with pytest.raises(ValueError, match="knows none of the categories: its classes would have to be of ImageNet"):
        cue_conflict(numbered, images, tmp_path / "out")
    Image.new("RGB", (8, 8)).save(images / "holiday.png")
    with pytest.raises(ValueError, match=r"holiday\.png: does not say its shape and its texture, as cat1-elephant2\.png does"):
        cue_conflict(by_colour, images, tmp_path / "out")


def test_names_say_their_cues() -> None:
    assert cues_of("cat/cat1-elephant22.png") == ("cat", "elephant")
    assert cues_of("0001_cueconf_dnn_0_airplane_00_airplane1-bicycle2.png") == ("airplane", "bicycle")
    with pytest.raises(ValueError, match="of airplane, bear, "):
        cues_of("dragon1-cat2.png")


def test_the_categories_of_imagenet() -> None:
    """Counts of the published lists."""
    counts = {category: len(columns) for category, columns in columns_of(imagenet1k()).items()}
    assert len(counts) == 16
    assert (counts["dog"], counts["bird"], counts["cat"], counts["knife"], sum(counts.values())) == (109, 49, 6, 1, 207)
    assert entry_level()["n04285008"] == "car"
    assert columns_of(imagenet1k())["cat"] == [281, 282, 283, 284, 285, 286]
