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
    for index in range(3):
        row, x = prepared[index]
        assert row == index
        assert isinstance(x, Tensor)
        assert torch.equal(x, step(images.photo(index).image))
    some = pickle.loads(pickle.dumps(NetworkInputs(images, step, [2, 0])))
    assert [some[index][0] for index in range(len(some))] == [2, 0]
    assert torch.equal(some[1][1], step(images.photo(0).image))


def test_prepared_says_why_it_is_not(tmp_path: Path) -> None:
    images = files(tmp_path, [(5, 4), (5, 4), (1, 60000)])
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "1.png").unlink()
    prepared = NetworkInputs(images, Preprocessing())
    reasons = ("not an image of a known kind", "there is no such file", "squarer shape or choose a smaller size")
    for row, reason in enumerate(reasons):
        index, answer = prepared[row]
        assert index == row
        assert isinstance(answer, str)
        assert reason in answer
        assert "\n" not in answer
    row, answer = NetworkInputs(flat(2, channels=5), Preprocessing())[1]
    assert (row, answer) == (1, "flat:1: has 5 channels, where 3 are expected")


def test_kept_inputs_are_not_read_again_and_the_rest_are(tmp_path: Path) -> None:
    images, step = files(tmp_path, [(6, 6), (6, 6)]), Preprocessing(6, 6)
    inputs = NetworkInputs(images, step, keep=3 * 6 * 6 * 4)  # room for one, of float32
    first, second = inputs[0][1], inputs[1][1]
    for name in ("0.png", "1.png"):
        (tmp_path / name).unlink()
    assert isinstance(first, Tensor)
    assert torch.equal(first, inputs[0][1])  # type: ignore[arg-type]
    assert isinstance(second, Tensor)
    assert isinstance(inputs[1][1], str)
