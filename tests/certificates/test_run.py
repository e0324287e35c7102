from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bagnet
from bagnet.certificates.patch import Patch
from bagnet.certificates.run import Claim, certify_images
from bagnet.data.labelled import open_labelled
from bagnet.data.sources import open_images
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.runs.store import OtherRun

CLAIMS = [Claim(Patch(2, 2), "voting"), Claim(Patch(2, 2), "margin", "probabilities")]


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    """Windows of 9 pixels every 8, of whole images."""
    network = small(kernel3=(1, 1, 0, 0), num_classes=3)
    assert network.card is not None
    network.card = replace(network.card, preprocessing=Preprocessing(50, None))
    return network


def noise(tmp_path: Path, labels: list[int]) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 50, 50, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", val_images=images, val_labels=np.array(labels))
    return tmp_path / "data.npz"


def test_shares_are_those_of_the_certificates(model: BagNet, tmp_path: Path) -> None:
    labelled = open_labelled(noise(tmp_path, [0, 1, 2, 0, 1, 2, 0, 1]), "val")
    proved, bad = certify_images([model], labelled.images, CLAIMS, tmp_path / "out", labelled=labelled, proved_again=True)
    assert bad == {}
    for number, claim in enumerate(CLAIMS):
        found = [
            bagnet.certify(model, labelled.images.photo(row).image, claim.patch, claim.method) for row in range(len(labelled))
        ]
        right = [each.label == int(label) for each, label in zip(found, labelled.targets, strict=True)]
        assert proved[number].clean is not None
        assert proved[number].clean.value == np.mean(right)
        assert proved[number].certified.value == np.mean(
            [good and each.certified for good, each in zip(right, found, strict=True)]
        )
    with (tmp_path / "out" / "certificates.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 16
    assert not (tmp_path / "out" / "unfinished").exists()


def test_it_goes_on_where_it_was_cut_short(model: BagNet, tmp_path: Path) -> None:
    images = open_labelled(noise(tmp_path, [0, 1, 2, 0]), "val").images
    calls: list[int] = []

    def stop(_: object) -> None:
        calls.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certify_images([model], images, CLAIMS, tmp_path / "out", batch_size=2, progress=stop)
    with pytest.raises(OtherRun):
        certify_images([model], images, CLAIMS[:1], tmp_path / "out", batch_size=2)
    with pytest.raises(OtherRun):  # the same weights at other windows
        certify_images([model.at_stride(4)], images, CLAIMS, tmp_path / "out", batch_size=2)
    rest: list[object] = []
    proved, _ = certify_images([model], images, CLAIMS, tmp_path / "out", batch_size=2, progress=rest.append)
    assert (len(calls), len(rest)) == (1, 1)
    assert proved[0].images == 4
    assert proved[0].clean is None


def test_models_vote_together(model: BagNet, tmp_path: Path) -> None:
    """As `bagnet.certify` has it of the same models; an image that is too small for one of them is told."""
    finer = model.at_stride(4)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, side in enumerate((50, 60)):
        pixels = np.random.default_rng(number).integers(0, 256, (side, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    proved, bad = certify_images(
        [model, finer], open_images(folder), CLAIMS[:1], tmp_path / "out", proved_again=True, batch_size=2
    )
    assert bad == {}
    expected = [bagnet.certify([model, finer], folder / f"{number}.png", CLAIMS[0].patch).certified for number in range(2)]
    assert proved[0].certified.value == np.mean(expected)
    assert finer.card is not None
    finer.card = replace(finer.card, preprocessing=Preprocessing(None, None))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "tiny.png")
    _, bad = certify_images([model, finer], open_images(folder), CLAIMS[:1], tmp_path / "again")
    assert list(bad) == ["tiny.png"]


def test_bad_images_are_told(model: BagNet, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"no")
    bagnet.explain(model, np.zeros((50, 60, 3), np.uint8)).image.save(folder / "good.png")
    proved, bad = certify_images([model], open_images(folder), CLAIMS[:1], tmp_path / "out")
    assert proved[0].images == 1
    assert list(bad) == ["bad.png"]


def test_a_multilabel_model_is_asked_class_by_class(model: BagNet, tmp_path: Path) -> None:
    assert model.card is not None
    model.card = replace(model.card, multilabel=True)
    labelled = open_labelled(noise(tmp_path, [0, 1, 2, 0]), "val").questions()
    claims = [Claim(Patch(2, 2), "voting", question=index) for index in range(3)]
    proved, _ = certify_images([model], labelled.images, claims, tmp_path / "out", labelled=labelled, proved_again=True)
    for index, each in enumerate(proved):
        answers = [
            bagnet.certify(model, labelled.images.photo(row).image, Patch(2, 2), question=index).label == 0 for row in range(4)
        ]
        assert each.clean is not None
        assert each.clean.value == np.mean(np.array(answers) == labelled.targets[:, index].numpy())


def test_the_label_among_the_best_two(model: BagNet, tmp_path: Path) -> None:
    images = open_labelled(noise(tmp_path, [0, 1, 2, 0]), "val").images
    claims = [Claim(Patch(9, 9), "margin", "probabilities", best=best) for best in (1, 2)]
    proved, _ = certify_images([model], images, claims, tmp_path / "out")
    expected = [
        np.mean(
            [bagnet.certify(model, images.photo(row).image, each.patch, "margin", best=each.best).certified for row in range(4)]
        )
        for each in claims
    ]
    assert [each.certified.value for each in proved] == expected
    assert str(claims[1]) == "9 x 9 px of the photo, margin of probabilities, among the best 2"
