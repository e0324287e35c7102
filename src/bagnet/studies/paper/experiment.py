"""What every experiment of the paper is: material in; a figure, its data and what came out of it; never done twice."""

from __future__ import annotations

import json
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args, get_origin, get_type_hints

import numpy as np

from ...bench.machine import machine
from ...figures.picture import Picture
from ...files import replacing
from ...runs.store import OtherRun, Store, claim, differences, held_settings
from ...runs.table import Row, columns_of, write_table
from .needs import Needs
from .subjects import Material

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RESULT = "result.json"
UNFINISHED = "unfinished"  # folder for what is kept of an experiment that is not complete
LOGITS = "logits"  # folder beside those of the experiments
_ENDINGS = (".png", ".svg")  # of each figure


@dataclass(slots=True)
class Workplace:
    """Where one experiment works, and what it notes on the way.

    Args:
        table: where the data behind its figures go.
        store: for what is measured while it runs, so that an interrupted run goes on.
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
        measures: all that was measured; `as_json` makes the record of it.
        sentences: the same for people, a sentence each; the first one says most.
        figures: name -> picture.
        rows: the data behind the figures, a mapping of column to value each; none where the table was written already.
        columns: of the table; those that the rows have, where none are named.
    """

    measures: DataclassInstance
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
        name: by which it is asked for: that of its class, in small letters. `catalogue` lists them.
        title: of its figure.
        question: what it asks, a sentence.
        paper: what the paper found, and how sure we are of that.
        differs: what is done in another way here, or was chosen where the paper is silent.
        needs: of models and images.
        sample: how many images do by default; 0 for all that there are.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    paper: ClassVar[str]
    differs: ClassVar[str]
    needs: ClassVar[Needs] = Needs()
    sample: ClassVar[int] = 0

    def __init_subclass__(cls) -> None:
        cls.name = cls.__name__.lower()

    @abstractmethod
    def find(self, material: Material, work: Workplace) -> Findings:
        """Do it.

        Args:
            material: images and models, which passed `check`.
            work: where.

        Raises:
            ValueError: the material does not suit the experiment.
        """

    def check(self, material: Material) -> None:
        """See that the material suits the experiment, as far as can be said before anything is measured.

        Raises:
            ValueError: it does not; the message says what is missing.
        """
        self.needs.check(self.name, material)

    def run(self, material: Material, out: Path, overwrite: bool = False) -> Result:
        """Do it and write figures (PNG and SVG), data (CSV) and `result.json` into `out/NAME`.

        A result that is there already, of the same settings, models and images, is returned as it is; an interrupted run
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
        self.check(material)
        folder, settings = out / self.name, self._settings(material)
        with claim(folder / UNFINISHED, settings, overwrite=overwrite) as store:
            former = _read(folder / RESULT)
            if former is not None and not store.resumed:
                if former["settings"] == settings and _whole(folder, former):
                    return Result(self.name, folder, former, True)
                if not overwrite:
                    _check_same(folder, former["settings"], settings)
            work = Workplace(folder / f"{self.name}.csv", store)
            start = time.perf_counter()
            findings = self.find(material, work)
            for name, picture in findings.figures.items():
                for path in _paths(folder, [name]):
                    picture.save(path)
            if findings.rows or findings.columns:
                write_table(work.table, findings.columns or columns_of(findings.rows), findings.rows)
            record = {
                "experiment": self.name,
                "title": self.title,
                "question": self.question,
                "paper": self.paper,
                "differs": self.differs,
                "sentences": list(findings.sentences),
                "measures": findings.measures,
                "figures": list(findings.figures),
                "table": work.table.name,
                "unusable": work.unusable,
                "settings": settings,
                "command": self._command(material, out),
                "seconds": time.perf_counter() - start,
                "machine": machine(),
            }
            _write(folder / RESULT, record)
            for path in _paths(folder, set((former or {}).get("figures", ())) - set(findings.figures)):
                path.unlink(missing_ok=True)
            store.discard()  # only now, as drawing may fail
        return Result(self.name, folder, json.loads((folder / RESULT).read_text(encoding="utf-8")))

    def check_folder(self, material: Material, out: Path) -> None:
        """See that a run replaces nothing. OtherRun: the folder holds something of other settings, models or images."""
        folder = out / self.name
        held = held_settings(folder / UNFINISHED) or (_read(folder / RESULT) or {}).get("settings")
        if held is not None:
            _check_same(folder, held, self._settings(material))

    def _settings(self, material: Material) -> dict[str, Any]:
        """What the result depends on, as it is read from JSON."""
        about = material.settings() if self.needs.images else {}
        settings: dict[str, Any] = json.loads(json.dumps({**about, **asdict(self)}))
        return settings

    def _command(self, material: Material, out: Path) -> str:
        options = {name: value for name, value in asdict(self).items() if value not in ("", ())}
        words = [f"--images {len(material)}"] if self.needs.images else []
        words += [f"--set {name}={shlex.quote(_text(value))}" for name, value in options.items()]
        return " ".join([f"bagnet paper {self.name}", material.request, *words, f"--out {shlex.quote(str(out))}"])

    @classmethod
    def with_options(cls, options: Mapping[str, str]) -> Self:
        """The experiment with some of its fields as texts, as on a command line.

        Raises:
            ValueError: it has no such field, or the text does not fit.
        """
        kinds = get_type_hints(cls)
        names = [option.name for option in fields(cls)]
        values: dict[str, object] = {}
        for name, text in options.items():
            if name not in names:
                choices = f"there are {', '.join(names)}" if names else "it has none"
                raise ValueError(f"{cls.name} has no option {name!r}: {choices}")
            values[name] = _value(name, text, kinds[name])
        return cls(**values)


def as_json(value: object) -> Any:
    """As JSON can hold it: dataclasses as mappings, numpy's numbers as Python's, and None for what is not finite."""
    if is_dataclass(value):
        return {part.name: as_json(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return as_json(value.tolist())
    if isinstance(value, np.generic):
        return as_json(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def _value(name: str, text: str, kind: Any) -> object:
    """A field's value from its text: a number, text, or several separated by commas."""
    several = get_origin(kind) is tuple
    convert = get_args(kind)[0] if several else kind
    try:
        values = [convert(word.strip()) for word in (text.split(",") if several else [text])]
    except (TypeError, ValueError):
        words = "numbers separated by commas" if several else "a number"
        raise ValueError(f"{name}={text!r}: this is not {words}") from None
    return tuple(values) if several else values[0]


def _text(value: object) -> str:
    """A field's value as `with_options` reads it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and "settings" in record else None


def _write(path: Path, record: Mapping[str, object]) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(as_json(record), indent=1, allow_nan=False), encoding="utf-8")


def _check_same(folder: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if changes := differences(held, wanted):
        raise OtherRun(f"{folder}: holds a result with {', '.join(changes)}; choose another output, or replace it (--overwrite)")


def _whole(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether all files of a result are there."""
    return all(path.is_file() for path in (folder / record["table"], *_paths(folder, record["figures"])))


def _paths(folder: Path, figures: Iterable[str]) -> list[Path]:
    return [folder / f"{name}{ending}" for name in figures for ending in _ENDINGS]
