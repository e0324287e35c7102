"""Each rewrite is exact, and so are all together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bagnet.engine.cost import multiply_adds
from bagnet.engine.fold import FoldedBottleneck, FoldedFeatures, fold_norm, merge_pointwise, prune_constant_channels
from bagnet.model import BagNet, Bottleneck

from ..conftest import randomised


def image(channels: int, height: int, width: int) -> Tensor:
    return torch.randn((2, channels, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def close(values: Tensor, expected: Tensor) -> bool:
    assert values.shape == expected.shape
    return bool((values - expected).abs().max() <= 1e-12 * expected.abs().max())


def lively(module: nn.Module) -> nn.Module:
    return randomised(module).double().eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 2, 0), (3, 1, 1)])
@torch.inference_mode()
def test_batch_norm_goes_into_the_convolution(kernel: int, stride: int, padding: int) -> None:
    pair = lively(nn.Sequential(nn.Conv2d(4, 6, kernel, stride, padding, bias=False), nn.BatchNorm2d(6)))
    x = image(4, 9, 11)
    assert close(fold_norm(pair[0], pair[1])(x), pair(x))  # type: ignore[index,arg-type]


@torch.inference_mode()
def test_the_pointwise_stem_goes_into_the_next_convolution() -> None:
    pair = lively(nn.Sequential(nn.Conv2d(3, 6, 1, bias=False), nn.Conv2d(6, 5, 3, bias=False)))
    x = image(3, 9, 11)
    merged = merge_pointwise(pair[0], pair[1])  # type: ignore[index,arg-type]
    assert merged.weight.shape == (5, 3, 3, 3)
    assert close(merged(x), pair(x))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dead", [[], [1], [0, 2, 3], [0, 1, 2, 3]])
@torch.inference_mode()
def test_constant_channels_become_a_bias(padding: int, dead: list[int]) -> None:
    pair = lively(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 3, padding=padding)))
    first, second = pair[0], pair[1]  # type: ignore[index]
    first.weight[dead] = 0.0  # type: ignore[index,operator]
    first.bias[dead] = torch.tensor([0.7, -0.3, 0.2, 0.4], dtype=torch.float64)[dead]  # type: ignore[index,operator]
    x = image(3, 9, 11)
    expected = second(torch.relu(first(x)))
    few, rest = prune_constant_channels(first, second)  # type: ignore[arg-type]
    assert close(rest(torch.relu(few(x))), expected)
    # With padding only a constant of zero may go: channel 1, whose ReLU is shut.
    gone = [channel for channel in dead if not padding or channel == 1]
    assert few.out_channels == max(1, 4 - len(gone))


@pytest.mark.parametrize(
    ("kernel", "stride", "padded"), [(3, 2, False), (3, 1, False), (1, 2, False), (3, 2, True), (1, 1, True)]
)
@torch.inference_mode()
def test_a_block_crops_its_shortcut_first(kernel: int, stride: int, padded: bool) -> None:
    block = lively(Bottleneck(8, 3, stride, kernel, padded, project=True))
    folded = FoldedBottleneck(block)  # type: ignore[arg-type]
    for height, width in ((9, 12), (10, 7)):
        x = image(8, height, width)
        assert close(folded(x), block(x))
    assert folded.shortcut is not None
    assert folded.shortcut.stride == (1, 1)


@pytest.mark.parametrize("size", [(65, 65), (58, 77)])
@torch.inference_mode()
def test_all_together(sibling: BagNet, size: tuple[int, int]) -> None:
    model, x = sibling.double(), image(3, *size)
    network = FoldedFeatures(model)
    assert network.geometry.stride == model.geometry.stride
    assert close(network(x), model.features(x))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@torch.inference_mode()
def test_the_model_is_not_changed(sibling: BagNet) -> None:
    before = {key: value.clone() for key, value in sibling.state_dict().items()}
    FoldedFeatures(sibling.at_stride(1))(image(3, 50, 50).float())
    assert all(torch.equal(value, before[key]) for key, value in sibling.state_dict().items())


@pytest.mark.parametrize("stride", [1, 8])
@torch.inference_mode()
def test_split_in_two(sibling: BagNet, stride: int) -> None:
    network = FoldedFeatures(sibling.double().at_stride(stride))
    x = image(3, 37, 44)
    features = network(x)
    wide = 16 * sibling.geometry.stride + sibling.geometry.size
    whole = multiply_adds(network, 3, wide, wide)
    for share in (0.0, 0.25, 0.6):
        first, rest = network.split(share)
        assert torch.equal(rest(first(x)), features)
        spent = multiply_adds(first, 3, wide, wide) / whole
        assert spent <= max(share, 0.1) + 0.1  # the stem is always in the first part; borders count in a small image
        assert len(rest) > 0
