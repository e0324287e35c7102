"""What the logits of a classifier stand for, and how a person may ask for one of them."""

from __future__ import annotations

import csv
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import TypeAlias, TypedDict, overload
from unicodedata import normalize


class ClassRecord(TypedDict, total=False):
    """The fields of a `ClassName` as JSON holds them."""

    names: list[str]
    wnid: str | None


Word: TypeAlias = "str | ClassRecord | ClassName"


class UnknownClass(ValueError):
    """No class answers to that name or index."""


class AmbiguousClass(ValueError):
    """Several classes answer to that name."""


@dataclass(frozen=True, slots=True)
class ClassName:
    """One class.

    Args:
        names: what it is called, the usual name first; at least one.
        wnid: its WordNet id (`n02123045`), where it has one.
    """

    names: tuple[str, ...]
    wnid: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.names, str) or not all(isinstance(name, str) for name in self.names) or not self.names:
            raise ValueError(f"a class needs a tuple of one name or more, got {self.names!r}")
        object.__setattr__(self, "names", tuple(self.names))

    def __str__(self) -> str:
        return self.names[0]


class ClassNames(Sequence[ClassName]):
    """The classes of a model, in the order of its logits.

    Args:
        classes: the classes in order.
    """

    def __init__(self, classes: Iterable[ClassName]) -> None:
        self._classes = tuple(classes)

    @classmethod
    def from_words(cls, words: Iterable[Word]) -> ClassNames:
        """Classes from plain words; a WordNet id of ImageNet's 1000 brings its names along.

        A class with more to it than one name is a mapping with the fields of `ClassName`.

        Raises:
            ValueError: an entry is neither, or the words are one string instead of a list.
        """
        if isinstance(words, str):
            raise ValueError(f"the classes must be a list of names, got the single string {words!r}")
        by_wnid = {entry.wnid: entry for entry in imagenet1k()._classes}
        return cls(_from_word(word, by_wnid) for word in words)

    @classmethod
    def numbered(cls, count: int) -> ClassNames:
        """Classes about which nothing is known but their number: "class 0", "class 1", ..."""
        return cls(ClassName((f"class {index}",)) for index in range(count))

    def find(self, query: int | str) -> int:
        """The index of the class that a person means.

        Args:
            query: an index, a WordNet id, or a name, in any case. A class whose usual name it is goes before one of which
                it is a lesser name. Digits are an index, unless a class is called so.

        Raises:
            UnknownClass: nothing answers; the message has the nearest names.
            AmbiguousClass: several do; the message lists them.
        """
        if isinstance(query, str):
            return self._find_name(query)
        try:
            # True would pass for class 1, where it is most likely the outcome of a comparison that went astray; NumPy's, too.
            truth = isinstance(query, bool) or str(getattr(query, "dtype", "")) == "bool"
            index = None if truth else operator.index(query)
        except TypeError:
            index = None
        if index is None:
            raise UnknownClass(f"no class is called {query!r}: ask by index, WordNet id or name")
        if not 0 <= index < len(self):
            raise UnknownClass(f"there is no class {index}: the indices are 0 to {len(self) - 1}")
        return index

    def among(self, known: ClassNames) -> list[int]:
        """For each class its index among the classes of another model or data set: by WordNet id where both have one, or by name.

        Raises:
            UnknownClass: some are not there; the message has the first of them.
            AmbiguousClass: several go by the name of one; the message lists them.
        """
        by_wnid = {entry.wnid: index for index, entry in enumerate(known) if entry.wnid}
        by_name = known._by_name()
        indices: list[int] = []
        missing: list[str] = []
        for entry in self:
            words = [word for name in entry.names for word in _ranked(name)]
            # Two classes with ids of their own are two, whatever they are called.
            free = ([index for index in by_name.get(word, ()) if not (entry.wnid and known[index].wnid)] for word in words)
            choices = [by_wnid[entry.wnid]] if entry.wnid in by_wnid else next(filter(None, free), [])
            if len(choices) > 1:
                raise AmbiguousClass(f"{str(entry)!r} names {len(choices)} classes: {known._listed(choices)}; give WordNet ids")
            if choices:
                indices += choices
            else:
                missing.append(str(entry))
        if missing:
            more = ", ..." if len(missing) > 3 else ""
            raise UnknownClass(
                f"{len(missing)} of {len(self)} classes are not among the {len(known)} known: {', '.join(missing[:3])}{more}"
            )
        return indices

    def _by_name(self) -> Mapping[tuple[str, str], list[int]]:
        """What `_ranked` makes of the names of the classes -> their indices."""
        by_word: dict[tuple[str, str], list[int]] = {}
        for index, entry in enumerate(self):
            words = [*_ranked(entry.names[0]), *(_ranked(name)[-1] for name in entry.names[1:])]
            for word in dict.fromkeys(words):
                by_word.setdefault(word, []).append(index)
        return by_word

    def _listed(self, indices: Iterable[int]) -> str:
        """Classes with all that tells them apart, for messages."""
        entries = ((str(index), self[index].wnid, f"({', '.join(self[index].names)})") for index in indices)
        return "; ".join(" ".join(filter(None, entry)) for entry in entries)

    def _find_name(self, query: str) -> int:
        word = _key(query)
        for kind in ("wnid", "usual", "any"):
            answering = [index for index, entry in enumerate(self) if word in map(_key, _answers(entry, kind))]
            if len(answering) == 1:
                return answering[0]
            if answering:
                raise AmbiguousClass(
                    f"{query!r} names {len(answering)} classes: {self._listed(answering)}; ask by index or WordNet id"
                )
        if word.isascii() and word.isdigit():
            return self.find(int(word))
        names = {_key(name): name for entry in reversed(self._classes) for name in entry.names}
        near = [names[key] for key in get_close_matches(word, names, n=3, cutoff=0.6)]
        hint = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        raise UnknownClass(f"no class is called {query!r} among the {len(self)} of this model{hint}")

    @overload
    def __getitem__(self, index: int) -> ClassName: ...
    @overload
    def __getitem__(self, index: slice) -> ClassNames: ...
    def __getitem__(self, index: int | slice) -> ClassName | ClassNames:
        return ClassNames(self._classes[index]) if isinstance(index, slice) else self._classes[index]

    def __len__(self) -> int:
        return len(self._classes)

    def __iter__(self) -> Iterator[ClassName]:
        return iter(self._classes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassNames) and self._classes == other._classes

    def __hash__(self) -> int:
        return hash(self._classes)

    def __repr__(self) -> str:
        return f"ClassNames({len(self)}: {', '.join(map(str, self._classes[:3]))}{', ...' if len(self) > 3 else ''})"


def _from_word(word: object, by_wnid: Mapping[str | None, ClassName]) -> ClassName:
    if isinstance(word, ClassName):
        return word
    if isinstance(word, str):
        return by_wnid.get(word) or ClassName((word,))
    if isinstance(word, Mapping) and "names" in word and word.keys() <= {"names", "wnid"}:
        return ClassName(**word)
    raise ValueError(f"a class is a name, or a mapping with names and wnid, got {word!r}")


def _answers(entry: ClassName, kind: str) -> tuple[str, ...]:
    """What a class answers to: its WordNet id, its usual name or any name."""
    if kind == "wnid":
        return (entry.wnid,) if entry.wnid else ()
    return entry.names[:1] if kind == "usual" else entry.names


def _ranked(name: str) -> list[tuple[str, str]]:
    """What a name is looked up as, best first: the usual name as it is spelled, the usual name, any name."""
    return [("spelled", name), ("usual", _key(name)), ("any", _key(name))]


def _key(name: str) -> str:
    """What two spellings of a name have in common: case, white space and the way accents are composed do not count."""
    return " ".join(normalize("NFC", name).casefold().split())


def check_classes(classes: Sequence[int], num_classes: int) -> list[int]:
    """Class indices as rows of a head.

    Raises:
        IndexError: one is out of range.
        ValueError: there is none.
    """
    rows = list(classes)
    if not rows:
        raise ValueError("no classes are asked for: name some, or leave the argument out for all")
    for row in rows:
        if not 0 <= row < num_classes:
            raise IndexError(f"there is no class {row}: the indices are 0 to {num_classes - 1}")
    return rows


@cache
def imagenet1k() -> ClassNames:
    """The 1000 classes of ILSVRC-2012 in the usual order (by WordNet id), with their WordNet names."""
    table = (resources.files(__package__) / "imagenet1k.csv").read_text(encoding="utf-8")
    return ClassNames(ClassName(tuple(row["names"].split("; ")), row["wnid"]) for row in csv.DictReader(table.splitlines()))
