"""Files of weights that others wrote: read without running them, recognised by their shapes, loaded strictly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ..architecture import PUBLISHED_SHAPES, Architecture
from ..bag import BagOfFeatures
from ..card import Card
from ..weights import BadCheckpoint, State, read_safetensors

_FIRST = "conv1.weight"
_WRAPPERS = ("state_dict", "model", "model_state_dict", "net")


def read(path: Path) -> tuple[State, Card | None]:
    """The tensors of a safetensors file or a torch checkpoint, under their plain names, and the card where there is one.

    A torch checkpoint is unpickled with `weights_only` and nothing else: one that would run code is refused.

    Raises:
        FileNotFoundError: there is no such file.
        BadCheckpoint: it cannot be read, is no state dict, or does not match the digest on its own card.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    with path.open("rb") as file:
        head = file.read(9)
    if not head:
        raise BadCheckpoint(f"{path}: is empty; fetch or copy it again")
    if path.suffix == ".safetensors" or head[8:] == b"{":  # the length of the header, then the header, which is JSON
        state, card = read_safetensors(path)
        return (_plain(state, path) if card is None else state), card
    if not head.startswith((b"PK\x03\x04", b"\x80")):  # torch writes nothing else, and a text or a web page is no pickle
        raise BadCheckpoint(f"{path}: is no file of weights, neither safetensors nor a torch checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and archives that are refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise BadCheckpoint(
            f"{path}: refused, it holds more than tensors and could run code when opened; save its state_dict alone"
        ) from None
    except Exception as error:  # on damaged bytes torch raises whatever its parser stumbles over
        reason = (str(error).splitlines() or [""])[0][:200] if isinstance(error, RuntimeError) else ""
        raise BadCheckpoint(
            f"{path}: not a file of weights, or incomplete{f' ({reason})' if reason else ''}; fetch or copy it again"
        ) from None
    return _plain(content, path), None


def load_strictly(state: Mapping[str, Tensor], model: BagOfFeatures, name: str) -> None:
    """Load weights into a network, strictly. Only `num_batches_tracked`, which old files lack, may be missing.

    Raises:
        BadCheckpoint: names or shapes differ; the message has the first of them. The network is unchanged.
    """
    expected = model.state_dict()
    filled = {key: value for key, value in expected.items() if key.endswith("num_batches_tracked")} | dict(state)
    missing = [key for key in expected if key not in filled]
    surplus = [key for key in filled if key not in expected]
    shapes = [
        f"{key} is {list(filled[key].shape)}, not {list(expected[key].shape)}"
        for key in expected
        if key in filled and filled[key].shape != expected[key].shape
    ]
    differences = [
        f"{title} {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for title, names in (("missing:", missing), ("not known:", surplus), ("other shape:", shapes))
        if names
    ]
    if differences:
        raise BadCheckpoint(f"{name}: these are not weights of {model.name}; {'; '.join(differences)}")
    for key, value in filled.items():
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise BadCheckpoint(f"{name}: {key} is no plain tensor of numbers ({value.layout}, {value.dtype})")
        if expected[key].is_floating_point() != value.is_floating_point():
            raise BadCheckpoint(f"{name}: {key} is {value.dtype}, expected {expected[key].dtype}")
        if not torch.isfinite(value).all():
            raise BadCheckpoint(f"{name}: {key} holds numbers that are not finite")
    model.load_state_dict(filled)


def architecture_of(state: Mapping[str, Tensor], name: str, strides: tuple[int, int, int, int] | None = None) -> Architecture:
    """The shape of the network that a state dict belongs to.

    Strides leave no trace in weights. Where they are not given, they are known of the published networks alone: those of
    ImageNet's 1000 classes, in the published shapes.

    Raises:
        BadCheckpoint: these are not weights of a BagNet, or their strides are not known.
    """
    shape = _shape_of(state, name, strides or Architecture().strides)
    if strides is None and shape not in PUBLISHED_SHAPES.values():
        raise BadCheckpoint(
            f"{name}: holds weights without a card, in which strides leave no trace: say which, strides=(2, 2, 2, 1) for the "
            "published ones, or have model.save(path) write the card, too"
        )
    return shape


def _shape_of(state: Mapping[str, Tensor], name: str, strides: tuple[int, int, int, int]) -> Architecture:
    try:
        stages = [sorted({int(k.split(".")[1]) for k in state if k.startswith(f"layer{i}.")}) for i in range(1, 5)]
        kernel3 = [
            sum(state[f"layer{i + 1}.{block}.conv2.weight"].shape[-1] == 3 for block in stage) for i, stage in enumerate(stages)
        ]
        stem = 3 if "conv2.weight" not in state else 1
        if state["conv1.weight"].shape[2:] != (stem, stem):
            raise ValueError(f"conv1.weight is {list(state['conv1.weight'].shape)}")
        return Architecture(
            kernel3=tuple(kernel3),  # type: ignore[arg-type]
            strides=strides,
            layers=tuple(len(stage) for stage in stages),  # type: ignore[arg-type]
            width=state["conv1.weight"].shape[0],
            padded="conv2.weight" not in state,
            in_channels=state["conv1.weight"].shape[1],
            num_classes=state["fc.weight"].shape[0],
        )
    except (KeyError, ValueError, IndexError) as error:
        first = ", ".join(list(state)[:3])
        raise BadCheckpoint(f"{name}: not the weights of a BagNet ({error}); its tensors begin {first}") from None


def _plain(content: Any, path: Path) -> State:
    """The state dict inside a checkpoint, without the wrappers and prefixes that training scripts put around it."""
    if isinstance(content, dict):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), dict):
                content = content[wrapper]
                break
    if not isinstance(content, dict) or not content:
        raise BadCheckpoint(f"{path}: holds a {type(content).__name__}, not a state dict")
    strange = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strange:
        raise BadCheckpoint(f"{path}: not a state dict, {strange[0]!r} is no named tensor")
    # "module." of DistributedDataParallel, "network." of a Lightning module's attribute: whatever comes before the first layer
    prefix = min((key.removesuffix(_FIRST) for key in content if key.endswith(_FIRST)), key=len, default="")
    whole = all(key.startswith(prefix) for key in content)
    return {key.removeprefix(prefix): value for key, value in content.items()} if whole else dict(content)
