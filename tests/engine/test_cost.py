"""Counted multiply-adds are the known ones."""

from __future__ import annotations

import os

import pytest
import torch

from bagnet.architecture import Architecture
from bagnet.engine.cost import available_memory, multiply_adds, peak_memory
from bagnet.model import BagNet


@pytest.mark.parametrize(
    ("kernel3", "convolutions", "one_window"),
    [
        ((1, 1, 0, 0), 15_930_195_968, (9, 19_532_992)),
        ((1, 1, 1, 0), 15_652_454_400, (17, 43_919_552)),
        ((1, 1, 1, 1), 16_257_482_752, (33, 202_997_952)),
    ],
)
def test_the_published_networks(kernel3: tuple[int, int, int, int], convolutions: int, one_window: tuple[int, int]) -> None:
    with torch.device("meta"):
        model = BagNet(Architecture(kernel3)).eval()

    class Convolutions(torch.nn.Module):
        """The linear head is a matrix product of its own and is not counted."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model.features(x)

    assert multiply_adds(Convolutions(), 3, 224, 224) == convolutions
    size, cost = one_window
    assert multiply_adds(Convolutions(), 3, size, size) in (cost, cost - 2_048_000)  # with and without the head


def test_the_peak_of_memory_is_at_least_what_was_just_held() -> None:
    held = torch.ones(25_000_000)
    peak = peak_memory()
    assert peak is None or peak > held.nbytes


def test_what_is_free_is_less_than_there_is() -> None:
    free = available_memory()
    if free is None:
        pytest.skip("this system does not say")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free <= total
