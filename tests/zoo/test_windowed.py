"""Any classifier made local, by name, file or module; saved, loaded, centred, and refused where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import bagnet
from bagnet.data.transforms import Preprocessing
from bagnet.weights import BadCheckpoint
from bagnet.windowed_network import windows_of
from bagnet.zoo.names import DEFAULT, variants
from bagnet.zoo.windowed import windowed

from ..conftest import randomised

PREPARED = Preprocessing(50, 40, "bicubic", (0.5,) * 3, (0.25,) * 3)


def small(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 5, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return randomised(nn.Sequential(*layers, nn.Linear(6, classes))).eval()


def test_the_card_says_what_it_is() -> None:
    model = windowed(small(), 20, preprocessing=PREPARED, classes=["ape", "bee", "cow"])
    assert model.card is not None
    assert model.name == "windowed20s10"
    assert model.card.name == "windowed20s10.sequential"
    assert str(model.classes[1]) == "bee"
    assert model.transform == Preprocessing(50, None, "bicubic", (0.5,) * 3, (0.25,) * 3)
    assert not model.training
    assert windowed(small(), 20, scale=80, preprocessing=PREPARED).transform.resize == 80
    assert windowed(small(), 20, scale="native", preprocessing=PREPARED).transform.resize is None


def test_centred_heads_change_no_answer() -> None:
    x = torch.randn(2, 3, 45, 50)
    plain, centred = (windowed(small(), 20, preprocessing=PREPARED, centred=word) for word in (False, True))
    with torch.inference_mode():
        before, after = plain.evidence(x), centred.evidence(x)
    assert torch.allclose(after, before - before.mean(1, keepdim=True), atol=1e-5)
    assert after.mean(1).abs().max() < 1e-5
    assert "centred" in centred.card.notes  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="no linear head to centre"):
        windowed(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 20, centred=True)


def test_a_network_of_timm_is_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = timm.create_model("test_efficientnet", num_classes=4).eval()
    model = windowed(module, 32, 16, preprocessing=PREPARED)
    model.architecture = bagnet.architecture.Windowed(
        **{**model.architecture.to_dict(), "network": "timm:test_efficientnet"},
    )
    from dataclasses import replace

    model.card = replace(model.card, architecture=model.architecture)  # type: ignore[type-var]
    path = tmp_path / "mine.safetensors"
    model.save(path)
    again = bagnet.load(path)
    x = torch.randn(1, 3, 50, 60)
    with torch.inference_mode():
        assert torch.equal(again(x), model(x))
    assert again.card.name == model.card.name  # type: ignore[union-attr]
    assert again.geometry == model.geometry
    fewer = bagnet.load(path, classes=["left", "right"])
    assert fewer(x).shape == (1, 2)
    assert fewer.card.name.endswith("-newhead")  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="takes the channels that it was trained with"):
        bagnet.load(path, in_channels=1)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BadCheckpoint):
        bagnet.load(path)


def test_code_is_trusted_by_name(tmp_path: Path) -> None:
    model = windowed(small(), 20, preprocessing=PREPARED)
    model.save(tmp_path / "mine.safetensors")
    with pytest.raises(ValueError, match="would run that code; trust it by name first"):
        bagnet.load(tmp_path / "mine.safetensors")


def test_other_windows_over_the_same_weights() -> None:
    coarse = next(iter(variants()))
    model = bagnet.load(coarse)
    assert model.weights_digest == bagnet.load(DEFAULT).weights_digest
    record = variants()[coarse]
    assert model.geometry == bagnet.Geometry(record["window"], record["stride"])
    assert model.transform.resize == record["scale"]
    finer = windowed(DEFAULT, record["window"], record["stride"], scale=record["scale"])
    assert finer.name == model.name
    assert finer.card.name == coarse  # type: ignore[union-attr]
    x = torch.randn(1, 3, 170, 250)
    with torch.inference_mode():
        assert torch.equal(finer(x), model(x))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"window": 0}, "window must be a whole number >= 1"),
        ({"window": "20"}, "window must be a whole number >= 1, got '20'"),
        ({"window": 20.5, "scale": 30}, "window must be a whole number >= 1, got 20.5"),
        ({"window": 20, "stride": 0}, "stride must be a whole number >= 1"),
        ({"window": 20, "scale": 19}, "scale must be 'native' or at least as many pixels as a window, 20, got 19"),
        ({"window": 20, "scale": "large"}, "scale must be 'native'"),
        ({"window": 20, "resize": 0}, "resize must be a whole number >= 1"),
        ({"window": 2}, r"sequential|Sequential takes no windows of 2 pixels \(.*\): say resize="),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        windowed(small(), preprocessing=Preprocessing(None, None), **arguments)  # type: ignore[arg-type]


def test_windows_beyond_the_networks_own_scale() -> None:
    with pytest.raises(ValueError, match="windows of 60 px do not fit into images of 40 px, the network's own: give"):
        windowed(small(), 60, preprocessing=Preprocessing(40, None))


def test_a_network_without_weights_has_a_precision() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = windowed(network, 8, classes=["red", "green", "blue"], preprocessing=Preprocessing(16, None))
    assert model.precision == "float32"
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(model(x), windows_of(x, model.geometry).mean((1, 2, 4, 5)))


def test_what_cannot_be_windowed() -> None:
    with pytest.raises(ValueError, match="is a bag of local features already"):
        windowed("bagnet9s4.tiny_in200", 20)
    with pytest.raises(ValueError, match="are for a module without a card"):
        windowed(DEFAULT, 128, classes=["cat"])
    with pytest.raises(ValueError, match="does not answer an image with one row of logits"):
        windowed(nn.Conv2d(3, 2, 3), 20)
    with pytest.raises(ValueError, match=r"takes no image of 3 x 224 x 224 \(.*\): its preprocessing must say what it takes"):
        windowed(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 20)


def test_a_module_in_training_is_left_as_it_is() -> None:
    normalised = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
    before = {name: value.clone() for name, value in normalised.train().state_dict().items()}
    windowed(normalised, 20, preprocessing=PREPARED)  # one image alone would have no statistics of its channels
    assert all(torch.equal(value, before[name]) for name, value in normalised.state_dict().items())
    assert all(module.training for module in normalised.modules())


def test_the_network_inside_a_wrapper_is_taken() -> None:
    wrapped = windowed(nn.DataParallel(small()), 20, preprocessing=PREPARED)
    assert wrapped.architecture == windowed(small(), 20, preprocessing=PREPARED).architecture
    assert wrapped.architecture.head == "5"
    with pytest.raises(ValueError, match="is a bag of local features already"):
        windowed(nn.DataParallel(bagnet.create("bagnet9")), 20)


def test_a_trusted_file_is_given_other_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def small(num_classes=3, in_channels=3):\n"
        "    body = [nn.Conv2d(in_channels, 6, 5, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]\n"
        "    return nn.Sequential(*body, nn.Linear(6, num_classes))\n"
        "def fixed(width):\n"
        "    return small()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path, builder = tmp_path / "mine.safetensors", "my_networks:small"
    windowed(builder, 20, scale="native").save(path)
    assert windowed(path, 30, scale="native", trust=[builder]).name == "windowed30s15"
    assert bagnet.load(path, trust=builder).name == "windowed20s10"
    with pytest.raises(ValueError, match="trust it by name first"):
        bagnet.load(path, trust=f"{builder}er")  # of which the name is but a part
    with pytest.raises(ValueError, match=r"my_networks:fixed: cannot be called without arguments \(missing .*'width'\): name a"):
        windowed("my_networks:fixed", 20)


def test_a_file_of_a_module_that_needs_more_to_be_built(tmp_path: Path) -> None:
    windowed(small(), 20, preprocessing=PREPARED).save(tmp_path / "mine.safetensors")
    with pytest.raises(ValueError, match=r"container:Sequential: cannot be called with num_classes and in_channels \("):
        bagnet.load(tmp_path / "mine.safetensors", trust=["torch.nn.modules.container:Sequential"])
