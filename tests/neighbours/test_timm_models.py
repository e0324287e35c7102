"""What timm and transformers do with our networks, by their own calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader, create_transform, resolve_data_config, resolve_model_data_config
from timm.models import group_parameters

import bagnet
import bagnet.timm
from bagnet.bag import BagOfFeatures
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing

from ..conftest import randomised

SMALL = {"kernel3": (1, 1, 1, 0), "layers": (1, 1, 1, 1), "width": 4}


def photograph(side: int = 96) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def test_the_names_are_there() -> None:
    assert {"bagnet9", "bagnet17", "bagnet33", "bagnet33_padded", "bagnet", "windowed"} <= set(timm.list_models("*"))
    assert "bagnet33.orig_in1k" in timm.list_pretrained("bagnet*")
    assert timm.get_pretrained_cfg("bagnet9s4.tiny_in200").num_classes == 200


def test_bundled_weights_with_timms_own_preprocessing() -> None:
    model = timm.create_model("bagnet9s4.tiny_in200", pretrained=True).eval()
    ours = bagnet.load("bagnet9s4.tiny_in200")
    prepare = create_transform(**resolve_model_data_config(model), is_training=False)
    x = prepare(photograph())[None]
    with torch.inference_mode():
        torch.testing.assert_close(model(x), ours(ours.transform(photograph())[None]))
    assert model.card == ours.card


def test_other_classes_and_channels() -> None:
    model = timm.create_model("bagnet9s4", pretrained=True, num_classes=7, in_chans=1)
    assert model.training
    assert model(torch.zeros(2, 1, 64, 64)).shape == (2, 7)
    assert (model.num_classes, len(model.classes), model.architecture.in_channels) == (7, 7, 1)


def test_random_weights_of_any_shape() -> None:
    model = timm.create_model("bagnet", num_classes=5, drop_rate=0.0, drop_path_rate=None, **SMALL)
    assert (model.name, model.num_classes) == ("bagnet17", 5)
    assert model.forward_head(model.forward_features(torch.zeros(1, 3, 40, 40)), pre_logits=True).shape == (1, model.num_features)
    assert model.get_classifier() is model.fc
    model.reset_classifier(4)
    assert (model.card.architecture.num_classes, len(model.card.classes)) == (4, 4)


def test_maps_of_the_stages() -> None:
    model = timm.create_model("bagnet", features_only=True, out_indices=(1, 3), **SMALL).eval()
    x = torch.rand(1, 3, 64, 64)
    maps = model(x)
    assert [part.shape[1] for part in maps] == model.feature_info.channels() == [32, 128]
    assert model.feature_info.reduction() == [4, 8]
    plain = bagnet.create(**SMALL).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(maps[1], plain.features(x))


def test_layers_have_their_depth() -> None:
    model = timm.create_model("bagnet", **SMALL)
    groups = group_parameters(model, model.group_matcher(coarse=True))
    assert [{name.split(".")[0] for name in names} for names in groups.values()] == [
        {"conv1", "conv2", "bn1"}, {"layer1"}, {"layer2"}, {"layer3"}, {"layer4"}, {"fc"},
    ]  # fmt: skip
    local = timm.create_model("windowed", network="timm:resnet10t", window=32, stride=16, head="fc")
    assert len(group_parameters(local, local.group_matcher())) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"model_name": "bagnet33", "kernel3": (1, 1, 1, 0)}, "bagnet33 would be bagnet17"),
        ({"model_name": "bagnet"}, "is any shape: say which"),
        ({"model_name": "bagnet", "pretrained": True}, "has no weights of its own"),
        ({"model_name": "bagnet17", "drop_rate": 0.5}, "bagnet17 has no drop_rate=0.5"),
        ({"model_name": "bagnet17", "global_pool": "max"}, "bagnet17 has no global_pool='max'"),
        ({"model_name": "windowed", "network": "timm:resnet10t", "window": 32, "stride": 16, "features_only": True}, "no maps"),
    ],
)
def test_refusals(words: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        timm.create_model(**words)


def test_a_file_of_another_network(tmp_path: Path) -> None:
    bagnet.create(num_classes=3, **SMALL).save(tmp_path / "seventeen.safetensors")
    overlay = {"file": str(tmp_path / "seventeen.safetensors")}
    model = timm.create_model("bagnet17", pretrained=True, pretrained_cfg_overlay=overlay)
    assert model.num_classes == 3
    with pytest.raises(ValueError, match="the file holds bagnet17, not bagnet9"):
        timm.create_model("bagnet9", pretrained=True, pretrained_cfg_overlay=overlay)


@pytest.mark.parametrize("kind", ["bagnet", "windowed"])
def test_a_folder_comes_back_by_timm(kind: str, tmp_path: Path) -> None:
    model = _of(kind)
    model.save_pretrained(tmp_path / "mine")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'mine'}", pretrained=True).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), model(x))
    assert loaded.card == bagnet.load(tmp_path / "mine").card


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bagnet", "windowed"])
def test_transformers_pipeline(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = _of(kind)
    folder = model.save_pretrained(tmp_path / "mine")
    classify = transformers.pipeline("image-classification", model=str(folder), device="cpu")
    answers = classify(photograph(), top_k=3)
    with torch.inference_mode():
        shares = model(model.transform(photograph())[None]).softmax(1)[0]
    assert {answer["label"] for answer in answers} == {"ape", "bee", "cow"}
    for answer in answers:
        assert answer["score"] == pytest.approx(float(shares[model.classes.find(answer["label"])]), abs=1e-4)


@pytest.mark.parametrize("kind", ["bagnet", "windowed"])
def test_timms_validation_of_a_folder(kind: str, tmp_path: Path) -> None:
    """What timm's validate script does, of its parts: its accuracy is that of `bagnet evaluate`."""
    model = _of(kind)
    model.save_pretrained(tmp_path / "mine")
    for number in range(12):
        folder = tmp_path / "val" / ("ape", "bee", "cow")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'mine'}", pretrained=True).eval()
    settings = resolve_data_config({}, model=loaded)
    loader = create_loader(
        create_dataset("", str(tmp_path / "val")),
        input_size=settings["input_size"],
        batch_size=4,
        use_prefetcher=False,
        interpolation=settings["interpolation"],
        mean=settings["mean"],
        std=settings["std"],
        num_workers=0,
        crop_pct=settings["crop_pct"],
    )
    with torch.inference_mode():
        right = sum(int((loaded(x).argmax(1) == target).sum()) for x, target in loader)
    evaluation = bagnet.evaluate(model, tmp_path)
    assert (evaluation.scores.argmax(1) == evaluation.labels).sum() == right


def _of(kind: str) -> BagOfFeatures:
    """Of random weights, for 3 classes, on crops of 64 pixels."""
    torch.manual_seed(0)
    words = SMALL if kind == "bagnet" else {"network": "timm:resnet10t", "window": 32, "stride": 16, "head": "fc"}
    model = timm.create_model(kind, num_classes=3, **words).eval()
    randomised(model)
    classes = ClassNames.from_words(["ape", "bee", "cow"])
    model.card = replace(model.card, classes=classes, preprocessing=Preprocessing(72, 64))
    return model
