"""Epsilon-LRP by hand and against its other form, with an account of what stays behind."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("captum")

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bagnet.attribution import attribute
from bagnet.attribution.relevance import epsilon_lrp
from bagnet.attribution.rewrite import as_steps

from .networks import images


def hinge(bias: float) -> nn.Module:
    """Class 0: 3 relu(2 a - b + bias) of an image (a, b); class 1: its negative."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2, bias=False)).double()
    with torch.no_grad():
        network[1].weight[:] = torch.tensor([[2.0, -1.0]])
        network[1].bias.fill_(bias)
        network[3].weight[:] = torch.tensor([[3.0], [-3.0]])
    return network.eval()


# 2 a - b is 5, 4 and -3.
PIXELS = torch.tensor([[3.0, 1.0], [2.0, 0.0], [0.0, 3.0]], dtype=torch.float64).reshape(3, 1, 1, 2)
TARGETS = torch.tensor([0, 1, 0])


def relevance(bias: float, epsilon: float) -> tuple[list[list[float]], list[float]]:
    x = PIXELS.clone().requires_grad_()
    values, absorbed = epsilon_lrp(as_steps(hinge(bias), x), x, TARGETS, epsilon)
    return values.flatten(1).tolist(), absorbed.tolist()


def test_each_pixel_gets_its_share() -> None:
    values, absorbed = relevance(0.0, 0.0)
    assert values == [pytest.approx([18, -3]), pytest.approx([-12, 0]), [0, 0]]
    assert absorbed == pytest.approx([0, 0, 0], abs=1e-12)


def test_a_bias_absorbs_its_own_share() -> None:
    """Of logits 3 (5 + 1) and -3 (4 + 1) the ones are the bias's."""
    values, absorbed = relevance(1.0, 0.0)
    assert values == [pytest.approx([18, -3]), pytest.approx([-12, 0]), [0, 0]]
    assert absorbed == pytest.approx([3, -3, 0])


def test_epsilon_absorbs_on_the_side_of_the_sum() -> None:
    """5 becomes 5 + 1, so that a sixth of the logit 15 stays behind; 4 becomes 4 + 1, and a fifth of -12."""
    values, absorbed = relevance(0.0, 1.0)
    assert values == [pytest.approx([15, -2.5]), pytest.approx([-9.6, 0]), [0, 0]]
    assert absorbed == pytest.approx([2.5, -2.4, 0])


def test_nothing_is_lost(network: nn.Module) -> None:
    x, targets = images(3).requires_grad_(), torch.tensor([0, 3, 1])
    values, absorbed = epsilon_lrp(as_steps(network, x), x, targets, 1e-4)
    assert values.shape == x.shape
    assert absorbed.shape == (3,)
    logits = network(x)[range(3), targets].detach()
    torch.testing.assert_close(
        values.detach().flatten(1).sum(1) + absorbed, logits, rtol=0, atol=1e-8 * float(logits.abs().max())
    )


class Ratio(torch.autograd.Function):
    """ReLU, with the ratio of output to input for its derivative (Ancona et al. 2018, proposition 1)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (z,) = ctx.saved_tensors
        return gradient * z.clamp(min=0) / (z + torch.where(z < 0, -1e-4, 1e-4))


def test_relevance_is_the_image_times_a_gradient_with_ratios_for_derivatives(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(isinstance(module, nn.ReLU6) for module in network.modules()):
        pytest.skip("the formula's other form is not written here")
    x = images().requires_grad_()
    relevance = attribute("epsilon_lrp", network, x, [2, 0]).values

    def ratio(z: Tensor, inplace: bool = False) -> Any:
        return Ratio.apply(z)

    for namespace in (F, torch):
        monkeypatch.setattr(namespace, "relu", ratio)
    monkeypatch.setattr(Tensor, "relu_", ratio)
    monkeypatch.setattr(nn.ReLU, "forward", lambda _, z: Ratio.apply(z))
    gradient = torch.autograd.grad(network(x)[[0, 1], [2, 0]].sum(), x)[0]
    expected = (gradient * x).sum(1).float().detach()
    torch.testing.assert_close(relevance, expected, rtol=1e-4, atol=1e-6 * float(relevance.abs().max()))
