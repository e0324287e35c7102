"""Folders as the Hugging Face hub has them, and what becomes of a hub that has not what is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import save_file

import bagnet
from bagnet.card import Card
from bagnet.hub import NotOnTheHub
from bagnet.model import BagNet
from bagnet.weights import BadCheckpoint
from bagnet.windowed_network import WindowedNetwork


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    return small(num_classes=3, classes=("ape", "bee", "cow"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A hub of folders by the names of their repositories; what is not there, is not found."""
    folders: dict[str, Path] = {}

    def download(repository: str, name: str, revision: str | None = None) -> str:
        key = f"{repository}@{revision}" if revision else repository
        if key not in folders:
            raise LocalEntryNotFoundError("nothing here")
        if not (folders[key] / name).is_file():
            raise EntryNotFoundError("no such file")
        return str(folders[key] / name)

    class Api:
        def __init__(self, token: str | None = None) -> None:
            self.token = token

        def create_repo(self, repository: str, private: bool, exist_ok: bool) -> str:
            assert exist_ok
            if self.token == "wrong":
                raise OSError("401: no such token")
            folders[repository] = folders["into"] / repository
            return f"https://hub.test/{repository}{'?private' if private else ''}"

        def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> None:
            assert commit_message
            Path(folder_path).rename(folders[repo_id]) if folders[repo_id].parent.exists() else None

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return folders


def test_a_folder_comes_back(model: BagNet, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "deep" / "mine")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "card.json", "config.json", "model.safetensors"]
    x = torch.rand(1, 3, 40, 40)
    for loaded in (bagnet.load(folder), BagNet.from_pretrained(folder)):
        assert not loaded.training
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
        assert list(loaded.classes) == list(model.classes)
    assert Card.from_json((folder / "card.json").read_text()) == bagnet.load(folder).card
    assert BagNet.from_pretrained(folder, num_classes=5).num_classes == 5


def test_what_the_hub_shows(model: BagNet, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "mine")
    page = (folder / "README.md").read_text()
    assert page.startswith("---\nlibrary_name: bagnet\n")
    assert 'bagnet.load("hf-hub:USER/REPOSITORY")' in page
    assert "no weights" in page
    said = json.loads((folder / "config.json").read_text())
    assert (said["architecture"], said["num_classes"], said["label_names"]) == ("bagnet", 3, ["ape", "bee", "cow"])


def test_from_the_hub_by_revision(model: BagNet, hub: dict[str, Path], tmp_path: Path) -> None:
    hub["lab/mine"] = model.save_pretrained(tmp_path / "mine")
    model.reset_classifier(4)
    hub["lab/mine@v2"] = model.save_pretrained(tmp_path / "second")
    assert bagnet.load("hf-hub:lab/mine").num_classes == 3
    assert BagNet.from_pretrained("lab/mine").num_classes == 3
    assert bagnet.load("hf-hub:lab/mine@v2").num_classes == 4


def test_to_the_hub_and_back(model: BagNet, hub: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    hub["into"] = tmp_path
    assert model.push_to_hub("lab/mine", private=True) == "https://hub.test/lab/mine?private"
    assert [str(name) for name in bagnet.load("hf-hub:lab/mine").classes] == ["ape", "bee", "cow"]
    with pytest.raises(NotOnTheHub, match="lab/mine: 401: no such token"):
        model.push_to_hub("lab/mine", token="wrong")


@pytest.mark.usefixtures("hub")
def test_what_is_not_there(tmp_path: Path, hub: dict[str, Path]) -> None:
    with pytest.raises(NotOnTheHub, match="hf-hub:lab/none: is not in the cache, and the hub cannot be reached"):
        bagnet.load("hf-hub:lab/none")
    hub["lab/empty"] = tmp_path
    with pytest.raises(NotOnTheHub, match=r"has no model\.safetensors"):
        bagnet.load("hf-hub:lab/empty")
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=r"hf-hub:lab/empty: its model\.safetensors has no card of bagnet's"):
        bagnet.load("hf-hub:lab/empty")


def test_a_hub_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise OSError("503\nbusy")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(NotOnTheHub, match="hf-hub:lab/mine: 503 busy"):
        bagnet.load("hf-hub:lab/mine")
    assert issubclass(HfHubHTTPError, OSError)  # so that what the hub says over HTTP is told alike


def test_another_kind(model: BagNet, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "mine")
    with pytest.raises(ValueError, match="which is no WindowedNetwork"):
        WindowedNetwork.from_pretrained(folder)
    with pytest.raises(IsADirectoryError, match=r"is a folder without model\.safetensors"):
        bagnet.load(tmp_path)


def test_torch_hub() -> None:
    root = Path(__file__).parents[1]
    model = torch.hub.load(str(root), "bagnet9", source="local", num_classes=4)
    assert (model.name, model.num_classes) == ("bagnet9", 4)
    with pytest.raises(ValueError, match="bagnet17 would be bagnet9"):
        torch.hub.load(str(root), "bagnet17", source="local", kernel3=(1, 1, 0, 0))
