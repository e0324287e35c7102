"""Networks rewritten for hooks: the same answers, every nonlinearity a module of its own; and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bagnet.attribution import NotRewritable
from bagnet.attribution.rewrite import ReLU6AsDifference, SeparateWindows, Step, as_steps, with_own_nonlinearities

from .networks import images, lively, residual


@pytest.mark.parametrize("rewrite", [as_steps, with_own_nonlinearities])
def test_the_copy_answers_the_same_also_to_other_numbers_of_images(network: nn.Module, rewrite: Any) -> None:
    copy = rewrite(network, images(2))
    x = images(3)
    torch.testing.assert_close(copy(x), network(x), rtol=0, atol=1e-12)


def test_steps_are_all_that_hooks_see(network: nn.Module) -> None:
    copy = as_steps(network, images(1))
    assert all(isinstance(module, Step) for module in copy.modules() if not list(module.children()))
    assert not any(node.op in ("call_function", "call_method") for node in copy.graph.nodes if node.meta["kind"] == "tensor")


def test_each_nonlinearity_is_called_once_and_alone_reads_its_input(network: nn.Module) -> None:
    copy = with_own_nonlinearities(network, images(1))
    called = [node for node in copy.graph.nodes if node.op == "call_module"]
    nonlinear = [
        node for node in called if isinstance(copy.get_submodule(node.target), (nn.ReLU, ReLU6AsDifference, SeparateWindows))
    ]
    assert nonlinear
    assert len({node.target for node in nonlinear}) == len(nonlinear)
    assert all(len(node.args[0].users) == 1 for node in nonlinear)
    assert not any(getattr(module, "inplace", False) for module in copy.modules())


def test_the_activations_of_a_residual_network_counted_by_hand() -> None:
    """The stem's, and two in each of two blocks, which share one module."""
    network = residual().eval()
    x = images(1).float()
    separate = with_own_nonlinearities(network, x)
    assert sum(type(module) is nn.ReLU for module in separate.modules()) == 5
    assert sum(type(module) is nn.ReLU for module in network.modules()) == 3
    steps = [module for module in as_steps(network, x).modules() if isinstance(module, Step)]
    assert sum(step.nonlinear for step in steps) == 5
    assert sum(step.feeds_nonlinearity for step in steps) == 5


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (11, 6)])
def test_max_pooling_with_separate_windows(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    tried = 0
    for kernel, stride, padding, dilation, up in itertools.product((2, 3, (3, 2)), (1, 2, 3), (0, 1), (1, 2), (False, True)):
        pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=up)
        assert torch.equal(SeparateWindows(pool)(x), pool(x)), (pool, size)
        tried += 1
    assert tried == 72


def test_relu6_as_a_difference() -> None:
    x = torch.linspace(-9, 9, 37)
    torch.testing.assert_close(ReLU6AsDifference()(x), F.relu6(x))


class Forward(nn.Module):
    """Whatever a test wants between a convolution and the mean."""

    def __init__(self, between: Any) -> None:
        super().__init__()
        self.conv, self.between = nn.Conv2d(3, 4, 3), between

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.between(self.conv(x)).mean((2, 3))
        return pooled


def _writes(x: Tensor) -> Tensor:
    y = F.relu(x, inplace=True)
    return x + y  # x was changed, too, which the rewritten network does not do


@pytest.mark.parametrize("rewrite", [as_steps, with_own_nonlinearities])
@pytest.mark.parametrize(
    ("between", "words"),
    [
        (nn.GroupNorm(2, 4), "no rule for GroupNorm"),
        (lambda x: x * torch.sigmoid(x), "no rule for mul of computed tensors"),
        (lambda x: 1 / x, "no rule for truediv of computed tensors"),
        (lambda x: F.softmax(x, 1), "no rule for softmax"),
        (lambda x: x if x.mean() > 0 else -x, "decides by values or shapes in Python"),
        (_writes, "logits differ by .* of the largest .*write"),
        (nn.BatchNorm2d(4, track_running_stats=False), "no rule for BatchNorm2d"),
    ],
)
def test_what_has_no_rule_is_refused(rewrite: Any, between: Any, words: str) -> None:
    with pytest.raises(NotRewritable, match=f"^Forward cannot be rewritten: .*{words}"):
        rewrite(Forward(between).eval(), images(1).float())


def test_what_only_one_of_them_knows() -> None:
    smooth, parts = Forward(nn.SiLU()).eval(), Forward(lambda x: torch.relu(x.chunk(2, 1)[0])).eval()
    x = images(1).float()
    as_steps(smooth, x)
    with pytest.raises(NotRewritable, match="no rule for SiLU"):
        with_own_nonlinearities(smooth, x)
    with_own_nonlinearities(parts, x)
    with pytest.raises(NotRewritable, match="no rule for chunk"):
        as_steps(parts, x)


def test_the_answer_for_zeros_is_a_steps_bias() -> None:
    conv, x = nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 5, 5)
    assert conv.bias is not None
    copy = as_steps(lively(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())), x.double())
    first, *others = [module for module in copy.modules() if isinstance(module, Step)]
    torch.testing.assert_close(first.at_zero((x.double(),)), conv.bias[None, :, None, None].expand(1, 4, 5, 5))
    assert all(not step.at_zero((torch.ones(1, 4, 5, 5).double(),)).any() for step in others)
