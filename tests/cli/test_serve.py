"""bagnet serve; what it serves: tests/serve"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import Run, assert_refused

pytest.importorskip("fastapi")


@pytest.fixture
def scan(run: Run, weights: Path, tmp_path: Path) -> Path:
    """The folder of a slide, whose image is `image.npy` beside it."""
    np.save(tmp_path / "image.npy", np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    words = ("slide", tmp_path / "image.npy", "--model", weights, "--class", "dog", "--out", tmp_path / "scan")
    assert run(*words).code == 0
    return tmp_path / "scan"


def test_slides_are_shown_without_a_model(run: Run, scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: dict[str, Any] = {}

    def serve_slides(views: Any, *where: Any, **options: Any) -> None:
        served.update(options, names=[view.name for view in views], where=where)

    monkeypatch.setattr("bagnet.serve.server.serve_slides", serve_slides)
    monkeypatch.setattr(import_module("bagnet.cli.serve"), "network", lambda *_, **__: pytest.fail("no network is needed"))
    monkeypatch.setenv("BAGNET_TOKEN", "secret")
    result = run("serve", "--slide", scan, "--slide", scan, "--port", 0, "--openseadragon", "packed.tgz", "--waiting", 3)
    assert result.code == 0, result.err
    assert served["names"] == ["image.npy", "image.npy"]
    assert served["where"] == ("127.0.0.1", 0)
    assert (served["token"], served["openseadragon"], served["limits"].waiting) == ("secret", Path("packed.tgz"), 3)


def test_slides_that_cannot_be_shown_are_refused_at_the_start(run: Run, scan: Path, tmp_path: Path) -> None:
    assert_refused(run("serve", "--slide", tmp_path / "weights"), "weights: holds nothing of a slide")
    assert_refused(run("serve", "--slide", scan, "--model", "bagnet33"), "leave out --model")
    assert_refused(run("serve", "--openseadragon", "packed.tgz"), "--openseadragon is for the viewer of slides")
    np.save(tmp_path / "image.npy", np.zeros((60, 80, 3), np.uint8))
    assert_refused(run("serve", "--slide", scan), "image.npy, has changed since: compute it again")
    (tmp_path / "image.npy").unlink()
    assert_refused(run("serve", "--slide", scan), "image.npy, is gone: put it back where it was")


def test_a_page_without_openseadragon_says_how_to_get_it(
    run: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert_refused(run("serve", "--slide", scan, "--port", 0), "npm pack openseadragon@", "--openseadragon openseadragon-")
