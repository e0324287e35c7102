"""All experiments that suit, on one page; the others with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from bagnet.studies.paper.accuracy import Accuracy
from bagnet.studies.paper.errors import Errors
from bagnet.studies.paper.page import run_all
from bagnet.studies.paper.patches import Patches
from bagnet.studies.paper.subjects import gather

from .material import images_of, noise, small_bagnet
from .planted import folder_of
from .test_experiment import Probe

SIZE = 9


def test_what_does_not_suit_is_left_out_and_leaves_nothing(tmp_path: Path) -> None:
    data = images_of(tmp_path / "images.npz", noise(4, SIZE), [0, 1, 2, 0])
    material = gather([("it", small_bagnet(SIZE))], data)
    results, left_out, page = run_all([Errors(), Probe()], material, tmp_path / "out", {"probe": 3})
    assert [result.name for result in results] == ["probe"]
    assert left_out == {"errors": "errors compares models: name two at least"}
    assert not (tmp_path / "out/errors").exists()
    text = page.read_text()
    assert "<b>Do models find the same classes hard?</b> (errors): errors compares models: name two at least" in text
    assert "<p>It is " in text
    assert "3 images, " in text
    assert text.count("data:image/png;base64,") == 1
    with pytest.raises(ValueError, match=r"no experiment suits .* val and these models: errors compares models"):
        run_all([Errors()], material, tmp_path / "none", {})


def test_what_fails_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("out of memory\nand much more")

    monkeypatch.setattr(Patches, "find", failing)
    data = images_of(tmp_path / "images.npz", noise(3, SIZE), [0, 1, 2])
    results, left_out, page = run_all([Patches(), Probe()], gather([("it", small_bagnet(SIZE))], data), tmp_path, {})
    assert [result.name for result in results] == ["probe"]
    assert left_out == {"patches": "it failed: out of memory"}
    assert "out of memory" in page.read_text()


def test_images_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    """In the result and on the page, whether an experiment measures image by image or asks for logits."""
    data = folder_of(tmp_path / "set", {f"class {k % 3}/{k}": noise(1, SIZE, k)[0] for k in range(6)})
    (data / "val/class 1/2.png").write_bytes(b"no image")
    material = gather([("it", small_bagnet(SIZE))], data)
    results, _, page = run_all([Accuracy(), Probe()], material, tmp_path / "out", {})
    for result in results:
        ((name, reason),) = result.unusable.items()
        assert name.endswith("class 1/2.png")
        assert "2.png: not an image" in reason
    assert page.read_text().count("7 images (1 of which could not be used, such as ") == 2
    again = Accuracy().run(material, tmp_path / "out")
    assert again.there_already
    assert again.unusable == results[0].unusable
