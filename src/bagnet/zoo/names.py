"""Names of the weights that this package knows, from its files without opening any: to name a model takes no torch."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

DEFAULT = "windowed128s64.efficientnet_lite0_in1k"
_PACKAGE = resources.files(__package__)


def full_name(name: str) -> str:
    """What "default" stands for; any other name as it is."""
    return DEFAULT if name == "default" else name


@cache
def bundled() -> dict[str, Path]:
    """Files of the weights inside the package, by the name of the models that they make."""
    folder = Path(str(_PACKAGE / "weights"))
    files = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    shared = {name: files[record["weights"]] for name, record in variants().items()}
    return {DEFAULT: files[DEFAULT], **shared, **files}


@cache
def variants() -> dict[str, dict[str, Any]]:
    """By their name, the windowed networks that see other windows with the weights of another: window, stride, scale."""
    return tomllib.loads((_PACKAGE / "variants.toml").read_text(encoding="utf-8"))


@cache
def published_records() -> dict[str, dict[str, Any]]:
    """What is known of the published weights, as `Card.from_dict` takes it, by name: architecture.tag."""
    table = tomllib.loads((_PACKAGE / "published.toml").read_text(encoding="utf-8"))
    defaults = table.pop("defaults")
    return {
        f"{architecture}.{tag}": {**defaults, **record, "name": f"{architecture}.{tag}"}
        for architecture, tags in table.items()
        for tag, record in tags.items()
    }


def model_names() -> list[str]:
    """All of them, those in the package first."""
    return [*bundled(), *published_records()]


def published_sizes() -> list[str]:
    """The architectures of which weights are published."""
    return list(dict.fromkeys(name.partition(".")[0] for name in published_records()))
