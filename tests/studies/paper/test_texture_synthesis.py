"""Gram matrices are what one computes on paper; what is synthesised has those of the image, and is another image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bagnet.engine.classifier import Predictor
from bagnet.studies.paper.texture_synthesis import TextureNetwork, gram, minimised, synthesise, texture_error
from bagnet.zoo.comparison import small_resnet, small_vgg

from .material import colour_network, network_of, small_bagnet


def texture(network: nn.Module) -> TextureNetwork:
    made = TextureNetwork.of("it", network_of(network, 5, 8))
    assert made is not None
    return made


def noise(count: int, size: int = 8) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((count, 3, size, size)))


def test_a_gram_matrix_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels at two places
    assert gram(features).tolist() == [[[2.5, 5.5], [5.5, 12.5]]]


def test_the_error_is_a_share() -> None:
    wanted = [torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]), torch.tensor([[[2.0]]])]
    grams = [torch.tensor([[[3.0, 0.0], [0.0, 0.0]]]), torch.tensor([[[1.0]]])]
    assert texture_error(grams, wanted).item() == pytest.approx((16 / 25 + 1 / 4) / 2)
    assert texture_error(wanted, [0 * gram for gram in wanted]).item() == (25 + 4) / 2, "where there is nothing to be a share of"


def test_a_synthesised_image_has_the_statistics_and_not_the_places() -> None:
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64) * torch.tensor([0.9, 0.5, 0.2])[:, None, None]
    network = texture(colour_network().double())
    start = noise(1)
    made = synthesise(network, image, start, 60)
    wanted = network.grams(image)
    before, after = (texture_error(network.grams(pixels), wanted).item() for pixels in (start.sigmoid(), made))
    assert after < 1e-6 * before
    assert torch.allclose(made.mean((2, 3)), image.mean((2, 3)), atol=1e-3)
    assert (made - image).abs().mean() > 0.05
    assert made.min() >= 0
    assert made.max() <= 1


def test_gram_matrices_say_nothing_of_where() -> None:
    chain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding="same"))
    network = texture(nn.Sequential(*chain, nn.ReLU(), nn.MaxPool2d(2)).double())
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    for still, rolled in zip(network.grams(image), network.grams(image.roll((4, -4), (2, 3))), strict=True):
        assert torch.allclose(still, rolled, rtol=1e-12)


def test_an_image_goes_its_own_way() -> None:
    chain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).double()
    images, starts = torch.rand(2, 3, 8, 8, dtype=torch.float64), noise(2)
    together = synthesise(texture(chain), images, starts, 12)
    alone = [synthesise(texture(chain), images[[row]], starts[[row]], 12) for row in range(2)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_minima_by_hand() -> None:
    def rosenbrock(rows: Tensor) -> Tensor:
        x, y = rows.T
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    start = torch.tensor([[-1.2, 1.0], [3.0, -3.0], [1.0, 1.0]], dtype=torch.float64)
    assert torch.allclose(minimised(rosenbrock, start, 70), torch.ones(3, 2, dtype=torch.float64), atol=1e-5)
    quadratic = minimised(lambda rows: ((rows - 2) ** 2 * torch.tensor([1.0, 1000.0])).sum(1), torch.zeros(1, 2), 15)
    assert torch.allclose(quadratic, torch.full((1, 2), 2.0), atol=1e-3)


def test_where_the_function_is_not_finite_is_not_gone_to() -> None:
    lowest = minimised(lambda rows: rows[:, 0] - rows[:, 0].log(), torch.tensor([[0.001]]), 20)
    assert lowest.item() == pytest.approx(1, abs=1e-3)


class WithFeatures(nn.Module):
    """As torchvision's VGG holds its chain."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.MaxPool2d(2))


def test_which_networks_make_textures() -> None:
    vgg = texture(small_vgg(5))
    assert list(vgg.layers.values()) == ["conv1_1", "pool1", "pool2", "pool3", "pool4"]
    assert texture(WithFeatures()).layers == {1: "conv1_1", 4: "pool1"}
    models: list[Predictor] = [
        network_of(small_resnet(5), 5, 8),
        network_of(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 5, 8),
        small_bagnet(9),
    ]
    assert [TextureNetwork.of("it", model) for model in models] == [None] * 3


def test_images_too_small() -> None:
    with pytest.raises(ValueError, match=r"it takes no images of 4 x 4 pixels \("):
        texture(WithFeatures()).grams(torch.zeros(1, 3, 4, 4))
