"""Work that several machines share: a part of it each, kept in a folder each, and what must be there before they are joined.

A part is a pair (number, count): (2, 4) is the second of four. Whoever computes it keeps it in a store whose settings say so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from .store import FINISHED, differences, held_settings

Shard = tuple[int, int]
BLOCK = 64  # images: parts of many begin where a batch of 1, 2, 4 ... 64 would, so that a batch is the same in all runs


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part.

    Args:
        folder: of its store.
        settings: of its run.
    """

    folder: Path
    settings: Mapping[str, Any]


def check_shard(shard: Shard | None) -> None:
    """See that there is such a part; None is the whole. ValueError: there is not."""
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise ValueError(f"there is no part {shard[0]} of {shard[1]}: the first of four is 1/4, the last 4/4")


def shard_of(total: int, shard: Shard | None, block: int = BLOCK) -> range:
    """Which of so many things a part has: neighbours, as files are read from front to back; of all parts about as many.

    Args:
        total: of all parts.
        shard: which part; None is the whole.
        block: where there are many, each part begins at a multiple of this.
    """
    number, count = shard or (1, 1)
    block = block if total >= block * count else 1
    first, end = (round(total * edge / count / block) * block for edge in (number - 1, number))
    return range(first, total if number == count else end)


def shard_settings(work: str, shard: Shard, names: Sequence[str]) -> dict[str, Any]:
    """What the settings of a part's run have beside those of the whole.

    Args:
        work: what kind of work it is a part of.
        shard: which part.
        names: of all that is worked on, of which `shard_of` is this part's.
    """
    digest = sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()
    return {"work": work, "shard": list(shard), "total": len(names), "names": digest}


def work_of(folder: Path) -> str:
    """The kind of work that a folder holds a part of. ValueError: it holds none."""
    settings = held_settings(folder)
    if settings is None or "work" not in settings:
        raise ValueError(f"{folder}: holds no part of anything: name the folders that --shard wrote")
    return str(settings["work"])


def all_parts(folders: Sequence[str | PathLike[str]], work: str, free: Collection[str] = ()) -> list[Part]:
    """All parts of one piece of work, in their order.

    Args:
        folders: of the parts, in any order.
        work: the kind of work.
        free: settings that may differ between machines.

    Raises:
        ValueError: a folder holds no finished part, they are of different runs, or a part is missing or there twice.
    """
    paths = [Path(fspath(folder)) for folder in folders]
    if not paths:
        raise ValueError("name the folders of all parts")
    parts = []
    for path in paths:
        if work_of(path) != work:
            raise ValueError(f"{path}: holds a part of {work_of(path)}, not of {work}")
        parts.append(Part(path, held_settings(path) or {}))
        if not (path / f"{FINISHED}.npz").exists():
            raise ValueError(f"{path}: holds a part that is not finished: give its command again")
        if other := differences(parts[0].settings, parts[-1].settings, free={"shard", *free}):
            raise ValueError(f"{path}: is of another run than {parts[0].folder}, with {', '.join(other)}")
    shards = [tuple(part.settings["shard"]) for part in parts]
    count = shards[0][1]
    if sorted(shards) != [(number, count) for number in range(1, count + 1)]:
        there = ", ".join(f"{number}/{all_}" for number, all_ in shards)
        raise ValueError(f"there are the parts {there}: to be merged there must be 1/{count} to {count}/{count}, each once")
    return sorted(parts, key=lambda part: part.settings["shard"][0])
