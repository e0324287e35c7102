"""The models that a command line asks for, under names of their own."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from PIL import Image

from bagnet.cli.classifiers import classifiers, digest_of, network, preprocessing, recipe
from bagnet.data.sources import open_images
from bagnet.data.transforms import Preprocessing
from bagnet.engine.classifier import model_name
from bagnet.zoo.names import DEFAULT

from ..evaluation.colours import reader


def test_the_bundled_one_where_none_is_named() -> None:
    assert model_name(network("")) == DEFAULT
    for names in (None, []):
        assert [name for name, _ in classifiers(names)] == [DEFAULT]


def test_a_size_is_that_of_the_whole_image_where_windows_take_any(weights: Path) -> None:
    model = network(str(weights))
    assert preprocessing(model, "") == model.transform == Preprocessing(64, 64)
    assert preprocessing(model, "100") == Preprocessing(100, None)
    assert preprocessing(model, "native") == Preprocessing(None, None)
    external = reader()
    assert preprocessing(external, "10") == external.transform.with_crop(10)
    with pytest.raises(ValueError, match="at one size: leave --size native out"):
        preprocessing(external, "native")
    for wrong in ("0", "-5", "big"):
        with pytest.raises(ValueError, match=f"--size {wrong}: is neither"):
            preprocessing(model, wrong)


def test_names(weights: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.safetensors"
    twin.write_bytes(weights.read_bytes())
    assert [name for name, _ in classifiers([str(weights), DEFAULT])] == ["bagnet17.test", DEFAULT]
    assert [name for name, _ in classifiers([str(weights), str(twin)])] == [str(weights), str(twin)]
    with pytest.raises(ValueError, match=r"--model .*twin\.safetensors is given twice"):
        classifiers([str(twin), str(twin)])


def test_a_recipe_means_the_same_on_another_machine(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(weights.parent)
    build = pickle.loads(pickle.dumps(recipe(weights.name)))
    monkeypatch.chdir(weights.parent.parent)
    assert model_name(build()) == "bagnet17.test"
    assert build().weights_digest == network(str(weights), prepared=True).weights_digest
    assert model_name(recipe("")()) == DEFAULT


def test_prepared_where_many_images_are_worth_it(weights: Path) -> None:
    plain, prepared = network(str(weights)), network(str(weights), prepared=True)
    assert type(plain) is not type(prepared)
    assert (plain.runtime, plain.precision) == (prepared.runtime, prepared.precision) == ("torch", "float32")
    assert plain.weights_digest == prepared.weights_digest


def test_calibration(weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="images: none of the images can be read"):
        network(str(weights), "openvino", "int8", tmp_path / "images")
    assert capfd.readouterr().err.startswith("bagnet: ")
    Image.new("RGB", (70, 70)).save(tmp_path / "images" / "good.png")
    with pytest.raises(ValueError, match="--calibration is for --precision int8, not for bf16"):
        network(str(weights), "openvino", "bf16", tmp_path / "images")
    assert digest_of(None) == ""
    assert digest_of(tmp_path / "images") == open_images(tmp_path / "images").fingerprint
