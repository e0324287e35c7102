"""What the logits of a classifier stand for, and how a person may ask for one of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import overload


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
    def from_words(cls, words: Iterable[str]) -> ClassNames:
        """Classes from plain words; a WordNet id of ImageNet's 1000 brings its names along."""
        known = {entry.wnid: entry for entry in imagenet1k()._classes} if (words := list(words)) else {}
        return cls(known.get(word) or ClassName((word,)) for word in words)

    @classmethod
    def numbered(cls, count: int) -> ClassNames:
        """Classes about which nothing is known but their number: "class 0", "class 1", ..."""
        return cls(ClassName((f"class {index}",)) for index in range(count))

    def to_words(self) -> list[str]:
        """What `from_words` makes these classes from: WordNet ids where they say all, names elsewhere."""
        known = {entry.wnid: entry for entry in imagenet1k()._classes}
        return [str(entry.wnid) if known.get(entry.wnid) == entry else str(entry) for entry in self]

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
        if not 0 <= query < len(self):
            raise UnknownClass(f"there is no class {query}: the indices are 0 to {len(self) - 1}")
        return query

    def _find_name(self, query: str) -> int:
        word = query.strip().casefold()
        for keys in (
            [{str(entry.wnid)} for entry in self],
            [{entry.names[0].casefold()} for entry in self],
            [{name.casefold() for name in entry.names} for entry in self],
        ):
            found = [index for index, words in enumerate(keys) if word in words]
            if len(found) == 1:
                return found[0]
            if found:
                choices = ", ".join(f"{self[index].wnid or index} ({', '.join(self[index].names)})" for index in found)
                raise AmbiguousClass(f"{query!r} names {len(found)} classes: {choices}; ask by id or index")
        if word.isascii() and word.isdigit():
            return self.find(int(word))
        names = [name for entry in self for name in entry.names]
        near = get_close_matches(query, names, n=3, cutoff=0.6)
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


@cache
def imagenet1k() -> ClassNames:
    """The 1000 classes of ILSVRC-2012 in the usual order (by WordNet id), with their WordNet names."""
    with (resources.files(__package__) / "imagenet1k.csv").open(encoding="utf-8", newline="") as file:
        return ClassNames(ClassName(tuple(row["names"].split("; ")), row["wnid"]) for row in csv.DictReader(file))
