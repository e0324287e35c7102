"""`create` and `load`: names that tell the truth, keywords that adapt the weights, errors that say what there is instead."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import bagnet
from bagnet.card import Source
from bagnet.data.names import imagenet1k
from bagnet.data.transforms import IMAGENET_MEAN
from bagnet.model import BagNet
from bagnet.weights import BadCheckpoint, storable, write
from bagnet.zoo.catalogue import UnknownModel, published
from bagnet.zoo.load import create, load
from bagnet.zoo.names import DEFAULT

Small = Callable[..., BagNet]


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn((2, 3, 49, 57), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["bagnet9", "bagnet17", "bagnet33", "bagnet9_padded", "bagnet17_padded", "bagnet33_padded"])
def test_published_sizes_go_by_their_names(name: str) -> None:
    with torch.device("meta"):
        model = create(name)
    assert model.name == name
    assert model.geometry.stride == 8
    assert f"bagnet{model.geometry.size}" == name.removesuffix("_padded")
    assert model.architecture.padded == name.endswith("_padded")
    assert model.classes == imagenet1k()
    assert model.card is not None
    assert model.card.name == f"{name}.untrained"
    assert model.training  # as it is to be trained; `load` gives eval mode


def test_sibling_is_named_by_its_true_window_and_stride() -> None:
    assert create(kernel3=(1, 1, 1, 0), strides=(2, 2, 1, 1), width=32).name == "bagnet17s4"
    assert bagnet.create is create
    assert bagnet.load is load


def test_keywords_of_a_named_network() -> None:
    model = create("bagnet17", width=2, layers=(1, 1, 1, 1), classes=["cat", "dog"])
    assert model.name == "bagnet17"
    assert [str(entry) for entry in model.classes] == ["cat", "dog"]
    assert model.fc.out_features == 2
    assert len(create("bagnet9", width=2, num_classes=7).classes) == 7


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("bagnet34", {}, "no network is called 'bagnet34': there are bagnet9, bagnet17, bagnet33, bagnet9_padded"),
        ("bagnet33", {"strides": (2, 2, 1, 1)}, "with these fields bagnet33 would be bagnet25s4: leave the name out"),
        ("bagnet33", {"padded": True}, "with these fields bagnet33 would be bagnet33_padded: leave the name out"),
        ("bagnet9", {"kernel3": (1, 1, 1, 1)}, "with these fields bagnet9 would be bagnet33: leave the name out"),
        (None, {"widht": 3}, "a BagNet has no 'widht': the fields are classes, kernel3, strides, layers, width, padded"),
        (None, {"width": 0}, "width must be a whole number >= 1, got 0"),
        (None, {"classes": ["cat", "dog"], "num_classes": 3}, "num_classes=3, but 2 classes are named"),
        (None, {"classes": []}, "num_classes must be a whole number >= 1, got 0"),
    ],
)
def test_create_refuses(name: str | None, shape: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        create(name, **shape)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bagnet33.orig_in2k", "did you mean bagnet33.orig_in1k or "),
        ("bagnet33", "did you mean bagnet33.orig_in1k"),
        ("zzz", "there are "),
        ("folder/none.safetensors", "there are "),
    ],
)
def test_unknown_model(name: str, hint: str) -> None:
    with pytest.raises(
        UnknownModel, match=f"no model is called {re.escape(repr(name))}, and there is no such file; .*{hint}"
    ) as e:
        load(name)
    assert "\n" not in str(e.value)


def test_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"is a folder without model\.safetensors; name a file"):
        load(tmp_path)


@pytest.mark.parametrize("padded", [False, True])
@torch.inference_mode()
def test_converted_file_gives_the_same_logits_bit_for_bit(
    small: Small, tmp_path: Path, image: torch.Tensor, padded: bool
) -> None:
    model = small(padded=padded, strides=(2, 2, 1, 1))
    tensors, card = storable(model)
    write(tmp_path / "x.safetensors", tensors, card)
    read_back = load(tmp_path / "x.safetensors")
    assert torch.equal(read_back(image), model(image))
    assert read_back.card == card
    assert read_back.architecture == model.architecture
    assert not read_back.training
    assert storable(read_back)[1].digest == card.digest


@torch.inference_mode()
def test_bare_checkpoint_is_recognised_and_its_card_says_what_is_assumed(
    small: Small, tmp_path: Path, image: torch.Tensor
) -> None:
    model = small(strides=(2, 2, 1, 1))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "mine.pth.tar")
    read_back = load(tmp_path / "mine.pth.tar", strides=(2, 2, 1, 1))
    assert torch.equal(read_back(image), model(image))
    assert read_back.card is not None
    assert read_back.card.name == "bagnet25s4.mine"
    assert read_back.card.licence == "unknown"
    assert "mine.pth.tar" in read_back.card.notes


@pytest.mark.parametrize("name", ["b.pt", "b.safetensors"])
def test_bare_weights_of_unknown_strides_are_refused(small: Small, tmp_path: Path, name: str) -> None:
    """Those of the bundled network came back as BagNet-33, with other logits."""
    from safetensors.torch import save_file

    model = load("bagnet25s4.tiny_in200")
    (save_file if name.endswith("safetensors") else torch.save)(model.state_dict(), tmp_path / name)
    with pytest.raises(BadCheckpoint, match=r"in which strides leave no trace: say which, strides=.*model\.save\(path\)"):
        load(tmp_path / name)
    again = load(tmp_path / name, strides=model.architecture.strides)
    x = torch.randn(1, 3, 61, 61)
    assert torch.equal(again(x), model(x))


@torch.inference_mode()
def test_a_saved_model_comes_back_whole(small: Small, tmp_path: Path, image: torch.Tensor) -> None:
    model = small(strides=(2, 2, 1, 1), classes=["cat", "dog"], num_classes=2)
    model.save(tmp_path / "mine.safetensors")
    again = load(tmp_path / "mine.safetensors")
    assert torch.equal(again(image), model(image))
    assert (again.name, again.classes, again.transform) == (model.name, model.classes, model.transform)
    with pytest.raises(ValueError, match=r"mine\.pt: weights with their card go into a file that ends in \.safetensors"):
        model.save(tmp_path / "mine.pt")


def test_published_weights_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the file is called."""
    with torch.device("meta"):
        shape = create("bagnet9").state_dict()
    torch.save({key: torch.zeros(value.shape, dtype=value.dtype) for key, value in shape.items()}, tmp_path / "renamed.pt")
    content = (tmp_path / "renamed.pt").read_bytes()
    card = published()["bagnet9.orig_in1k"]
    known = replace(card, source=Source("https://example.org/bagnet8.pth.tar", sha256=hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr("bagnet.zoo.catalogue.published", lambda: {card.name: known})
    loaded = load(tmp_path / "renamed.pt")
    assert loaded.card is not None
    assert loaded.card.name == "bagnet9.orig_in1k"


def test_strides_are_not_for_a_file_that_has_a_card(stored: Path) -> None:
    assert load(stored, strides=(2, 2, 2, 1)).name == "bagnet17"
    with pytest.raises(ValueError, match=r"its card says what it is, bagnet17: leave strides=\(2, 2, 1, 1\) out"):
        load(stored, strides=(2, 2, 1, 1))


@torch.inference_mode()
def test_another_number_of_classes_gives_a_new_head_on_the_same_features(stored: Path, image: torch.Tensor) -> None:
    old, new = load(stored), load(stored, num_classes=3)
    assert torch.equal(new.features(image), old.features(image))
    assert new(image).shape == (2, 3)
    assert [str(entry) for entry in new.classes] == ["class 0", "class 1", "class 2"]
    assert new.card is not None
    assert old.card is not None
    assert new.card.digest is None  # the card's digest was of other tensors
    assert new.card.scores == ()
    assert new.card.name == "bagnet17.untrained-newhead"
    assert "Made from bagnet17.untrained" in new.card.notes
    assert new.card.preprocessing == old.card.preprocessing


@torch.inference_mode()
def test_names_for_the_same_number_of_classes_keep_the_head(stored: Path, image: torch.Tensor) -> None:
    words = ["cat", "dog", "cow", "owl", "elk"]
    model = load(stored, classes=words)
    assert torch.equal(model(image), load(stored)(image))
    assert [str(entry) for entry in model.classes] == words
    assert [str(entry) for entry in load(stored, classes=["cat", "dog"]).classes] == ["cat", "dog"]
    assert model.card is not None
    assert model.card.name == "bagnet17.untrained-renamed"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number >= 1, got 0"),
        ({"in_channels": 0}, "in_channels must be a whole number >= 1, got 0"),
        ({"num_classes": 3, "classes": ["cat"]}, "num_classes=3, but 1 classes are named"),
        ({"classes": []}, "num_classes must be a whole number >= 1, got 0"),
    ],
)
def test_load_refuses(stored: Path, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        load(stored, **keywords)


@torch.inference_mode()
def test_one_channel_answers_to_grey_as_three_do(stored: Path, image: torch.Tensor) -> None:
    three, single = load(stored), load(stored, in_channels=1)
    grey = image[:, :1]
    torch.testing.assert_close(single(grey), three(grey.expand(-1, 3, -1, -1)), rtol=1e-5, atol=1e-6)
    assert single.card is not None
    assert single.transform.mean == (pytest.approx(sum(IMAGENET_MEAN) / 3),)
    assert torch.equal(single.fc.weight, three.fc.weight)


def test_more_channels_repeat_the_first_convolution_scaled(stored: Path) -> None:
    three, four = load(stored), load(stored, in_channels=4)
    expected = three.conv1.weight[:, [0, 1, 2, 0]] * 0.75
    assert torch.equal(four.conv1.weight, expected)
    assert torch.equal(load(stored, in_channels=3).conv1.weight, three.conv1.weight)
    assert len(four.transform.mean) == 4
    assert four.card is not None
    assert four.card.architecture.in_channels == 4


@torch.inference_mode()
def test_from_one_channel_to_three_answers_alike(small: Small, tmp_path: Path, image: torch.Tensor) -> None:
    write(tmp_path / "grey.safetensors", *storable(small(in_channels=1)))
    grey = image[:, :1]
    single, three = load(tmp_path / "grey.safetensors"), load(tmp_path / "grey.safetensors", in_channels=3)
    torch.testing.assert_close(three(grey.expand(-1, 3, -1, -1)), single(grey), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", ["name", "path"])
@torch.inference_mode()
def test_published_weights_by_name_and_by_path(publication: Path, way: str, small: Small, image: torch.Tensor) -> None:
    model = load("bagnet33.small" if way == "name" else publication)
    expected, state = small(), torch.load(publication, weights_only=True)["state_dict"]
    expected.load_state_dict({key.removeprefix("module."): value for key, value in state.items()}, strict=False)
    assert torch.equal(model(image), expected(image))
    assert model.card is not None
    assert model.card.name == "bagnet33.small"
    assert model.card.licence == "MIT"
    assert model.card.source_sha256 == hashlib.sha256(publication.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["bagnet9s4.tiny_in200", "bagnet33.orig_in1k", DEFAULT])
def test_strides_that_a_named_model_has_not(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: its card says what it is, .*: leave strides=\(2, 2, 2, 2\) out"):
        load(name, strides=(2, 2, 2, 2))
