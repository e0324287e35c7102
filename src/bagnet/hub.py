"""Models as folders of the Hugging Face hub: weights, card, and what timm's and transformers' loaders ask for.

A folder holds `model.safetensors`, as `model.save` writes it, with the card inside; `card.json`, the same card for people and
programs that open no weights; `config.json`, by which `timm.create_model` and transformers build the network after
`import bagnet.timm`; and `README.md`, the hub's page on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from .architecture import Architecture
from .card import Card
from .files import replacing
from .weights import BadCheckpoint, WithCard, storable, write

PREFIX = "hf-hub:"
WEIGHTS, CARD, CONFIGURATION, README = "model.safetensors", "card.json", "config.json", "README.md"


class NotOnTheHub(RuntimeError):
    """The hub has no such repository or file, or cannot be reached."""


class Described(WithCard, Protocol):
    """A network that says what it is, and what timm's tools ask of it."""

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """As timm has it."""

    @property
    def num_features(self) -> int:
        """Channels of the bag of features."""


def save_folder(model: Described, folder: str | PathLike[str]) -> Path:
    """Write a model as a folder; each file wholly or not at all.

    Raises:
        ValueError: the model has no card.
        NotWritten: a file cannot be written.
    """
    out = Path(fspath(folder))
    state, card = storable(model)
    write(out / WEIGHTS, state, card)
    texts = {CARD: card.to_json(), CONFIGURATION: json.dumps(configuration(model, card), indent=1), README: page(card)}
    for name, text in texts.items():
        with replacing(out / name) as part:
            part.write_text(text + "\n", encoding="utf-8")
    return out


def push(model: Described, repository: str, private: bool = False, token: str | None = None) -> str:
    """Write a model to a repository of the hub, which is made where there is none.

    Returns:
        its address.

    Raises:
        NotOnTheHub: the hub refuses, or cannot be reached.
        ValueError: the model has no card, or the name is no repository's.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with TemporaryDirectory() as folder:
        save_folder(model, folder)
        api = HfApi(token=token)
        try:
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Weights, card and configuration")
        except HFValidationError as error:
            raise ValueError(f"{repository}: {_line(error)}") from None
        except (HfHubHTTPError, OSError, RuntimeError) as error:
            raise NotOnTheHub(f"{repository}: {_line(error)}") from None
    return str(address)


def fetched(name: str) -> Path:
    """The file of weights of "hf-hub:user/repo" or "hf-hub:user/repo@revision", from the hub's cache or from the hub.

    Raises:
        NotOnTheHub: there is no such repository or file, or the hub cannot be reached.
        ValueError: it is no repository's name.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        return Path(hf_hub_download(repository, WEIGHTS, revision=revision or None))
    except HFValidationError as error:
        raise ValueError(f"{name}: {_line(error)}") from None
    except LocalEntryNotFoundError:
        raise NotOnTheHub(f"{name}: is not in the cache, and the hub cannot be reached") from None
    except EntryNotFoundError:
        raise NotOnTheHub(f"{name}: has no {WEIGHTS}: nobody has pushed a model of ours there") from None
    except (HfHubHTTPError, OSError) as error:
        raise NotOnTheHub(f"{name}: {_line(error)}") from None


def in_folder(folder: Path) -> Path:
    """The file of weights in a folder that `save_folder` wrote. IsADirectoryError: it is another folder."""
    if not (folder / WEIGHTS).is_file():
        raise IsADirectoryError(f"{folder}: is a folder without {WEIGHTS}; name a file of weights in it")
    return folder / WEIGHTS


def check_card(card: Card | None, name: str) -> None:
    """BadCheckpoint: what came from the hub has no card of ours, so that nobody can say what its weights are."""
    if card is None:
        raise BadCheckpoint(
            f"{name}: its {WEIGHTS} has no card of bagnet's: fetch the file, and load that with strides= and what else it needs"
        )


def configuration(model: Described, card: Card) -> Mapping[str, Any]:
    """`config.json`, as timm writes it: the entry of `bagnet.timm` that builds the network, and its fields."""
    shape = card.local.to_dict()
    entry = "bagnet" if isinstance(card.architecture, Architecture) else "windowed"
    built = {"num_classes", "in_channels"}  # timm has words of its own for these
    return {
        "architecture": entry,
        "num_classes": shape["num_classes"],
        "num_features": model.num_features,
        "global_pool": "avg",
        "model_args": {name: value for name, value in shape.items() if name not in built},
        "label_names": [str(name) for name in card.classes],
        "pretrained_cfg": {**model.pretrained_cfg, "architecture": entry, "tag": card.name},
    }


def page(card: Card) -> str:
    """`README.md`: what the hub shows of the model, from its card."""
    geometry = card.local.geometry
    lines = [
        "---",
        "library_name: bagnet",
        "pipeline_tag: image-classification",
        "tags: [image-classification, bagnet, interpretability]",
        "---",
        f"# {card.name}",
        "",
        f"Classifies an image by scoring windows of {geometry.size} px, every {geometry.stride} px, on their own and averaging "
        "the scores: the map of evidence is the decision, and adds up to it.",
        "",
        "```python",
        "import bagnet",
        "",
        'model = bagnet.load("hf-hub:USER/REPOSITORY")',
        'bagnet.explain(model, "photo.jpg").picture().save("why.png")',
        "```",
        "",
        f"- Classes: {len(card.classes)}",
        f"- Trained on: {card.trained_on or 'nothing: the weights are random'}",
        f"- Licence of the weights: {card.licence}",
    ]
    if card.command:
        lines.append(f"- Made by: `{card.command}`")
    if card.notes:
        lines.append(f"- Notes: {card.notes}")
    if card.scores:
        lines += ["", "| images | top-1 | top-5 | measured |", "|---|---|---|---|"]
        lines += [f"| {score.data} | {score.top1:g} % | {score.top5:g} % | {score.measured} |" for score in card.scores]
    return "\n".join(lines)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
