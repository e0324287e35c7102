"""What is said of a file of weights is what was checked, and a wrong file is refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.weights import BadCheckpoint, storable, write
from bagnet.zoo.catalogue import UnknownModel, card_at
from bagnet.zoo.external import ExternalNetwork
from bagnet.zoo.fetch import WrongFile
from bagnet.zoo.load import load
from bagnet.zoo.networks import build
from bagnet.zoo.verify import verify

Small = Callable[..., BagNet]


@pytest.mark.parametrize("way", ["name", "path"])
def test_verify_a_published_file(publication: Path, way: str) -> None:
    result = verify("bagnet33.small" if way == "name" else str(publication))
    assert result.name == "bagnet33.small"
    assert "as published (sha256, only the first 32 bits)" in result.checks[0]
    assert hashlib.sha256(publication.read_bytes()).hexdigest() in result.checks[0]


@pytest.mark.parametrize("way", ["name", "path"])
def test_damaged_published_file_is_refused_either_way(publication: Path, way: str) -> None:
    publication.write_bytes(publication.read_bytes()[:-1])
    name = "bagnet33.small" if way == "name" else str(publication)
    for use in (load, verify) if way == "name" else (load, verify, card_at):
        with pytest.raises(WrongFile, match=re.escape(f"{publication}: is not the published file, its sha256 begins ")):
            use(name)


def test_verify_a_converted_file(stored: Path) -> None:
    result = verify(str(stored))
    model = load(stored)
    assert model.card is not None
    assert (result.name, result.digest) == (model.card.name, model.card.digest)
    assert "the digest on the card inside" in result.checks[1]
    with pytest.raises(UnknownModel):
        verify("none.safetensors")


def test_a_file_without_a_card_or_digest_says_so(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    monkeypatch.setattr("bagnet.zoo.checkpoint.PUBLISHED_SHAPES", {"small": model.architecture})
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    bare = verify(str(tmp_path / "bare.pth"))
    assert bare.name == "bagnet33.bare"
    assert bare.digest == model.weights_digest
    assert bare.checks == (
        f"file: sha256 {hashlib.sha256((tmp_path / 'bare.pth').read_bytes()).hexdigest()}",
        "tensors: no card inside, so there is nothing to compare their digest with",
        f"network: bagnet33, strict loading of {len(model.state_dict())} tensors",
    )


def test_tensors_that_are_not_those_of_the_card(small: Small, tmp_path: Path) -> None:
    state, card = storable(small())
    write(tmp_path / "wrong.safetensors", {**state, "fc.bias": state["fc.bias"] + 1}, card)
    with pytest.raises(BadCheckpoint, match=r"wrong\.safetensors"):
        verify(str(tmp_path / "wrong.safetensors"))


def test_another_network_is_verified_where_its_code_is_trusted(tmp_path: Path) -> None:
    shape = ExternalArchitecture("bagnet.zoo.comparison:small_resnet", 3, 1)
    card = Card("small_resnet.test", shape, ClassNames.numbered(3), Preprocessing(16, 16, mean=(0.5,), std=(0.5,)))
    path = tmp_path / "small.safetensors"
    state, card = storable(ExternalNetwork(build(shape), card))
    write(path, state, card)
    result = verify(str(path))
    assert (result.name, result.digest) == ("small_resnet.test", card.digest)
    assert result.checks[2] == f"network: small_resnet, strict loading of {len(state)} tensors"
    code = replace(card, architecture=ExternalArchitecture("tests.zoo.nowhere:build", 3, 1))
    write(path, state, code)
    with pytest.raises(ValueError, match=r"its card says that tests\.zoo\.nowhere:build builds the network"):
        verify(str(path))
    with pytest.raises(UnknownModel, match=r"there is no module tests\.zoo\.nowhere"):
        verify(str(path), trust=["tests.zoo.nowhere:build"])
