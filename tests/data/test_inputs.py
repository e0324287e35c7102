"""Images as a network gets them, or the reason why not."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from bagnet.data.inputs import NetworkInputs
from bagnet.data.transforms import Preprocessing

from .arrays import files, flat


def test_prepared_is_what_the_preprocessing_makes_of_the_pictures(tmp_path: Path) -> None:
    images, step = files(tmp_path, [(12, 8), (8, 12), (6, 6)]), Preprocessing(7, 6)
    prepared = NetworkInputs(images, step)
    assert len(prepared) == 3
    for place in range(3):
        row, x = prepared[place]
        assert row == place
        assert isinstance(x, Tensor)
        assert torch.equal(x, step(images.photo(place).image))
    some = pickle.loads(pickle.dumps(NetworkInputs(images, step, [2, 0])))
    assert [some[place][0] for place in range(len(some))] == [2, 0]
    assert torch.equal(some[1][1], step(images.photo(0).image))


def test_prepared_says_why_it_is_not(tmp_path: Path) -> None:
    images = files(tmp_path, [(5, 4), (5, 4), (1, 60000)])
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "1.png").unlink()
    prepared = NetworkInputs(images, Preprocessing())
    reasons = ("not an image of a known kind", "there is no such file", "squarer shape or choose a smaller size")
    for row, reason in enumerate(reasons):
        place, found = prepared[row]
        assert place == row
        assert isinstance(found, str)
        assert reason in found
        assert "\n" not in found
    row, found = NetworkInputs(flat(2, channels=5), Preprocessing())[1]
    assert (row, found) == (1, "flat:1: has 5 channels, where 3 are expected")
