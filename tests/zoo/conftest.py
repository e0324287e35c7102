"""Files of weights, for the tests of this room."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bagnet.card import Source
from bagnet.model import BagNet
from bagnet.weights import storable, write

Small = Callable[..., BagNet]


@pytest.fixture
def stored(small: Small, tmp_path: Path) -> Path:
    """A small converted network with 5 classes, windows of 17 px."""
    path = tmp_path / "stored.safetensors"
    write(path, *storable(small(kernel3=(1, 1, 1, 0))))
    return path


@pytest.fixture
def publication(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that lies in the cache as one of a small network published with all that the real ones lack and have."""
    model = small()
    old = {f"module.{key}": value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    path = tmp_path / "cache" / "small-00000000.pth.tar"
    path.parent.mkdir()
    torch.save({"state_dict": old}, path, _use_new_zipfile_serialization=False)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.card is not None
    source = Source("http://127.0.0.1:9/small-00000000.pth.tar", sha256=sha256[:8])
    card = replace(model.card, name="bagnet33.small", source=source, licence="MIT")
    for room in ("catalogue", "load", "verify"):
        monkeypatch.setattr(f"bagnet.zoo.{room}.published", lambda: {"bagnet33.small": card})
    monkeypatch.setenv("BAGNET_CACHE", str(path.parent))
    return path
