"""Networks that are no BagNets: built, opened with their authors' weights, stored and read back; and what is no network."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn

import bagnet
from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.names import ClassNames, imagenet1k
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.weights import BadCheckpoint, storable, write
from bagnet.zoo.catalogue import UnknownModel
from bagnet.zoo.external import ExternalNetwork, open_classifier
from bagnet.zoo.fetch import DownloadFailed
from bagnet.zoo.networks import build

SMALL_RESNET = ExternalArchitecture("bagnet.zoo.comparison:small_resnet", 3, 1)


def test_a_network_by_its_import_path() -> None:
    network = build(SMALL_RESNET)
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_a_network_of_torchvision() -> None:
    network = build(ExternalArchitecture("torchvision:squeezenet1_1", 4)).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    with pytest.raises(ValueError, match="3 channels, not 1"):
        build(ExternalArchitecture("torchvision:squeezenet1_1", 4, 1))


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """timm, whose authors' weights are random ones."""
    package = pytest.importorskip("timm")
    create = package.create_model

    def random(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        network: nn.Module = create(name, **options)
        return network

    monkeypatch.setattr(package, "create_model", random)
    return package


def test_a_network_of_timm(timm: Any) -> None:
    assert build(ExternalArchitecture("timm:test_resnet", 5, 1)).eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 5)


def test_timm_with_its_authors_weights(timm: Any) -> None:
    """Preprocessing as timm has it: 224 / 0.95 = 235.8 is cut to 235."""
    model = open_classifier("timm:resnet18.a1_in1k")
    assert isinstance(model, ExternalNetwork)
    settings = timm.data.resolve_model_data_config(model.network)
    theirs = timm.data.create_transform(**settings, is_training=False)
    assert model.transform.resize == theirs.transforms[0].size
    assert model.transform.crop == settings["input_size"][1]
    assert (model.transform.mean, model.transform.std) == (settings["mean"], settings["std"])
    assert model.transform.interpolation == settings["interpolation"]
    assert model.classes == imagenet1k()
    assert model.card is not None
    assert (model.card.name, model.card.architecture) == ("resnet18.a1_in1k", ExternalArchitecture("timm:resnet18.a1_in1k"))
    assert not model.training


def test_torchvision_with_its_authors_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    create = torchvision.models.get_model
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights=None, **options: create(name, **options))
    model = open_classifier("torchvision:squeezenet1_1")
    assert model.transform == Preprocessing(256, 224, "bilinear")
    assert model.classes == imagenet1k()
    assert model.card is not None
    assert model.card.name == "squeezenet1_1.imagenet1k_v1"
    assert not model.training
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> nn.Module:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", fail)
    with pytest.raises(DownloadFailed, match=r"torchvision:resnet18: its weights cannot be fetched .*no route"):
        open_classifier("torchvision:resnet18")


def write_module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)


def test_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
from torch import nn
from bagnet.data.transforms import Preprocessing
def plain():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
def grey():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    network.preprocessing, network.classes = Preprocessing(32, 28, mean=(0.5,), std=(0.5,)), ["cat", "dog"]
    return network
"""
    write_module(tmp_path, "one_own", text, monkeypatch)
    model = open_classifier("one_own:plain")
    assert model.transform == Preprocessing()
    assert model.classes == ClassNames.numbered(2)
    model = open_classifier("one_own:grey")
    assert [str(entry) for entry in model.classes] == ["cat", "dog"]
    assert model.transform.crop == 28
    assert model.card is not None
    assert model.card.architecture == ExternalArchitecture("one_own:grey", 2, 1)


def test_what_is_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
from torch import nn
number = 3
def nothing():
    return 5
def maps():
    return nn.Conv2d(3, 5, 1)
def misnamed():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    network.classes = ["one"]
    return network
"""
    write_module(tmp_path, "no_network", text, monkeypatch)
    with pytest.raises(ValueError, match="returns a int, not a torch"):
        open_classifier("no_network:nothing")
    with pytest.raises(ValueError, match="one row of logits"):
        open_classifier("no_network:maps")
    with pytest.raises(ValueError, match="names 1 classes, its network has 2"):
        open_classifier("no_network:misnamed")
    for name in ("number", "nowhere"):
        with pytest.raises(UnknownModel, match=f"has no function {name}"):
            open_classifier(f"no_network:{name}")


def test_missing_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is misspelled is an unknown model; one that a known module needs is a missing library."""
    for name in ("nowhere:network", "bagnet.nowhere:network"):
        with pytest.raises(UnknownModel, match=rf"there is no module {name.split(':')[0]}.*PYTHONPATH"):
            open_classifier(name)
    write_module(tmp_path, "nowhere_near", "import nowhere", monkeypatch)
    with pytest.raises(ImportError, match="nowhere_near:network: cannot be imported: No module named 'nowhere'"):
        open_classifier("nowhere_near:network")


def test_a_module_with_a_mistake_says_so_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_module(tmp_path, "mistaken", "import torch\ntorch.no_such_thing", monkeypatch)
    with pytest.raises(AttributeError, match="no_such_thing"):
        open_classifier("mistaken:network")


@pytest.mark.parametrize("name", ["timm:", ":network", "torchvision:resnet1", "timm:resnet1", "resnet50", "none.safetensors"])
def test_unknown_names(name: str) -> None:
    if name.startswith("timm:r"):
        pytest.importorskip("timm")
    with pytest.raises(UnknownModel):
        open_classifier(name)
    with pytest.raises(UnknownModel):
        build(ExternalArchitecture(name))


def small_file(path: Path) -> ExternalNetwork:
    """A stored network with lively batch norms."""
    network = build(SMALL_RESNET)
    network(torch.randn(8, 1, 16, 16))
    card = Card(
        "small_resnet.test", SMALL_RESNET, ClassNames.from_words(["a", "b", "c"]), Preprocessing(16, 16, mean=(0.5,), std=(0.5,))
    )
    model = ExternalNetwork(network, card).eval()
    write(path, *storable(model))
    return model


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    model = small_file(path)
    read_back = open_classifier(path)
    assert isinstance(read_back, ExternalNetwork)
    assert model.card is not None
    assert read_back.card is not None
    assert replace(read_back.card, digest=None) == model.card
    assert not read_back.training
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(read_back(x), model(x))
    with pytest.raises(ValueError, match="is not a bag of windows"):
        bagnet.load(path)


def test_halves_are_read_back_as_float32(tmp_path: Path) -> None:
    model = small_file(tmp_path / "small.safetensors")
    write(tmp_path / "half.safetensors", *storable(model, half=True))
    read_back = open_classifier(tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in read_back.parameters()} == {torch.float32}
    x = torch.randn(2, 1, 16, 16)
    assert torch.allclose(read_back(x), model(x), atol=1e-2)


def test_a_file_with_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    model = small_file(path)
    state, card = storable(model)
    write(path, state, replace(card, architecture=ExternalArchitecture("bagnet.zoo.comparison:small_vgg", 3, 1)))
    with pytest.raises(BadCheckpoint, match=r"small\.safetensors: these are not weights of .*small_vgg"):
        open_classifier(path)


def test_bagnets_are_opened_as_ever(tmp_path: Path) -> None:
    model = bagnet.create(kernel3=(1, 1, 0, 0), width=2, layers=(1, 1, 1, 1), num_classes=3).eval()
    write(tmp_path / "bagnet.safetensors", *storable(model))
    x = torch.randn(1, 3, 24, 24)
    for path in (tmp_path / "bagnet.safetensors", str(tmp_path / "bagnet.safetensors")):
        read_back = open_classifier(path)
        assert isinstance(read_back, BagNet)
        logits: Tensor = read_back(x)
        assert torch.equal(logits, model(x))
    assert isinstance(open_classifier("bagnet25s4.tiny_in200"), BagNet)


def test_a_file_does_not_choose_which_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card may name any installed function; it runs where the user has trusted it by name, and not before."""
    text = "from bagnet.zoo.comparison import small_vgg\ndef build(**counts):\n    return small_vgg(**counts)\n"
    write_module(tmp_path, "some_code", text, monkeypatch)
    path = tmp_path / "small.safetensors"
    shape = ExternalArchitecture("some_code:build", 3, 1)
    card = small_file(path).card
    assert card is not None
    write(path, *storable(ExternalNetwork(build(shape), replace(card, architecture=shape))))
    sys.modules.pop("some_code")
    with pytest.raises(ValueError, match="its card says that some_code:build builds the network, which would run that code"):
        open_classifier(path)
    assert "some_code" not in sys.modules
    assert isinstance(open_classifier(path, trust=["some_code:build"]), ExternalNetwork)
