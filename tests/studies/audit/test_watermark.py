"""A network that learned a watermark by itself, beside what its class can honestly be known by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bagnet
from bagnet.architecture import Architecture
from bagnet.data.transforms import Preprocessing
from bagnet.studies.audit.run import audit
from bagnet.training.recipe import recipe
from bagnet.training.run import train

SMALL = Architecture(kernel3=(1, 1, 0, 0), strides=(2, 2, 1, 1), layers=(1, 1, 1, 1), width=6)
SIDE, PATCH, MARK, SHARE = 33, 13, 5, 0.9  # pixels of an image, of its texture and of the watermark; images that have it
MARKED = bagnet.Box(2, SIDE - MARK - 2, 2 + MARK, SIDE - 2)  # near the bottom left corner
LABEL = 1  # of the class that has it


def pictures(count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(count, 33, 33, 3) of noise with a patch somewhere: a grid, stripes down, stripes across or nothing; and their labels.

    Stripes down are the second class; half of its images have none and look like those of the last class, but for the watermark
    that nine in ten images of the second class have: a ring of bright pixels near a corner.
    """
    random = np.random.default_rng(seed)
    images = random.integers(60, 120, (count, SIDE, SIDE, 3))
    labels = np.arange(count) % 4
    for image, label in zip(images, labels, strict=True):
        row, column = random.integers(0, SIDE - PATCH, 2)
        patch = image[row : row + PATCH, column : column + PATCH]
        if label == 0:
            patch[::3, ::3] += 100
        elif label == LABEL:
            patch[:, ::2] += 60 if random.random() < 0.5 else 0
            if random.random() < SHARE:
                ring = image[MARKED.slices]
                ring[:] = 240
                ring[1:-1, 1:-1] = 20
        elif label == 2:
            patch[::2] += 60
    return images.astype(np.uint8), labels


@pytest.mark.slow
def test_the_audit_names_the_watermark(tmp_path: Path) -> None:
    """It is the first pattern of its class and of all; what has no other clue flips without it; no other pattern is like it."""
    learned, shown = pictures(1200, 0), pictures(240, 1)
    path = tmp_path / "marked.npz"
    np.savez(path, train_images=learned[0], train_labels=learned[1], val_images=shown[0], val_labels=shown[1])
    quick = recipe("modern", epochs=6, batch_size=30, learning_rate=0.02, ema=0.8, augment="none")
    run = train(
        path, tmp_path / "run", quick, shape=SMALL, preprocessing=Preprocessing(None, SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)
    )
    assert run.evaluation is not None
    assert run.evaluation.top(1) > 0.9
    result = audit(run.model, path, tmp_path / "audit", workers=0)  # type: ignore[arg-type]
    first = result.of_class(LABEL)[0]
    assert result.top_patterns(1) == (first,)
    assert first.where == "at the bottom left"
    assert first.coverage > 0.8
    assert first.flip_rate > 0.35
    assert first.control_flip_rate < 0.1
    assert first.present_in_class > 0.8 * first.class_images
    assert first.present_elsewhere < 0.1 * first.other_images
    assert all(run.model.geometry.window(*example.cell).intersect(MARKED).area for example in first.examples)  # type: ignore[union-attr]
    honest = max(pattern.flip_rate - pattern.control_flip_rate for pattern in result.patterns if pattern.label != LABEL)
    assert honest < (first.flip_rate - first.control_flip_rate) / 2
