"""What every experiment of the paper is: material in; a figure, its data and what was found out; never done twice."""

from __future__ import annotations

import json
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

import numpy as np

from ...bench.machine import machine
from ...figures.picture import Picture
from ...files import replacing
from ...runs.store import OtherRun, Store, claim, differences, held_settings
from ...runs.table import Row, columns_of, write_table
from .subjects import Material

RESULT = "result.json"
UNFINISHED = "unfinished"  # folder for what is known of an experiment that is not complete
LOGITS = "logits"  # folder beside those of the experiments


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where one experiment works, and what it notes on the way.

    Args:
        table: where the data behind its figures go.
        store: for what is known while it runs, so that an interrupted run goes on.
        unusable: name of each image that could not be used -> why.
    """

    table: Path
    store: Store
    unusable: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """For what it leaves."""
        return self.table.parent

    @property
    def cache(self) -> Path:
        """For logits, which other experiments use, too."""
        return self.folder.parent / LOGITS

    def note_unusable(self, image: str, reason: str) -> None:
        """That an image could not be used; the first reason stays."""
        self.unusable.setdefault(image, reason)


@dataclass(frozen=True, slots=True)
class Findings:
    """What came out of an experiment, before it is written.

    Args:
        measures: all figures that were measured, as JSON can hold them.
        sentences: the same for people, a sentence each; the first one says most.
        figures: name -> picture.
        rows: the data behind the figures, a mapping of column to value each; none where the table was written already.
        columns: of the table; those that the rows have, where none are named.
    """

    measures: Mapping[str, Any]
    sentences: Sequence[str]
    figures: Mapping[str, Picture]
    rows: Sequence[Row] = ()
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """What an experiment left in its folder.

    Args:
        name: of the experiment.
        folder: where.
        record: what `result.json` holds: `measures`, `sentences`, `figures` (names of files), `table`, `settings`, the
            `command` that repeats it, `seconds`, `machine`, and the `unusable` images with the reason of each.
        there_already: nothing had to be done.
    """

    name: str
    folder: Path
    record: Mapping[str, Any]
    there_already: bool = False

    @property
    def sentences(self) -> list[str]:
        return list(self.record["sentences"])

    @property
    def unusable(self) -> dict[str, str]:
        """Name of each image that could not be used -> why."""
        return dict(self.record["unusable"])

    @property
    def figures(self) -> list[Path]:
        """PNG files."""
        return [self.folder / f"{name}.png" for name in self.record["figures"]]


@dataclass(frozen=True)
class Experiment(ABC):
    """One figure or table of the paper. The fields of a subclass are what can be chosen about it.

    Attributes:
        name: by which it is asked for.
        title: of its figure.
        question: what it asks, a sentence.
        paper: what the paper found, and how sure we are of that.
        differs: what is done in another way here, or was chosen where the paper is silent.
        labels: whether the images must have labels.
        sample: how many images do by default; 0 for all that there are.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    paper: ClassVar[str]
    differs: ClassVar[str]
    labels: ClassVar[bool] = True
    sample: ClassVar[int] = 0

    @abstractmethod
    def find(self, material: Material, work: Workplace) -> Findings:
        """Do it.

        Args:
            material: images and models.
            work: where.

        Raises:
            ValueError: the material does not suit the experiment.
        """

    def run(self, material: Material, out: Path, overwrite: bool = False) -> Result:
        """Do it and write figures (PNG and SVG), data (CSV) and `result.json` into `out/NAME`.

        A result that is there already, of the same settings, models and images, is returned as it is; one that was cut short
        goes on.

        Args:
            material: images and models.
            out: a folder.
            overwrite: replace what is there of other settings, models or images.

        Raises:
            ValueError: the material does not suit the experiment.
            OtherRun: the folder holds a result, or the beginning of one, of other settings, models or images.
            Busy: another run is at work on it.
            OSError: something cannot be written.
        """
        folder, settings = out / self.name, self._settings(material)
        with claim(folder / UNFINISHED, settings, overwrite=overwrite) as store:
            known = _read(folder / RESULT)
            if known is not None and not store.resumed:
                if known["settings"] == settings and _whole(folder, known):
                    return Result(self.name, folder, known, True)
                if not overwrite:
                    _check_same(folder, known["settings"], settings)
            if self.labels:
                _ = material.labels
            work = Workplace(folder / f"{self.name}.csv", store)
            start = time.perf_counter()
            found = self.find(material, work)
            for name, picture in found.figures.items():
                for ending in (".png", ".svg"):
                    picture.save(folder / f"{name}{ending}")
            if found.rows or found.columns:
                write_table(work.table, found.columns or columns_of(found.rows), found.rows)
            record = {
                "experiment": self.name,
                "title": self.title,
                "question": self.question,
                "paper": self.paper,
                "differs": self.differs,
                "sentences": list(found.sentences),
                "measures": found.measures,
                "figures": list(found.figures),
                "table": work.table.name,
                "unusable": work.unusable,
                "settings": settings,
                "command": self._command(material, out),
                "seconds": time.perf_counter() - start,
                "machine": machine(),
            }
            _write(folder / RESULT, record)
            for name in set((known or {}).get("figures", ())) - set(found.figures):
                for ending in (".png", ".svg"):
                    (folder / f"{name}{ending}").unlink(missing_ok=True)
            store.discard()  # only now, as drawing may fail
        return Result(self.name, folder, json.loads((folder / RESULT).read_text(encoding="utf-8")))

    def check_folder(self, material: Material, out: Path) -> None:
        """See that a run replaces nothing. OtherRun: the folder holds something of other settings, models or images."""
        folder = out / self.name
        known = held_settings(folder / UNFINISHED) or (_read(folder / RESULT) or {}).get("settings")
        if known is not None:
            _check_same(folder, known, self._settings(material))

    def _settings(self, material: Material) -> dict[str, Any]:
        """What the result depends on, as it is read from JSON."""
        found: dict[str, Any] = json.loads(json.dumps({**material.settings(), **asdict(self)}))
        return found

    def _command(self, material: Material, out: Path) -> str:
        options = {name: value for name, value in asdict(self).items() if value not in ("", ())}
        words = [f"--set {name}={shlex.quote(_text(value))}" for name, value in options.items()]
        return " ".join(
            [f"bagnet paper {self.name}", material.given, f"--images {len(material)}", *words, f"--out {shlex.quote(str(out))}"]
        )

    @classmethod
    def with_options(cls, options: Mapping[str, str]) -> Self:
        """The experiment with some of its fields given as text, as on a command line.

        Raises:
            ValueError: it has no such field, or the text does not fit.
        """
        hints = get_type_hints(cls)
        names = [one.name for one in fields(cls)]
        values: dict[str, Any] = {}
        for name, text in options.items():
            if name not in names:
                choices = f"there are {', '.join(names)}" if names else "it has none"
                raise ValueError(f"{cls.name} has no option {name!r}: {choices}")
            values[name] = _value(name, text, hints[name])
        return cls(**values)


def _value(name: str, text: str, kind: Any) -> Any:
    """A field's value from its text: a number, text, or several separated by commas."""
    several = getattr(kind, "__origin__", None) is tuple
    one = kind.__args__[0] if several else kind
    try:
        values = [one(word.strip()) for word in (text.split(",") if several else [text])]
    except (TypeError, ValueError):
        words = "numbers separated by commas" if several else "a number"
        raise ValueError(f"{name}={text!r}: this is not {words}") from None
    return tuple(values) if several else values[0]


def _text(value: Any) -> str:
    """A field's value as `with_options` reads it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and "settings" in found else None


def _write(path: Path, record: Mapping[str, Any]) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(_plain(record), indent=1, allow_nan=False), encoding="utf-8")


def _check_same(folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if changes := differences(known, asked):
        raise OtherRun(f"{folder}: holds a result with {', '.join(changes)}; choose another output, or replace it (--overwrite)")


def _whole(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether all files of a result are there."""
    names = [record["table"], *(f"{name}{ending}" for name in record["figures"] for ending in (".png", ".svg"))]
    return all((folder / name).is_file() for name in names)


def _plain(value: Any) -> Any:
    """As JSON can hold it: numpy's numbers as Python's, and None for what is no number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
