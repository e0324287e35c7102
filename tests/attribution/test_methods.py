"""Attribution methods against closed forms: what each says of networks small enough to reckon by hand."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bagnet.attribution import METHODS, NotComplete, attribute
from bagnet.attribution.methods import _RUNS, last_map
from bagnet.model import BagNet
from bagnet.zoo.comparison import small_resnet, small_vgg

from .networks import NETWORKS, images, lively

COMPLETE = ["integrated_gradients", "epsilon_lrp", "deeplift"]


def linear_network() -> tuple[nn.Module, Tensor, Tensor]:
    """A linear classifier of 2 x 3 pixels in two channels; the weights of class 1 as (C, H, W); an image."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    return network, network[1].weight[1].reshape(2, 2, 3).detach(), torch.randn(4, 2, 2, 3, dtype=torch.float64)


def two_pixels() -> nn.Module:
    """Class 0: 3 relu(2 a - b - 1.25) of an image (a, b); class 1: its negative."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU(inplace=True), nn.Linear(1, 2, bias=False)).double()
    with torch.no_grad():
        network[1].weight[:] = torch.tensor([[2.0, -1.0]])
        network[1].bias.fill_(-1.25)
        network[3].weight[:] = torch.tensor([[3.0], [-3.0]])
    return network


PIXELS = torch.tensor([3.0, 1.0], dtype=torch.float64).reshape(1, 1, 1, 2)  # the ReLU's input is 3.75


@pytest.mark.parametrize("method", COMPLETE)
def test_of_a_linear_network_each_method_returns_its_weights_times_the_image(method: str) -> None:
    network, weights, x = linear_network()
    result = attribute(method, network, x, 1, steps=3)
    torch.testing.assert_close(result.values, (weights * x).sum(1).float())
    assert result.completeness is not None
    assert result.completeness.max() < 1e-7  # captum's step sizes are float32
    if method == "epsilon_lrp":
        torch.testing.assert_close(result.absorbed, network[1].bias[1].detach().expand(4), rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
@pytest.mark.parametrize("baseline", [0.5, [0.5, -2.0], torch.tensor([0.5, -2.0])])
def test_what_equals_the_baseline_gets_nothing(method: str, baseline: Any) -> None:
    network, weights, x = linear_network()
    difference = x - torch.as_tensor(baseline, dtype=torch.float64).reshape(1, -1, 1, 1)
    result = attribute(method, network, x, [1] * 4, baseline=baseline, steps=2)
    torch.testing.assert_close(result.values, (weights * difference).sum(1).float())


def test_two_pixels_by_hand() -> None:
    def values(method: str, target: int = 0, **options: Any) -> list[float]:
        return attribute(method, two_pixels(), PIXELS, target, **options).values.flatten().tolist()

    # half the way is not alive: 5 t - 1.25 > 0 from t = 0.25 on, so at 0.3, 0.4, ..., 1 of ten steps
    assert values("integrated_gradients", steps=10) == pytest.approx([0.8 * 18, 0.8 * -3])
    assert values("integrated_gradients", steps=1000) == pytest.approx([0.75 * 18, 0.75 * -3], rel=2e-3)
    assert values("deeplift") == pytest.approx([0.75 * 18, 0.75 * -3])  # 3.75 out for 5 in
    assert values("deeplift", 1) == pytest.approx([-0.75 * 18, 0.75 * 3])
    assert values("epsilon_lrp") == pytest.approx([18, -3], rel=1e-4)
    assert values("epsilon_lrp", epsilon=0.75) == pytest.approx([15, -2.5])  # 11.25 / (3.75 + 0.75) = 2.5 a unit
    assert values("saliency", 1) == [6, 3]


def test_completeness_is_measured() -> None:
    rough = attribute("integrated_gradients", two_pixels(), PIXELS, 0, steps=10)
    assert rough.completeness is not None
    assert rough.completeness.tolist() == pytest.approx([0.75 / 11.25])  # 12 instead of 11.25
    stable = attribute("epsilon_lrp", two_pixels(), PIXELS, 0, epsilon=0.75)
    assert stable.completeness is not None
    assert stable.absorbed is not None
    assert stable.completeness.item() < 1e-9
    assert stable.absorbed.item() == pytest.approx(-1.25)  # -1.25 * 2.5 for the bias, 0.75 * 2.5 for epsilon
    for method in METHODS.keys() - set(COMPLETE):
        assert attribute(method, lively(NETWORKS["plain"]()), images(), 0).completeness is None


def test_relu6_by_hand() -> None:
    """2 a - b is 8, of which 6 pass: DeepLIFT's slope is 6 / 8; relevance passes undiminished."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False), nn.ReLU6(), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        network[1].weight[:] = torch.tensor([[2.0, -1.0]])
        network[3].weight.fill_(4.0)
    x = torch.tensor([5.0, 2.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    for method in ("deeplift", "epsilon_lrp"):
        assert attribute(method, network, x, 0).values.flatten().tolist() == pytest.approx([30, -6], rel=1e-4)
    assert attribute("saliency", network, x, 0).values.flatten().tolist() == [0, 0]


def test_overlapping_max_pooling_by_hand() -> None:
    """Three pixels, windows of two: the middle is the largest of both and gets both windows' logits."""
    network = nn.Sequential(nn.MaxPool2d((1, 2), 1), nn.Flatten(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        network[2].weight[:] = torch.tensor([[1.0, 10.0]])
    x = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64).reshape(1, 1, 1, 3)
    for method in ("deeplift", "epsilon_lrp"):
        assert attribute(method, network, x, 0).values.flatten().tolist() == pytest.approx([0, 33, 0])


@pytest.mark.parametrize("method", ["epsilon_lrp", "deeplift"])
def test_maps_of_every_network_add_up(network: nn.Module, method: str) -> None:
    x = images(3)
    targets = torch.tensor([0, 3, 1])
    result = attribute(method, network, x, targets, baseline=0.3)
    before = network(torch.full_like(x[:1], 0.3)) if method == "deeplift" else torch.zeros(1, 4)
    wanted = (network(x) - before)[range(3), targets].detach()
    kept = result.absorbed if result.absorbed is not None else torch.zeros(3)
    assert result.completeness is not None
    assert result.completeness.max() < 1e-8
    torch.testing.assert_close(result.values.double().sum((1, 2)) + kept, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


class Chord(torch.autograd.Function):
    """ReLU on images and, behind them, their baselines; with the slope between the two for its derivative."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        z, before = ctx.saved_tensors[0].chunk(2)
        chord = (z.clamp(min=0) - before.clamp(min=0)) / (z - before)
        return gradient * torch.where(z == before, (z > 0).double(), chord).repeat(2, 1, 1, 1)


@pytest.mark.parametrize("name", ["bagnet", "bagnet_padded"])
def test_deeplift_is_the_difference_times_a_gradient_with_chords_for_tangents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = lively(NETWORKS[name]()), images()
    relevance = attribute("deeplift", network, x, [2, 0], baseline=0.3).values
    monkeypatch.setattr(nn.ReLU, "forward", lambda _, z: Chord.apply(z))
    both = torch.cat([x, torch.full_like(x, 0.3)]).requires_grad_()
    gradient = torch.autograd.grad(network(both)[[0, 1], [2, 0]].sum(), both)[0][:2]
    expected = (gradient * (x - 0.3)).sum(1).float()
    torch.testing.assert_close(relevance, expected, rtol=1e-4, atol=1e-6 * float(relevance.abs().max()))


@pytest.mark.parametrize("build", [small_resnet, small_vgg])
def test_networks_for_comparison_in_single_precision(build: Any) -> None:
    network = lively(build(num_classes=3)).float()
    x = images(1, 17, 16).float()
    for method in ("epsilon_lrp", "deeplift"):
        result = attribute(method, network, x, 2)
        assert result.completeness is not None
        assert result.completeness.max() < 1e-5
        assert result.values.any()


def test_a_nonlinearity_that_the_rewriting_does_not_see_is_an_error() -> None:
    class Rectified(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input).clamp(min=0.0)

    network = nn.Sequential(Rectified(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    for method in ("epsilon_lrp", "deeplift"):
        with pytest.raises(
            NotComplete, match=rf"^{method} of Sequential: its map and logit\(x\).* differ by .* \(allowed: 1e-06\)"
        ):
            attribute(method, network, images().float(), 0, tolerance=1e-6)


def test_saliency_is_the_largest_over_channels() -> None:
    network, weights, x = linear_network()
    assert torch.equal(attribute("saliency", network, x, 1).values[0], weights.abs().amax(0).float())


def test_grad_cam_of_a_known_map() -> None:
    """Two channels, x and 1 - x, of weights 5 and -3 in the logit: relu(5 x - 3 (1 - x)) over the four places."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight[:] = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
        network[0].bias[:] = torch.tensor([0.0, 1.0])
        network[4].weight[:] = torch.tensor([[5.0, -3.0]])
    x = torch.tensor([[0.0, 0.25], [0.5, 1.0]]).reshape(1, 1, 2, 2)
    heat = attribute("grad_cam", network, x, 0).values[0]
    torch.testing.assert_close(heat, torch.tensor([[0.0, 0.0], [1.0, 5.0]]) / 4)
    named = attribute("grad_cam", network, x, 0, layer=network[0]).values[0]
    torch.testing.assert_close(named, 0.75 * heat)  # before the ReLU: one of four places is dead in each channel


def test_grad_cam_of_a_bagnet_is_its_positive_evidence() -> None:
    """The last map is averaged and then weighted, so that each channel's mean gradient is its weight over the places."""
    model = lively(NETWORKS["bagnet"]())
    assert isinstance(model, BagNet)
    x = images()
    evidence = model.evidence(x, [3])
    rows, columns = evidence.shape[2:]
    expected = F.relu(evidence - model.fc.bias[3]) / (rows * columns)
    heat = attribute("grad_cam", model, x, 3).values
    torch.testing.assert_close(heat, F.interpolate(expected, x.shape[2:], mode="bilinear")[:, 0].float().detach())


@pytest.mark.parametrize(("name", "layer"), [("residual", "3"), ("plain", "4"), ("dense", "features"), ("bagnet", "layer4")])
def test_the_last_map_is_found(name: str, layer: str) -> None:
    network = lively(NETWORKS[name]())
    assert last_map(network, images(1)) is network.get_submodule(layer)


def test_grad_cam_reads_what_a_module_that_is_used_twice_put_out_last() -> None:
    conv, act, again = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    shared, separate = nn.Sequential(conv, act, again, act, *head), nn.Sequential(conv, nn.ReLU(), again, nn.ReLU(), *head)
    x = images().float()
    heat = attribute("grad_cam", shared, x, 1).values
    assert heat.any()
    assert torch.equal(heat, attribute("grad_cam", separate, x, 1).values)


def one_pixel() -> nn.Module:
    """Reads the red of row 2, column 3 of 4 x 6 pixels, five times, and adds two."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 6, 1))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].bias.fill_(2.0)
        network[1].weight[0, 2 * 6 + 3] = 5.0
    return network


def test_occlusion_of_a_network_that_reads_one_pixel() -> None:
    x = torch.rand(3, 3, 4, 6)
    drop = 5 * (x[:, 0, 2, 3] - 0.2)
    drops = attribute("occlusion", one_pixel(), x, 0, baseline=[0.2, 9.0, 9.0], window=2, batch_size=2).values
    expected = torch.zeros(3, 4, 6)
    expected[:, 2:4, 2:4] = drop[:, None, None] / 4
    torch.testing.assert_close(drops, expected)
    torch.testing.assert_close(drops.sum((1, 2)), drop)
    overlapping = attribute("occlusion", one_pixel(), x, 0, baseline=[0.2, 9.0, 9.0], window=2, stride=1).values
    assert (overlapping.abs().flatten(1).argmax(1) == 2 * 6 + 3).all()
    assert not overlapping[:, 0].any()
    torch.testing.assert_close(overlapping[:, 2, 3], drop / 4)  # in all squares that hold it


def test_occlusion_by_a_square_larger_than_the_image() -> None:
    x = torch.rand(1, 3, 4, 6)
    drops = attribute("occlusion", one_pixel(), x, 0, window=50).values
    torch.testing.assert_close(drops, (5 * x[:, 0, 2, 3] / 24).expand(1, 4, 6))


def test_random_maps_are_functions_of_seed_and_row() -> None:
    network, x = one_pixel(), torch.rand(3, 3, 4, 6)
    together = attribute("random", network, x, 0, seed=7, rows=[4, 9, 5]).values
    alone = attribute("random", network, x[:1], 0, seed=7, rows=[9]).values
    assert torch.equal(together[1], alone[0])
    reseeded = attribute("random", network, x[:1], 0, seed=8, rows=[9]).values
    numbers = torch.cat([together, reseeded]).flatten().numpy()
    assert len(np.unique(numbers)) == len(numbers)
    assert torch.equal(attribute("random", network, x, 0).values, attribute("random", network, x, 0, rows=range(3)).values)


@pytest.mark.parametrize("method", METHODS)
def test_batches_do_not_change_the_maps(method: str) -> None:
    network, x, targets = lively(NETWORKS["residual"]()), images(3), [0, 1, 2]
    together = attribute(method, network, x, targets, steps=7, window=9)
    apart = attribute(method, network, x, targets, steps=7, window=9, batch_size=2)
    torch.testing.assert_close(apart.values, together.values, rtol=1e-5, atol=1e-7 * float(together.values.abs().max()))
    assert together.values.shape == (3, 19, 22)
    assert together.values.dtype == torch.float32
    if together.completeness is not None:
        assert apart.completeness is not None
        torch.testing.assert_close(apart.completeness, together.completeness, rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_the_network_and_the_images_stay_as_they_were(method: str) -> None:
    network, x = lively(NETWORKS["residual"]()), images()
    network[0].train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes, image = [module.training for module in network.modules()], x.clone()
    with torch.inference_mode():
        result = attribute(method, network, x, torch.tensor([0, 1]), steps=2, window=9)
    assert not result.values.requires_grad
    assert not x.requires_grad
    assert torch.equal(x, image)
    assert modes == [module.training for module in network.modules()]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not hasattr(module, "rule")


def test_each_method_is_described() -> None:
    assert set(_RUNS) | {"random"} == set(METHODS)
    for method in METHODS.values():
        assert method.description.endswith(".")
        assert method.source
        assert set(method.options) <= set(attribute.__kwdefaults__ or {})


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("magic", {}, "'magic': choose among saliency, integrated_gradients, epsilon_lrp, deeplift, grad_cam, occlusion, random"),
        ("saliency", {"x": torch.rand(3, 4, 6)}, r"shape \(B, C, H, W\).*\(3, 4, 6\)"),
        ("saliency", {"targets": 1}, "targets must be 0 to 0, got 1 to 1"),
        ("saliency", {"targets": [0, 0]}, "one for each of 1 images"),
        ("saliency", {"targets": 0.5}, "targets must be a class"),
        ("saliency", {"network": nn.Conv2d(3, 1, 1)}, "Conv2d does not answer an image with one row of logits"),
        ("integrated_gradients", {"baseline": [0.0, 1.0]}, r"one for each of 3 channels, got shape \(2,\)"),
        ("integrated_gradients", {"steps": 1}, "steps"),
        ("epsilon_lrp", {"epsilon": 0.0}, "epsilon must be above 0"),
        ("occlusion", {"window": 0}, "window"),
        ("occlusion", {"window": 2, "stride": 3}, "leave pixels out"),
        ("grad_cam", {}, "no convolution puts out a map"),
        ("grad_cam", {"layer": nn.ReLU()}, "layer is no part of Sequential"),
        ("random", {"rows": [1, 2]}, "rows must name each of 1 images"),
        ("random", {"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_arguments(method: str, changes: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"network": one_pixel(), "x": torch.rand(1, 3, 4, 6), "targets": 0, **changes}
    with pytest.raises(ValueError, match=words):
        attribute(method, **arguments)


def test_without_captum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"pip install 'bagnet\[compare\]'"):
        attribute("saliency", one_pixel(), torch.rand(1, 3, 4, 6), 0)
    attribute("random", one_pixel(), torch.rand(1, 3, 4, 6), 0)
