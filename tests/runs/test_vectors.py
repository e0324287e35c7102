"""A vector of every image is computed once, whoever asks and however often it was interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bagnet.data.arrays import ArrayImages
from bagnet.data.transforms import Preprocessing
from bagnet.progress import Progress
from bagnet.runs.sweep import NotANumber
from bagnet.runs.vectors import Vectors, mean_features
from bagnet.zoo.windowed import rewindowed, windowed

from ..engine.classifiers import WORDS, patch_network

COUNT = 20
IMAGES = ArrayImages(np.random.default_rng(0).integers(0, 256, (COUNT, 40, 50, 3), dtype=np.uint8), "noise")


class Counting(torch.nn.Module):
    """A patch network that counts its windows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.windows = patch_network(), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.windows += len(x)
        return self.inner(x)


@pytest.fixture
def model() -> torch.nn.Module:
    return windowed(Counting(), 17, 8, classes=WORDS, preprocessing=Preprocessing(40, None))


def expected(model: torch.nn.Module) -> np.ndarray:
    x = torch.stack([model.transform.of_pixels(pixels) for pixels in IMAGES.values])
    with torch.inference_mode():
        return model.features(x).mean((2, 3)).numpy()


def test_the_mean_of_the_features_of_all_windows(model: torch.nn.Module, tmp_path: Path) -> None:
    seen: list[Progress] = []
    kept = mean_features(model, IMAGES, tmp_path, progress=seen.append, stage="features")
    assert kept.values == pytest.approx(expected(model), abs=1e-6)
    assert kept.values.dtype == np.float32
    assert kept.bad == {}
    assert [progress.done for progress in seen] == [8, 16, 20]
    model.network.windows = 0
    assert (mean_features(model, IMAGES, tmp_path).values == kept.values).all()
    assert model.network.windows == 0
    assert mean_features(rewindowed(model, 20), IMAGES, tmp_path).values.shape == kept.values.shape
    assert len(list(tmp_path.iterdir())) == 2, "other windows have a folder of their own"


def test_an_interruption_costs_a_batch_at_most(model: torch.nn.Module, tmp_path: Path) -> None:
    def cut(progress: Progress) -> None:
        if progress.done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mean_features(model, IMAGES, tmp_path, progress=cut)
    model.network.windows = 0
    assert mean_features(model, IMAGES, tmp_path).values == pytest.approx(expected(model), abs=1e-6)
    assert model.network.windows == 4 * 3 * 5 + COUNT * 15, "four images were left; the others are those of `expected`"


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    small = windowed(patch_network(), 45, 8, classes=WORDS, preprocessing=Preprocessing(None, None))
    kept: Vectors = mean_features(small, IMAGES, tmp_path)
    assert np.isnan(kept.values).all()
    assert list(kept.bad) == list(range(COUNT))
    assert kept.bad[3].startswith("noise:3: an image of 40 x 50 pixels (height x width) is too small for windows of 45 pixels")
    assert mean_features(small, IMAGES, tmp_path).bad == kept.bad


def test_features_that_are_no_numbers(model: torch.nn.Module, tmp_path: Path) -> None:
    with torch.no_grad():
        model.network.inner[0].weight[0] = float("nan")
    with pytest.raises(NotANumber, match=r"noise:0: .* makes numbers of it that are not finite"):
        mean_features(model, IMAGES, tmp_path)
