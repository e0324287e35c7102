"""Evidence of hand-made maps, and of a BagNet against the plain computation over all of it at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import bagnet
from bagnet.data.decode import BadImage
from bagnet.data.labelled import open_labelled
from bagnet.data.names import ClassNames, UnknownClass
from bagnet.data.transforms import Preprocessing
from bagnet.evaluation.sparseness import sparseness
from bagnet.geometry import Geometry
from bagnet.model import BagNet
from bagnet.progress import Progress

from .colours import folder_of, reader

SIGNED = Preprocessing(None, None, mean=(0.5,) * 3, std=(0.5,) * 3)  # 0 to 255 becomes -1 to 1


class PixelsAsEvidence:
    """A "BagNet" whose windows are pixels, and whose evidence for its three classes is the pixel itself."""

    card = None
    name = "pixels"
    transform = SIGNED
    geometry = Geometry(1, 1)

    def __init__(self, classes: Sequence[str] = ("red", "green", "blue")) -> None:
        self.classes = ClassNames.from_words(classes)

    def check(self, x: Tensor) -> None:
        """Takes everything."""

    def evidence(self, x: Tensor, classes: Sequence[int]) -> Tensor:
        return x[:, list(classes)]


def images(root: Path, values: dict[str, Sequence[np.ndarray]]) -> Path:
    """{class: images (H, W, 3) of levels from -1 to 1}."""
    for title, arrays in values.items():
        (root / "val" / title).mkdir(parents=True)
        for number, array in enumerate(arrays):
            levels = np.rint((array + 1) * 127.5).astype(np.uint8)
            Image.fromarray(levels).save(root / "val" / title / f"{number}.png")
    return root


def flat(red: float, green: float, blue: float, windows: int) -> np.ndarray:
    return np.tile(np.array([red, green, blue]), (1, windows, 1))


def test_by_hand(tmp_path: Path) -> None:
    """Red: 1 over the 2 windows of its image; 0.2 and 0.6 over the 3 + 1 windows of the others. The sign does not count."""
    data = images(
        tmp_path,
        {"red": [flat(1, -1, 1, 2)], "green": [flat(-0.2, 0.6, 1, 3)], "blue": [flat(0.6, -0.2, -1, 1)]},
    )
    result = sparseness(PixelsAsEvidence(), data, workers=0)
    assert [str(entry) for entry in result.classes] == ["blue", "green", "red"]
    assert result.images.tolist() == [1, 1, 1]
    assert result.shown == pytest.approx([1, 0.6, 1])
    assert result.absent == pytest.approx([1, (2 * 1 + 0.2) / 3, (3 * 0.2 + 0.6) / 4])
    assert result.largest == pytest.approx([1, 1, 1])
    assert result.quiet.tolist() == [0, 0, 0]
    assert result.mean("shown") == pytest.approx(2.6 / 3)


def test_quiet_windows(tmp_path: Path) -> None:
    """Below 1 % of the largest of all images: 1/255 of 1, and of 0.2 as soon as another image has 1."""
    step = 1 / 255
    for name, strongest, expected in (("strong", 1.0, 3 / 4), ("weak", 51 * step, 0.0)):
        data = images(tmp_path / name, {"green": [flat(step, 1, -1, 3)], "red": [flat(strongest, 1, -1, 1)]})
        assert sparseness(PixelsAsEvidence(("red", "green")), data, workers=0).quiet[1] == expected


def test_a_class_without_evidence_is_quiet(tmp_path: Path) -> None:
    grey = Preprocessing(None, None, mean=(0.0,) * 3, std=(1.0,) * 3)
    data = folder_of(tmp_path, {"red": ["red"], "green": ["red"]})
    result = sparseness(PixelsAsEvidence(), data, workers=0, transform=grey)
    assert result.quiet.tolist() == [1, 0]
    assert result.largest.tolist() == [0, 1]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_bagnet_as_if_all_its_evidence_were_at_hand(small: Callable[..., BagNet], tmp_path: Path, batch_size: int) -> None:
    random = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 3, 3, 3, 0, 0, 1])
    np.savez(tmp_path / "set.npz", val_images=random.integers(0, 256, (9, 30, 34, 3), np.uint8), val_labels=labels)
    model = small(kernel3=(1, 1, 0, 0), classes=[f"class {number}" for number in range(5)])
    size = Preprocessing(None, None)
    result = sparseness(model, tmp_path / "set.npz", workers=0, batch_size=batch_size, transform=size)

    everything = open_labelled(tmp_path / "set.npz", "val")
    with torch.inference_mode():
        x = torch.stack([size.of_pixels(everything.images.pixels(row, 3)) for row in range(9)])
        maps = model.evidence(x)[:, :4].abs().double().numpy()  # class 4 is none of the images'
    shows = labels[:, None] == np.arange(4)
    for index in (0, 1, 3):
        assert result.shown[index] == pytest.approx(maps[shows[:, index], index].mean())
        assert result.absent[index] == pytest.approx(maps[~shows[:, index], index].mean())
    assert np.isnan(result.shown[2])  # no image shows it
    assert result.absent[2] == pytest.approx(maps[:, 2].mean())
    largest = maps.max((0, 2, 3))
    assert result.largest == pytest.approx(largest)
    below, above = ((maps < share * largest[:, None, None]).mean((0, 2, 3)) for share in (0.01 * 127 / 128, 0.01))
    assert ((below <= result.quiet) & (result.quiet <= above)).all()
    assert above.max() > 0
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert record["by_class"][2]["shown"] is None
    assert record["mean"]["shown"] == pytest.approx(result.mean("shown"), abs=1e-6)


def test_several_labels(tmp_path: Path) -> None:
    levels = np.stack([flat(1, 1, -1, 1), flat(0.6, 1, -1, 1), flat(0.2, -1, -1, 1)])
    np.savez(tmp_path / "set.npz", val_images=np.rint((levels + 1) * 127.5).astype(np.uint8), val_labels=[[1, 1], [1, 0], [0, 0]])
    result = sparseness(PixelsAsEvidence(["class 0", "class 1"]), tmp_path / "set.npz", workers=0)
    assert result.images.tolist() == [2, 1]
    assert result.shown == pytest.approx([0.8, 1])
    assert result.absent == pytest.approx([0.2, 1])


def test_bad_images_and_networks_without_maps(tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"green": ["green"], "red": ["red", "blue"]})
    with pytest.raises(ValueError, match=r"reader\.colours: is not a bag of windows"):
        sparseness(reader(), data, workers=0)
    with pytest.raises(UnknownClass):
        sparseness(PixelsAsEvidence(("red", "blue")), data, workers=0)
    (data / "val" / "red" / "0.png").write_bytes(b"no image")
    seen: list[Progress] = []
    result = sparseness(PixelsAsEvidence(), data, workers=0, batch_size=1, progress=seen.append)
    assert [name for name, _ in result.bad] == ["red/0.png"]
    assert result.images.tolist() == [1, 1]
    assert seen[-1] == Progress("pixels, maps", 3, 3)
    for path in data.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(BadImage, match="none of 3"):
        sparseness(PixelsAsEvidence(), data, workers=0)


def test_it_is_the_evidence_that_explain_shows(small: Callable[..., BagNet], tmp_path: Path) -> None:
    """The head's bias included."""
    model = small(kernel3=(1, 1, 0, 0), classes=["red", "green"], num_classes=2)
    data = folder_of(tmp_path, {"green": ["green"], "red": ["red"]}, side=32)
    size = Preprocessing(32, 32)
    result = sparseness(model, data, workers=0, transform=size)
    evidence = bagnet.explain(model, data / "val" / "red" / "0.png", transform=size)
    assert result.shown[1] == pytest.approx(np.abs(evidence.map("red")).mean(), rel=1e-5)
    assert result.absent[0] == pytest.approx(np.abs(evidence.map("green")).mean(), rel=1e-5)
