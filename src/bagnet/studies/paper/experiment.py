"""What every experiment of the paper is: material in; a figure, its data and what was found out; never done twice."""

from __future__ import annotations

import json
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

import numpy as np

from ...bench.machine import machine
from ...figures.picture import Picture
from ...files import replacing
from ...runs.journal import Journal, OtherRun, Row, alone
from .subjects import Material

RESULT = "result.json"
BEGUN = "begun.json"  # beside what is known of an unfinished run: its settings and command
_JOURNALS = "*.journal"


@dataclass(frozen=True, slots=True)
class Findings:
    """What came out of an experiment, before it is written.

    Args:
        measures: all figures that were measured, as JSON can hold them.
        sentences: the same for people, a sentence each; the first one says most.
        figures: name -> picture.
        rows: the data behind the figures, a mapping of column to value each; none where `table` was written already.
    """

    measures: Mapping[str, Any]
    sentences: Sequence[str]
    figures: Mapping[str, Picture]
    rows: Sequence[Row] = field(default_factory=tuple)


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
    def find(self, material: Material, folder: Path) -> Findings:
        """Do it.

        Args:
            material: images and models.
            folder: for what is kept while it runs, so that an interrupted run goes on; it is there already.

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
        with alone(out / self.name):
            return self._run(material, out, overwrite)

    def _run(self, material: Material, out: Path, overwrite: bool) -> Result:
        folder = out / self.name
        settings = self._settings(material)
        known, begun = _read(folder / RESULT), _read(folder / BEGUN)
        if begun is None and known is not None and known["settings"] == settings and _whole(folder, known):
            return Result(self.name, folder, known, True)
        if not overwrite:
            self.check_folder(material, out)
        if self.labels:
            _ = material.labels
        folder.mkdir(parents=True, exist_ok=True)
        aside = []  # journals of other settings, which are put back where this comes to nothing
        if (begun or known or {}).get("settings") != settings:
            aside = [path.rename(path.with_name(f"{path.name}.old")) for path in folder.glob(_JOURNALS)]
        record: dict[str, Any] = {"settings": settings, "command": self._command(material, out)}
        before = set(folder.rglob("*"))
        _write(folder / BEGUN, record)
        material = replace(material, unusable={})
        start = time.perf_counter()
        try:
            found = self.find(material, folder)
        except BaseException:
            if set(folder.rglob("*")) == before | {folder / BEGUN}:
                (folder / BEGUN).unlink()
                for path in aside:
                    path.rename(path.with_suffix(""))
                if begun is not None:
                    _write(folder / BEGUN, begun)
            raise
        for name, picture in found.figures.items():
            for ending in (".png", ".svg"):
                picture.save(folder / f"{name}{ending}")
        table = folder / f"{self.name}.csv"
        if found.rows:
            columns = list(dict.fromkeys(column for row in found.rows for column in row))
            with Journal(table, settings, overwrite=True) as journal:
                journal.write("row", ((str(number), row) for number, row in enumerate(found.rows)))
                journal.finish(columns)
        record = {
            "experiment": self.name,
            "title": self.title,
            "question": self.question,
            "paper": self.paper,
            "differs": self.differs,
            "sentences": list(found.sentences),
            "measures": found.measures,
            "figures": list(found.figures),
            "table": table.name,
            "unusable": material.unusable,
            **record,
            "seconds": time.perf_counter() - start,
            "machine": machine(),
        }
        _write(folder / RESULT, record)
        (folder / BEGUN).unlink()
        for path in [*folder.glob(_JOURNALS), *aside]:  # till now, as drawing may fail
            path.unlink()
        for name in set((known or {}).get("figures", ())) - set(found.figures):
            for ending in (".png", ".svg"):
                (folder / f"{name}{ending}").unlink(missing_ok=True)
        return Result(self.name, folder, json.loads((folder / RESULT).read_text(encoding="utf-8")))

    def check_folder(self, material: Material, out: Path) -> None:
        """See that a run replaces nothing. OtherRun: the folder holds something of other settings, models or images."""
        folder = out / self.name
        known, settings = _read(folder / BEGUN) or _read(folder / RESULT), self._settings(material)
        if known is not None and known["settings"] != settings:
            raise OtherRun(
                f"{folder}: holds a run of other settings, models or images ({_difference(known['settings'], settings)}); "
                "choose another output, or replace it (--overwrite)"
            )

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


def _difference(known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The first setting that is another one, in words."""
    name = next(name for name in [*known, *asked] if known.get(name) != asked.get(name))
    if name in ("fingerprint", "models"):
        return "other images" if name == "fingerprint" else "other models"
    return f"{name} {known.get(name)} there, {asked.get(name)} here"


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
