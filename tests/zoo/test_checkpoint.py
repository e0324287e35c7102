"""Reading weights: every published form loads, anything else is refused in one line, and nothing in a file ever runs."""

from __future__ import annotations

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from bagnet.architecture import PUBLISHED_SHAPES
from bagnet.model import BagNet
from bagnet.weights import BadCheckpoint, State, storable, write
from bagnet.zoo.catalogue import published
from bagnet.zoo.checkpoint import architecture_of, load_strictly, read
from bagnet.zoo.fetch import WrongFile
from bagnet.zoo.load import create, load

Small = Callable[..., BagNet]


class Malicious:
    """Unpickled by a careless reader, it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.fixture
def model(small: Small) -> BagNet:
    return small()


@pytest.fixture
def state(model: BagNet) -> State:
    return dict(model.state_dict())


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "ordered": OrderedDict,
    "state_dict": lambda state: {"epoch": 90, "arch": "bagnet33", "state_dict": state, "best_prec1": torch.tensor(66.7)},
    "module": lambda state: prefixed(state, "module."),
    "module in state_dict": lambda state: {"state_dict": prefixed(state, "module.")},
    "model": lambda state: {"model": state, "step": 3},
    "lightning": lambda state: {"state_dict": prefixed(state, "model."), "hyper_parameters": {"lr": 0.1}},
    "parallel in lightning": lambda state: {"state_dict": prefixed(state, "module.model.")},
    "an attribute in lightning": lambda state: {"state_dict": prefixed(state, "system.network.")},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
def test_every_wrapping_of_a_torch_checkpoint_reads_the_same(
    state: State, tmp_path: Path, wrap: Callable[[State], Any], zipped: bool
) -> None:
    torch.save(wrap(state), tmp_path / "weights.pth.tar", _use_new_zipfile_serialization=zipped)
    found, card = read(tmp_path / "weights.pth.tar")
    assert same(found, state)
    assert card is None


def test_parameters_of_a_trained_module_read_too(model: BagNet, tmp_path: Path) -> None:
    torch.save(model.state_dict(keep_vars=True), tmp_path / "weights.pt")
    load_strictly(read(tmp_path / "weights.pt")[0], model, "weights.pt")


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_safetensors_without_a_card_is_known_by_its_content(state: State, tmp_path: Path, name: str) -> None:
    save_file(prefixed(state, "module."), tmp_path / name)
    found, card = read(tmp_path / name)
    assert same(found, state)
    assert card is None


def test_safetensors_with_its_card(model: BagNet, tmp_path: Path) -> None:
    tensors, card = storable(model)
    write(tmp_path / "new folder" / "weights.safetensors", tensors, card)
    found, found_card = read(tmp_path / "new folder" / "weights.safetensors")
    assert same(found, tensors)
    assert found_card == card
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["weights.safetensors"]


def test_old_checkpoint_lacks_the_batch_counts(model: BagNet, state: State, small: Small) -> None:
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    other = small(num_classes=5)
    torch.nn.init.zeros_(other.conv1.weight)
    load_strictly(old, other, "old")
    assert same({**other.state_dict()}, state)


@pytest.mark.parametrize("form", ["zip", "legacy", "nested", *(f"raw pickle {protocol}" for protocol in range(6))])
def test_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, state: State, form: str) -> None:
    path, trace = tmp_path / "weights.pth.tar", tmp_path / "trace"
    content = {**state, "fc.bias": Malicious(trace)}
    if form == "nested":
        torch.save({"state_dict": state, "optimizer": [{"more": Malicious(trace)}]}, path)
    elif form.startswith("raw"):
        path.write_bytes(pickle.dumps({"fc.bias": Malicious(trace)}, protocol=int(form[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(BadCheckpoint) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    if form not in ("raw pickle 0", "raw pickle 1"):  # those begin as any text may
        assert "refused, it holds more than tensors and could run code" in str(caught.value)
    # The trap works: opened carelessly, it leaves its trace.
    if form == "raw pickle 4":
        pickle.loads(path.read_bytes())
        assert trace.exists()


def test_whole_module_is_refused(model: BagNet, tmp_path: Path) -> None:
    torch.save(model, tmp_path / "model.pt")
    with pytest.raises(BadCheckpoint, match=r"model\.pt: refused, .* save its state_dict alone"):
        read(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hello there, this is a text\n" * 9, b"<html><body>404 Not Found</body></html>", b"PK", b"\x80\x02", bytes(99)],
    ids=["empty", "line feed", "text", "page", "PK", "0x80", "zeros"],
)
def test_what_is_no_file_of_weights(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "could run code" not in message
    assert "()" not in message
    assert ("is empty" in message) == (content == b"")


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_at_any_place(tmp_path: Path, model: BagNet, form: str) -> None:
    small_state = {"fc.bias": model.fc.bias.detach(), "fc.weight": model.fc.weight.detach()[:, :4].clone()}
    path, cut = tmp_path / "whole", tmp_path / "cut"
    if form == "safetensors":
        save_file(small_state, path)
    else:
        torch.save(small_state, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    assert same(read(path)[0], small_state)
    for length in range(0, len(whole) - 1, 5 if form == "legacy" else 31):
        cut.write_bytes(whole[:length])
        with pytest.raises(BadCheckpoint) as caught:
            read(cut)
        assert str(caught.value).startswith(f"{cut}: ")
        assert "\n" not in str(caught.value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), form=st.sampled_from(["zip", "legacy", "safetensors"]))
def test_damaged_byte_gives_a_state_or_the_one_error(tmp_path: Path, place: float, byte: int, form: str) -> None:
    path = tmp_path / "damaged"
    tensors = {"a": torch.arange(3.0), "b": torch.arange(2)}
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = byte
    path.write_bytes(content)
    refusal = ""
    try:
        assert all(isinstance(value, torch.Tensor) for value in read(path)[0].values())
    except BadCheckpoint as error:
        refusal = str(error)
    assert not refusal or (refusal.startswith(f"{path}: ") and "\n" not in refusal)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2, 3], "holds a list, not a state dict"),
        (torch.zeros(3), "holds a Tensor, not a state dict"),
        ({}, "holds a dict, not a state dict"),
        ({"state_dict": {}}, "holds a dict, not a state dict"),
        ({"epoch": 3, "lr": 0.1}, "not a state dict, 'epoch' is no named tensor"),
        ({0: torch.zeros(3)}, "not a state dict, 0 is no named tensor"),
    ],
)
def test_pickle_of_something_else(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(BadCheckpoint, match=re.escape(f"x.pt: {message}")):
        read(tmp_path / "x.pt")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pt: there is no such file"):
        read(tmp_path / "none.pt")


def test_weights_of_another_network_are_refused_with_the_first_differing_names(model: BagNet, small: Small) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    padded = small(padded=True).state_dict()
    with pytest.raises(
        BadCheckpoint, match=r"^x\.pt: these are not weights of bagnet33; missing: conv2\.weight; other shape: conv1"
    ):
        load_strictly(padded, model, "x.pt")
    deeper = small(layers=(2, 1, 1, 1)).state_dict()
    with pytest.raises(
        BadCheckpoint, match=r"not known: layer1\.1\.conv1\.weight, layer1\.1\.bn1\.weight, layer1\.1\.bn1\.bias, \.\.\.$"
    ):
        load_strictly(deeper, model, "x.pt")
    with pytest.raises(
        BadCheckpoint, match=r"other shape: fc\.weight is \[7, 128\], not \[5, 128\], fc\.bias is \[7\], not \[5\]$"
    ):
        load_strictly(small(num_classes=7).state_dict(), model, "x.pt")
    with pytest.raises(BadCheckpoint, match=r"missing: conv1\.weight, conv2\.weight, bn1\.weight, \.\.\.; not known: a$"):
        load_strictly({"a": torch.zeros(1)}, model, "x.pt")
    assert same(dict(model.state_dict()), before)


def test_only_batch_counts_may_be_missing(model: BagNet, state: State) -> None:
    del state["layer2.0.bn2.running_var"]
    with pytest.raises(BadCheckpoint, match=r"missing: layer2\.0\.bn2\.running_var$"):
        load_strictly(state, model, "x.pt")


def test_checkpoint_of_another_kind_of_network_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3, 3), "features.0.bias": torch.zeros(3)}, tmp_path / "vgg.pt")
    with pytest.raises(
        BadCheckpoint, match=r"vgg\.pt: not the weights of a BagNet .*begin features\.0\.weight, features\.0\.bias"
    ):
        load(tmp_path / "vgg.pt")


def test_ordinary_resnet_is_refused_by_its_stem(tmp_path: Path, small: Small) -> None:
    """A ResNet-50 has all the names of a padded BagNet; its 7x7 stem tells it."""
    torch.save({**small(padded=True).state_dict(), "conv1.weight": torch.zeros(4, 3, 7, 7)}, tmp_path / "resnet.pt")
    with pytest.raises(BadCheckpoint, match=r"resnet\.pt: not the weights of a BagNet .conv1\.weight is \[4, 3, 7, 7\]"):
        load(tmp_path / "resnet.pt")


def test_architecture_is_read_from_the_shapes(sibling: BagNet) -> None:
    found = architecture_of(sibling.state_dict(), "x.pt", sibling.architecture.strides)
    assert found == sibling.architecture


def test_strides_leave_no_trace_and_are_known_of_published_shapes_alone(small: Small) -> None:
    with torch.device("meta"):
        assert architecture_of(create("bagnet17").state_dict(), "x.pt") == PUBLISHED_SHAPES["bagnet17"]
        five_classes = create("bagnet17", num_classes=5).state_dict()
    for state in (small(strides=(2, 2, 1, 1)).state_dict(), small().state_dict(), five_classes):
        with pytest.raises(BadCheckpoint, match="say which, strides="):
            architecture_of(state, "x.pt")


@pytest.mark.parametrize("name", [name for name in published() if name.endswith("orig_in1k")])
def test_published_file_name_is_held_to_its_hash_before_anything_is_unpickled(tmp_path: Path, name: str) -> None:
    source = published()[name].source
    assert source is not None
    path, trace = tmp_path / source.url.rsplit("/", 1)[-1], tmp_path / "trace"
    path.write_bytes(pickle.dumps(Malicious(trace)))  # reading it at all would be another error
    with pytest.raises(WrongFile, match=re.escape(str(path))):
        load(path)
    assert not trace.exists()


def test_tensors_that_do_not_match_the_digest_on_their_card(model: BagNet, tmp_path: Path) -> None:
    tensors, card = storable(model)
    path = tmp_path / "weights.safetensors"
    write(path, tensors, card)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"weights\.safetensors: its tensors have digest \w{16}\.\.\., its card says \w{16}"):
        read(path)


@pytest.mark.parametrize("card", ["", "{", "[]", "null", "{}", '{"name": 3}', "[" * 100_000])
def test_safetensors_with_a_bad_card(state: State, tmp_path: Path, card: str) -> None:
    save_file(state, tmp_path / "x.safetensors", {"bagnet.card": card})
    with pytest.raises(BadCheckpoint, match=r"x\.safetensors: not a card: "):
        read(tmp_path / "x.safetensors")


def test_existing_file_survives_a_failed_write(model: BagNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"what was there")

    def full(part: Path, content: bytes) -> None:
        with part.open("wb") as file:
            file.write(content[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"weights\.safetensors: cannot be written .*No space left"):
        write(path, *storable(model))
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["file/weights.safetensors", "file/folder/weights.safetensors", "folder.safetensors"])
def test_place_that_cannot_be_written(model: BagNet, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OSError, match=f"{place}: cannot be written"):
        write(tmp_path / place, *storable(model))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.safetensors"]


@pytest.mark.parametrize(
    ("bend", "reason"),
    [
        (lambda tensor: tensor.to(torch.complex64), "no plain tensor"),
        (lambda tensor: tensor.to_sparse(), "no plain tensor"),
        (lambda tensor: tensor.int(), "expected torch.float32"),
        (lambda tensor: tensor * torch.nan, "not finite"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    model: BagNet, bend: Callable[[torch.Tensor], torch.Tensor], reason: str
) -> None:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state["fc.weight"] = bend(state["fc.weight"])
    with pytest.raises(BadCheckpoint, match=reason):
        load_strictly(state, model, "file.pth")
