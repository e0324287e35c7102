"""Exact mode is eval mode in full float32, and leaves nothing behind; inputs go where the weights are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from bagnet.engine.inference import exact, like_weights, tf32_products


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """torch's settings are those of the whole process."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def settings() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def fast_and_loose() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True


@pytest.fixture
def network() -> nn.Sequential:
    """In training mode, but for a frozen normalisation."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(0.5))).train()
    network[1].eval()
    return network


MODES = [True, True, False, True, True]  # the network, its linear layer, normalisation, inner sequence, dropout


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_everything_is_as_it_was_afterwards(network: nn.Sequential, error: type[BaseException] | None) -> None:
    fast_and_loose()

    def work() -> None:
        with exact(network):
            assert not any(module.training for module in network.modules())
            assert settings() == ("highest", False)
            assert not torch.is_autocast_enabled("cpu")
            if error is not None:
                raise error("stop")

    with torch.autocast("cpu", torch.bfloat16):
        if error is None:
            work()
        else:
            with pytest.raises(error, match="stop"):
                work()
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    assert [module.training for module in network.modules()] == MODES
    assert settings() == ("medium", True)


def test_answers_are_in_full_float32_under_autocast() -> None:
    """1 + 2**-12 is 1 in bfloat16."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1 + 2**-12)
    x = torch.ones(1, 1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert float(network(x)) == 1.0
        with exact(network):
            assert float(network(x)) == 1 + 2**-12
        assert float(network(x)) == 1.0


def test_exact_mode_within_exact_mode(network: nn.Sequential) -> None:
    with exact(network):
        with exact(network):
            assert not network.training
        assert not network.training
        assert settings() == ("highest", False)
    assert [module.training for module in network.modules()] == MODES


def test_of_what_is_no_module_only_torch_is_set() -> None:
    fast_and_loose()
    with exact(object()):
        assert settings() == ("highest", False)
    assert settings() == ("medium", True)


@pytest.mark.parametrize(("allowed", "inside"), [(True, ("high", True)), (False, ("highest", False))])
def test_tf32_is_allowed_or_not_and_put_back(allowed: bool, inside: tuple[str, bool]) -> None:
    fast_and_loose()

    def work() -> None:
        with tf32_products(allowed):
            assert settings() == inside
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        work()
    assert settings() == ("medium", True)


def test_an_input_goes_where_the_weights_are_in_their_type() -> None:
    x = torch.tensor([[0.5, -2.0]])
    moved = like_weights(x, nn.Linear(2, 1).double())
    assert moved.dtype == torch.float64
    assert moved.tolist() == [[0.5, -2.0]]
    assert like_weights(x, nn.Linear(2, 1, device="meta")).device.type == "meta"
    for model in (nn.Linear(2, 1), nn.ReLU(), object()):
        assert like_weights(x, model) is x


@pytest.mark.gpu
def test_products_on_a_gpu_are_exact_inside_alone() -> None:
    """2048 products of 1 + 2**-12, which TF32 holds as 1."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    network = nn.Linear(2048, 16, bias=False, device="cuda")
    nn.init.constant_(network.weight, 1 + 2**-12)
    x = torch.ones(256, 2048, device="cuda")
    torch.set_float32_matmul_precision("high")
    with torch.no_grad():
        assert float(network(x)[0, 0]) == 2048.0
        with exact(network):
            assert float(network(x)[0, 0]) == 2048.5
        assert float(network(x)[0, 0]) == 2048.0
