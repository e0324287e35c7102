"""A windowed network is its network on each window, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
import timm
import torch
from torch import Tensor, nn

import bagnet
from bagnet.architecture import Windowed
from bagnet.bag import BagOfFeatures
from bagnet.data.transforms import Preprocessing
from bagnet.geometry import Box
from bagnet.windowed_network import WindowedNetwork, chunks_of, linear_head, windows_of
from bagnet.zoo.windowed import windowed

from .conftest import randomised
from .engine.classifiers import small_bagnet, small_windowed

WINDOW, STRIDE = 33, 13


class Counted(nn.Module):
    """Counts the images that a network is shown."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.shown = network, 0

    def forward(self, x: Tensor) -> Tensor:
        self.shown += len(x)
        answer: Tensor = self.network(x)
        return answer


@pytest.fixture(scope="module", params=["test_resnet", "test_efficientnet", "test_vit"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    """Random weights; a convolutional network of each kind, and one of attention, which takes one size alone."""
    torch.manual_seed(0)
    sizes = {"img_size": WINDOW - 1} if request.param == "test_vit" else {}
    return randomised(timm.create_model(request.param, num_classes=7, **sizes)).double().eval()


@pytest.fixture(scope="module")
def model(network: nn.Module) -> WindowedNetwork:
    return windowed(network, WINDOW, STRIDE, preprocessing=Preprocessing(60, WINDOW - 1))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 59, 74, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def close(values: Tensor, expected: Tensor) -> bool:
    return bool((values - expected).abs().max() <= 1e-9 * expected.abs().max())


def shown_alone(network: nn.Module, model: WindowedNetwork, window: Tensor) -> Tensor:
    side = model.architecture.resize
    if side is not None:
        window = nn.functional.interpolate(window, (side, side), mode="bilinear", antialias=True)
    logits: Tensor = network(window)
    return logits


def test_a_cell_is_the_network_on_its_window(network: nn.Module, model: WindowedNetwork, x: Tensor) -> None:
    logits, evidence = model.logits_and_evidence(x)
    assert evidence.shape == (2, 7, *model.geometry.grid(59, 74)) == (2, 7, 3, 4)
    for row in range(3):
        for column in range(4):
            box = model.geometry.window(row, column)
            assert close(evidence[..., row, column], shown_alone(network, model, x[(..., *box.slices)]))
    assert close(evidence.mean((2, 3)), logits)
    assert close(model(x), logits)
    assert close(model.evidence(x, [4, 1]), evidence[:, [4, 1]])


def test_the_network_given_is_as_it_was(network: nn.Module, model: WindowedNetwork) -> None:
    assert network(torch.zeros(1, 3, WINDOW - 1, WINDOW - 1, dtype=torch.float64)).shape == (1, 7)
    assert isinstance(model.fc, nn.Linear)
    assert model.num_features == model.fc.in_features


def test_the_head_is_named_and_sizes_are_found_out(model: WindowedNetwork, network: nn.Module) -> None:
    assert isinstance(network.get_submodule(model.architecture.head), nn.Linear)
    only_one_size = isinstance(network, timm.models.VisionTransformer)
    assert model.architecture.resize == (WINDOW - 1 if only_one_size else None)


def test_finer_windows_are_the_same_network(model: WindowedNetwork, x: Tensor) -> None:
    finer = model.at_stride(1)
    assert finer.geometry.stride == 1
    assert model.geometry.stride == STRIDE
    assert close(finer.evidence(x)[..., ::STRIDE, ::STRIDE], model.evidence(x))
    assert model.at_stride(2 * STRIDE) is model
    with pytest.raises(ValueError, match="a stride must be at least 1 pixel"):
        model.at_stride(0)


def test_an_edit_computes_what_it_touches_alone(network: nn.Module, x: Tensor) -> None:
    counted = Counted(network)
    model = windowed(counted, WINDOW, STRIDE, preprocessing=Preprocessing(60, WINDOW - 1))
    image = x[:1]
    before = model.evidence(image)
    for box, touched in ((Box(0, 0, 1, 1), 1), (Box(40, 30, 42, 31), 9), (Box(73, 0, 74, 59), 0), (Box(0, 0, 74, 59), 12)):
        edited = image.clone()
        edited[(..., *box.slices)] = 0
        expected = model.evidence(edited)
        assert model.geometry.cells_touching(box, 59, 74).area == touched
        model.network.shown = 0  # type: ignore[union-attr]
        assert close(bagnet.change(model, before, edited, box), expected)
        assert model.network.shown == touched
        mask = torch.zeros(59, 74, dtype=torch.bool)
        mask[box.slices] = True
        assert close(bagnet.change(model, before, edited, mask), expected)
        assert model.network.shown == 2 * touched
        assert close(bagnet.occlude(model, image, [box], values=before), expected.mean((2, 3)))
        assert model.network.shown == 3 * touched


def test_dense_maps(model: WindowedNetwork, x: Tensor) -> None:
    values = bagnet.dense(model, x, [2], stride=5, padded=False).values
    assert close(values[..., 0, 1], model.evidence(x[..., 5:38], [2])[..., 0, 0][..., None][..., 0])
    assert bagnet.dense(model, x[..., :40, :40], [2], stride=7).values.shape[2:] == (6, 6)


def test_a_network_without_a_linear_head_averages_logits(x: Tensor) -> None:
    torch.manual_seed(0)
    last = nn.Sequential(nn.Conv2d(3, 5, 7), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    model = windowed(last, 11, 9, preprocessing=Preprocessing(60, None))
    logits, evidence = model.logits_and_evidence(x)
    assert model.architecture.head == ""
    assert model.num_features == 4
    assert "the logits of the windows are averaged" in model.card.notes  # type: ignore[union-attr]
    assert close(evidence[..., 2, 3], last(x[..., 18:29, 27:38]))
    assert close(evidence.mean((2, 3)), logits)
    with pytest.raises(ValueError, match="has no linear head"):
        model.reset_classifier(3)
    assert (bagnet.prepare(model)(x.float()) - logits).abs().max() < 1e-5


def test_a_head_without_a_bias_gives_some_classes(x: Tensor) -> None:
    head = nn.Linear(3, 4, bias=False)
    model = windowed(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).double(), 8, scale="native")
    assert close(model.evidence(x, [2, 0]), model.evidence(x)[:, [2, 0]])


def test_stride_beyond_the_window_leaves_pixels_unseen(x: Tensor) -> None:
    model = windowed(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).double(), 5, 20, scale="native")
    assert model.geometry.unseen(59, 74)
    changed = x.clone()
    for box in model.geometry.unseen(59, 74):
        changed[(..., *box.slices)] = 9
    assert torch.equal(model(changed), model(x))


def test_chunks_are_all_windows_in_order(monkeypatch: pytest.MonkeyPatch, x: Tensor) -> None:
    monkeypatch.setattr("bagnet.windowed_network.CHUNK_PIXELS", 8 * 20 * 20)
    windows = windows_of(x, bagnet.Geometry(20, 10))
    chunks = list(chunks_of(windows))
    assert [len(chunk) for chunk in chunks] == [8, 8, 8, 8, 8, 8]
    assert torch.equal(torch.cat(chunks), windows.flatten(0, 2))
    assert [len(chunk) for chunk in chunks_of(windows[:1, :3, :3], (64, 4, 1))] == [4, 4, 1]


def test_the_head_is_the_last_linear_layer_on_pooled_features() -> None:
    class TwoAnswers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            pooled = x.mean((2, 3))
            mean: Tensor = (self.first(pooled) + self.second(pooled)) / 2
            return mean

    example = torch.zeros(2, 3, 8, 8)
    assert linear_head(TwoAnswers(), example) == ""
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert linear_head(pooled, example) == "4"
    with pytest.raises(ValueError, match="does not answer an image with one row of logits"):
        linear_head(nn.Conv2d(3, 2, 1), example)


def test_wrong_shapes_are_said(model: WindowedNetwork) -> None:
    with pytest.raises(ValueError, match=r"too small for windows of 33 pixels"):
        model(torch.zeros(1, 3, 32, 60, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"takes a batch of shape \(B, 3, H, W\)"):
        model(torch.zeros(1, 1, 60, 60, dtype=torch.float64))
    with pytest.raises(ValueError, match="window must be a whole number >= 1, got 0"):
        Windowed("timm:resnet18", 0, 1)
    with pytest.raises(ValueError, match="has no linear layer called 'nothing'"):
        WindowedNetwork(nn.Linear(1, 1), Windowed("a:b", 3, 3, head="nothing"))


@pytest.mark.parametrize("build", [small_bagnet, small_windowed])
def test_of_tiles_the_answer_is_the_mean_over_all_their_windows(build: Callable[[], BagOfFeatures]) -> None:
    model = deepcopy(build()).double()
    tiles = torch.randn((2, 3, 3, 40, 48), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.stack([model.evidence(of_image).mean((0, 2, 3)) for of_image in tiles])
        features = model.features_of(tiles)
        assert torch.allclose(model(tiles), expected, rtol=0, atol=1e-9 * expected.abs().max().item())
        first = features[:, :, : features.shape[2] // 3]
        assert torch.allclose(first, model.features(tiles[:, 0]), rtol=0, atol=1e-9 * features.abs().max().item())
        assert model.train().features_of(tiles).shape == features.shape
    for wrong in (tiles[:, :, :2], tiles[:, :, :, :8]):
        with pytest.raises(ValueError, match=r"takes a batch of shape|too small"):
            model(wrong)
