"""Cards go through JSON unchanged, and a digest says whether tensors are the same numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bagnet.architecture import Architecture
from bagnet.card import Card, Score, Source, digest
from bagnet.data.names import ClassName, ClassNames, imagenet1k
from bagnet.data.transforms import Preprocessing


def card(classes: ClassNames, **fields: object) -> Card:
    architecture = Architecture((1, 1, 1, 0), (2, 2, 1, 1), width=8, num_classes=len(classes))
    return Card("bagnet17s4.test", architecture, classes, Preprocessing(70, 64), **fields)  # type: ignore[arg-type]


FULL = card(
    ClassNames([imagenet1k()[281], ClassName(("dog",)), ClassName(("crane", "bird"), "n99999999"), ClassName(("a", "b"))]),
    temperature=1.75,
    licence="CC BY 4.0",
    trained_on="nothing",
    command="bagnet train",
    scores=(Score("val", 12.5, 30.0, "here", 5000), Score("train", 99.0, 100.0, "there")),
    source=Source("https://example.org/x", "ab" * 32, "cd" * 20, 17),
    source_sha256="ef" * 32,
    digest="01" * 32,
    float32_layers=("layer1.0.conv1", "fc"),
    notes="ümlaut\nand line",
)


def test_json_round_trip_of_every_field() -> None:
    again = Card.from_json(FULL.to_json())
    assert again == FULL
    assert again.to_json() == FULL.to_json()
    assert isinstance(again.architecture.kernel3, tuple)


def test_a_temperature() -> None:
    """A card of an older version has none; another head's logits have not this one's."""
    record = json.loads(FULL.to_json())
    del record["temperature"]
    assert Card.from_dict(record).temperature == 1
    assert FULL.adapted(FULL.local, FULL.classes, new_head=True).temperature == 1
    renamed = ClassNames.from_words(["e", "f", "g", "h"])
    assert FULL.adapted(FULL.local, renamed, new_head=False).temperature == 1.75
    for value in (0, -1.0, float("nan"), float("inf"), "warm", True):
        with pytest.raises(ValueError, match="the temperature of a card must be a positive number"):
            replace(FULL, temperature=value)  # type: ignore[arg-type]


WORDS = st.text(min_size=1, max_size=8)
CLASSES = st.builds(
    ClassName,
    st.one_of(WORDS.map(lambda word: (word,)), st.tuples(WORDS, WORDS), st.sampled_from([entry.names for entry in imagenet1k()])),
    st.one_of(st.none(), st.sampled_from(["n01440764", "n02123045", "n00000001"])),
)


@settings(max_examples=25)
@given(st.lists(st.one_of(CLASSES, st.sampled_from(list(imagenet1k()))), min_size=1, max_size=6))
def test_json_round_trip_of_any_classes(classes: list[ClassName]) -> None:
    original = card(ClassNames(classes))
    assert Card.from_json(original.to_json()) == original


def test_thousand_usual_classes_are_one_word() -> None:
    record = json.loads(card(imagenet1k()).to_json())
    assert record["classes"] == "imagenet1k"
    assert json.loads(FULL.to_json())["classes"] == [
        "n02123045",
        "dog",
        {"names": ["crane", "bird"], "wnid": "n99999999"},
        {"names": ["a", "b"], "wnid": None},
    ]


def test_what_a_newer_version_wrote_is_kept() -> None:
    record = {**json.loads(FULL.to_json()), "carbon": {"kg": 3}, "more": [1]}
    newer = Card.from_json(json.dumps(record))
    assert newer.more == {"carbon": {"kg": 3}, "more": [1]}
    assert json.loads(newer.to_json()) == record
    assert replace(newer, more={}) == FULL


def test_card_of_only_what_must_be() -> None:
    record = {"name": "x.y", "architecture": {"num_classes": 2}, "classes": ["cat", "dog"], "preprocessing": {}}
    least = Card.from_json(json.dumps(record))
    assert (least.name, least.scores, least.source, least.digest, least.licence) == ("x.y", (), None, None, "no weights")
    assert least.architecture == Architecture(num_classes=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, "not a card: its classes are neither 'imagenet1k' nor a list of words"),
        ({"classes": "imagenet22k"}, "not a card: its classes are neither"),
        ({"classes": [1, 2, 3, 4]}, "not a card: its classes are neither"),
        ({"classes": ["a"]}, "not a card: card 'bagnet17s4.test' names 1 classes, its network has 4 logits"),
        ({"architecture": {"width": 0}}, "not a card: width must be a whole number >= 1, got 0"),
        ({"architecture": {"depth": 50}}, "not a card: .*unexpected keyword argument 'depth'"),
        ({"architecture": None}, "not a card: "),
        ({"preprocessing": {"std": [0.0]}}, "not a card: mean and std need one"),
        ({"scores": [{"top1": 3}]}, "not a card: .*missing"),
        ({"source": {"size": 3}}, "not a card: .*url"),
    ],
)
def test_bad_card(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        Card.from_json(json.dumps({**json.loads(FULL.to_json()), **changes}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["architecture", "classes", "preprocessing"])
def test_card_that_lacks_something(missing: str) -> None:
    record = json.loads(FULL.to_json())
    del record[missing]
    with pytest.raises(ValueError, match=f"not a card: it has no '{missing}'"):
        Card.from_json(json.dumps(record))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"card"', "[" * 100_000, "\x00"])
def test_no_card_at_all(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a card: "):
        Card.from_json(text)


def test_card_whose_classes_do_not_fit_its_network() -> None:
    with pytest.raises(ValueError, match="names 2 classes, its network has 4 logits"):
        replace(FULL, classes=ClassNames.numbered(2))


STATE = {"b": torch.tensor([1.0, -2.0]), "a": torch.arange(6).reshape(2, 3), "c": torch.tensor(7)}


def test_digest_is_the_documented_hash() -> None:
    total = hashlib.sha256()
    total.update(b"a int64 [2, 3]\n" + b"".join(n.to_bytes(8, "little") for n in range(6)))
    total.update(b"b float32 [2]\n" + bytes.fromhex("0000803f000000c0"))
    total.update(b"c int64 []\n" + (7).to_bytes(8, "little"))
    assert digest(STATE) == total.hexdigest()


def test_digest_does_not_see_the_packing(tmp_path: Path) -> None:
    packed = {"c": STATE["c"], "a": STATE["a"].t().contiguous().t(), "b": torch.tensor([1.0, 9.0, -2.0, 9.0])[::2]}
    assert not packed["a"].is_contiguous()
    assert digest(packed) == digest(STATE)
    save_file(STATE, tmp_path / "one.safetensors", {"some": "metadata"})
    torch.save(STATE, tmp_path / "two.pt")
    assert digest(load_file(tmp_path / "one.safetensors")) == digest(STATE)
    assert digest(torch.load(tmp_path / "two.pt", weights_only=True)) == digest(STATE)


@pytest.mark.parametrize(
    "changed",
    [
        {**STATE, "b": torch.tensor([1.0, -2.0000002])},
        {**STATE, "b": torch.tensor([[1.0, -2.0]])},
        {**STATE, "b": STATE["b"].double()},
        {**STATE, "b": STATE["b"].view(torch.int32)},
        {"B": STATE["b"], "a": STATE["a"], "c": STATE["c"]},
        {"a": STATE["a"], "b": STATE["b"]},
        {**STATE, "d": torch.zeros(0)},
        {**STATE, "c": torch.tensor(-7)},
    ],
    ids=["bit", "shape", "dtype", "same bytes", "name", "missing", "empty", "scalar"],
)
def test_digest_sees_every_change(changed: dict[str, torch.Tensor]) -> None:
    assert digest(changed) != digest(STATE)


@settings(max_examples=30)
@given(st.integers(0, 6 * 64 - 1), st.sampled_from([torch.float16, torch.bfloat16, torch.bool, torch.int64]))
def test_digest_sees_any_one_bit(bit: int, dtype: torch.dtype) -> None:
    content = torch.arange(48, dtype=torch.uint8) if dtype != torch.bool else torch.zeros(48, dtype=torch.uint8)
    flipped = content.clone()
    flipped[bit // 8] ^= 1 if dtype == torch.bool else 1 << bit % 8
    assert digest({"x": content.view(dtype)}) != digest({"x": flipped.view(dtype)})
