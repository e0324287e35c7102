"""Names of models are told without opening a file, and are those of the cards."""

from __future__ import annotations

from bagnet.architecture import PUBLISHED_SHAPES
from bagnet.zoo.catalogue import card_of, published
from bagnet.zoo.names import DEFAULT, bundled, model_names, published_records, published_sizes


def test_every_name_is_that_of_a_card() -> None:
    assert [card_of(name).name for name in model_names()] == model_names()
    assert model_names() == [*bundled(), *published()]


def test_published_sizes_are_those_that_can_be_built() -> None:
    assert published_sizes() == list(PUBLISHED_SHAPES)


def test_a_record_has_the_defaults_and_its_own() -> None:
    record = published_records()["bagnet9.orig_in1k"]
    assert record["name"] == "bagnet9.orig_in1k"
    assert record["classes"] == "imagenet1k"
    assert record["architecture"] == {"kernel3": [1, 1, 0, 0]}


def test_the_default_is_in_the_package() -> None:
    assert bundled()[DEFAULT].is_file()
