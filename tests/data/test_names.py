"""Class names: who answers to what, and the round trip through plain words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagnet.data.names import AmbiguousClass, ClassName, ClassNames, UnknownClass, imagenet1k


@pytest.fixture
def animals() -> ClassNames:
    return ClassNames(
        [
            ClassName(("tabby", "tabby cat"), "n02123045"),
            ClassName(("Egyptian cat", "Mau"), "n02124075"),
            ClassName(("tiger", "big cat")),
            ClassName(("lion", "big cat")),
            ClassName(("café owner",)),
        ]
    )


def test_imagenet_has_its_thousand_classes_in_order() -> None:
    classes = imagenet1k()
    assert len(classes) == 1000
    assert classes[0] == ClassName(("tench", "Tinca tinca"), "n01440764")
    assert classes[281] == ClassName(("tabby", "tabby cat"), "n02123045")
    assert (str(classes[134]), classes[134].wnid) == ("crane", "n02012849")
    assert (str(classes[517]), classes[517].wnid) == ("crane", "n03126707")
    assert classes[999].wnid == "n15075141"
    identities = [entry.wnid for entry in classes]
    assert identities == sorted(set(identities))
    assert all(name and name == name.strip() for entry in classes for name in entry.names)


@pytest.mark.parametrize(
    "query",
    [281, "281", " 281 ", np.int64(281), np.uint16(281), "n02123045", "N02123045", "tabby", "Tabby", "tabby cat", "TABBY  CAT "],
)
def test_the_tabby_answers_to_all_her_names(query: int | str) -> None:
    index = imagenet1k().find(query)
    assert index == 281
    assert type(index) is int


def test_imagenet_classes_are_found_by_id_and_by_index() -> None:
    classes = imagenet1k()
    assert [classes.find(str(entry.wnid)) for entry in classes[::50]] == list(range(0, 1000, 50))
    assert [classes.find(str(index)) for index in range(0, 1000, 97)] == list(range(0, 1000, 97))


@pytest.mark.parametrize(
    ("query", "choices"),
    [("crane", ["134 n02012849 (crane)", "517 n03126707 (crane)"]), ("Maillot", ["638 n03710637", "639 n03710721"])],
)
def test_an_ambiguous_name_lists_all_it_could_mean(query: str, choices: list[str]) -> None:
    with pytest.raises(AmbiguousClass) as caught:
        imagenet1k().find(query)
    message = str(caught.value)
    assert message.startswith(f"{query!r} names 2 classes: ")
    assert all(choice in message for choice in choices)
    assert message.endswith("ask by index or WordNet id")
    assert "\n" not in message


def test_choices_without_wordnet_ids_are_listed_by_index(animals: ClassNames) -> None:
    with pytest.raises(AmbiguousClass, match=r"2 \(tiger, big cat\); 3 \(lion, big cat\)"):
        animals.find("big cat")


def test_a_usual_name_goes_before_a_lesser_one() -> None:
    classes = ClassNames([ClassName(("tank suit", "maillot")), ClassName(("maillot",)), ClassName(("swimwear", "maillot"))])
    assert classes.find("maillot") == 1


@pytest.mark.parametrize("index", [-1, 5, 1000, -6, np.int64(-1)])
def test_an_index_out_of_range_is_unknown(animals: ClassNames, index: int) -> None:
    with pytest.raises(UnknownClass, match=f"there is no class {index}: the indices are 0 to 4"):
        animals.find(index)


def test_digits_out_of_range_are_unknown(animals: ClassNames) -> None:
    with pytest.raises(UnknownClass, match="there is no class 5: the indices are 0 to 4"):
        animals.find("5")
    with pytest.raises(UnknownClass, match="no class is called '-1'"):
        animals.find("-1")


@pytest.mark.parametrize("query", [True, False, np.bool_(True), 2.0, None, (1,)])
def test_what_is_neither_an_index_nor_a_name_is_not_taken_for_one(animals: ClassNames, query: object) -> None:
    with pytest.raises(UnknownClass, match="ask by index, WordNet id or name"):
        animals.find(query)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "hint"), [("taby", "'tabby'"), ("EGYPTIAN CATS", "'Egyptian cat'"), ("mauu", "'Mau'"), ("loin", "'lion'")]
)
def test_an_unknown_name_gets_the_nearest(animals: ClassNames, query: str, hint: str) -> None:
    with pytest.raises(UnknownClass, match=f"no class is called '{query}' among the 5 of this model; did you mean .*{hint}"):
        animals.find(query)


def test_an_unknown_name_like_no_other_gets_no_hint(animals: ClassNames) -> None:
    with pytest.raises(UnknownClass, match=r"no class is called 'xylophone' among the 5 of this model$"):
        animals.find("xylophone")


@pytest.mark.parametrize("query", ["None", "none", ""])
def test_a_class_without_an_id_does_not_answer_to_none(animals: ClassNames, query: str) -> None:
    with pytest.raises(UnknownClass):
        animals.find(query)


def test_accents_match_however_they_are_composed(animals: ClassNames) -> None:
    assert animals.find("cafe\N{COMBINING ACUTE ACCENT} owner") == 4


def test_classes_called_by_digits_go_before_indices() -> None:
    backwards = ClassNames.from_words([str(digit) for digit in reversed(range(10))])
    assert backwards.find("9") == 0
    assert backwards.find(9) == 9
    assert [ClassNames.from_words(map(str, range(10))).find(str(digit)) for digit in range(10)] == list(range(10))


def test_numbered_classes() -> None:
    classes = ClassNames.numbered(3)
    assert [str(entry) for entry in classes] == ["class 0", "class 1", "class 2"]
    assert (classes.find("class 2"), classes.find("2"), classes.find(2)) == (2, 2, 2)


def test_words_bring_the_names_of_imagenet_along() -> None:
    classes = ClassNames.from_words(["n02123045", "my dog", "n99999999"])
    assert list(classes) == [
        ClassName(("tabby", "tabby cat"), "n02123045"),
        ClassName(("my dog",)),
        ClassName(("n99999999",)),
    ]


names = st.text(max_size=5) | st.sampled_from(["tabby", "n02123045", "n01440764"])
entries = st.builds(ClassName, st.lists(names, min_size=1, max_size=3).map(tuple), st.none() | names)


@given(st.lists(entries | st.sampled_from(list(imagenet1k())), max_size=5).map(ClassNames))
def test_classes_are_words_too(classes: ClassNames) -> None:
    assert ClassNames.from_words(classes) == classes


@pytest.mark.parametrize("words", ["tabby", [1, 2], [None], [("a", "b")], [{"wnid": "n02123045"}], [{"names": ["a"], "x": 1}]])
def test_what_is_no_list_of_names_is_refused(words: object) -> None:
    with pytest.raises(ValueError, match=r"a list of names|a class is a name"):
        ClassNames.from_words(words)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [(), "tabby", (1,), (None,)])
def test_a_class_without_a_tuple_of_names_is_refused(fields: object) -> None:
    with pytest.raises(ValueError, match="a tuple of one name or more"):
        ClassName(fields)  # type: ignore[arg-type]


def test_it_is_a_sequence(animals: ClassNames) -> None:
    assert len(animals) == 5
    assert animals[1].names == ("Egyptian cat", "Mau")
    assert str(animals[-1]) == "café owner"
    assert animals[1:3] == ClassNames([animals[1], animals[2]])
    assert animals[2] in animals
    assert hash(animals) == hash(ClassNames(list(animals)))
    assert animals != ClassNames(reversed(animals))
    assert repr(animals) == "ClassNames(5: tabby, Egyptian cat, tiger, ...)"
    assert repr(animals[:2]) == "ClassNames(2: tabby, Egyptian cat)"


def test_classes_are_found_among_others_by_id_and_by_name(animals: ClassNames) -> None:
    mine = ClassNames([ClassName(("LION",)), ClassName(("striped cat",), "n02123045"), ClassName(("Mau",)), animals[4]])
    assert mine.among(animals) == [3, 0, 1, 4]
    assert animals.among(animals) == [0, 1, 2, 3, 4]
    assert animals[3:1:-1].among(animals) == [3, 2]
    assert ClassNames([]).among(animals) == []
    assert ClassNames.numbered(2).among(ClassNames.numbered(4)) == [0, 1]
    assert imagenet1k()[::-100].among(imagenet1k()) == list(range(999, -1, -100))


def test_an_id_that_only_one_of_both_has_does_not_count(animals: ClassNames) -> None:
    plain = ClassNames.from_words(["tiger", "tabby"])
    assert plain.among(animals) == [2, 0]
    assert ClassNames([ClassName(("tiger",), "n02129604"), animals[0]]).among(plain) == [0, 1]


def test_classes_of_one_name_and_two_ids_are_two() -> None:
    crane, machine = imagenet1k()[134], imagenet1k()[517]
    assert ClassNames([crane]).among(ClassNames([machine, crane])) == [1]
    with pytest.raises(UnknownClass, match="1 of 1 classes are not among the 1 known: crane"):
        ClassNames([crane]).among(ClassNames([machine]))


def test_among_others_a_usual_name_goes_before_a_lesser_one() -> None:
    names = ClassNames([ClassName(("tank suit", "maillot")), ClassName(("maillot",)), ClassName(("swimwear", "tank suit"))])
    assert ClassNames.from_words(["maillot", "tank suit"]).among(names) == [1, 0]
    assert ClassNames([ClassName(("unheard of", "swimwear"))]).among(names) == [2]


def test_a_name_that_several_others_go_by_is_ambiguous(animals: ClassNames) -> None:
    with pytest.raises(AmbiguousClass, match=r"'crane' names 2 classes: 134 n02012849 \(crane\); 517 n03126707 .*WordNet ids"):
        ClassNames.from_words(["crane"]).among(imagenet1k())
    with pytest.raises(AmbiguousClass, match=r"'big cat' names 2 classes: 2 \(tiger, big cat\); 3 \(lion, big cat\)"):
        ClassNames.from_words(["big cat"]).among(animals)
    letters = ClassNames.from_words(["A", "B", "a", "b"])
    assert ClassNames.from_words(["a", "B"]).among(letters) == [2, 1]  # as they are spelled


def test_classes_that_are_not_among_others_are_named(animals: ClassNames) -> None:
    with pytest.raises(UnknownClass, match=r"^2 of 3 classes are not among the 5 known: dog, 2$"):
        ClassNames.from_words(["dog", "lion", "2"]).among(animals)
    with pytest.raises(UnknownClass, match=r"^4 of 4 classes are not among the 5 known: a, b, c, \.\.\.$"):
        ClassNames.from_words(["a", "b", "c", "d"]).among(animals)
