"""All experiments, and one page that tells what the paper found, what was measured here, and what differs.

The page is made of the records that experiments leave in `result.json`: as HTML beside them, or as Markdown for a documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...figures.page import render
from ...figures.words import counted
from ...files import replacing
from ...runs.store import OtherRun
from .experiment import Experiment, Result
from .subjects import Material, Subject

PAGE = "paper.html"


def run_all(
    experiments: Sequence[Experiment], material: Material, out: Path, counts: Mapping[str, int], overwrite: bool = False
) -> tuple[list[Result], dict[str, str], Path]:
    """Run experiments, those that suit the material, and make the page of all.

    Args:
        experiments: in the order of the page.
        material: all images, and the models.
        out: a folder of its own in it for each.
        counts: how many images for those that are not to take their own number.
        overwrite: replace what is there of other settings, models or images.

    Returns:
        What came out, the reason of each experiment that was left out, and where the page is.

    Raises:
        ValueError: none suits the material; the message is the last one's reason.
        OtherRun: a folder holds a run of other settings, models or images; seen before anything is measured.
        Busy: another run is at work on one.
        OSError: something cannot be written.
    """
    suited: list[tuple[Experiment, Material]] = []
    left_out: list[tuple[Experiment, str]] = []
    for experiment in experiments:
        sample = material.sample(counts.get(experiment.name, experiment.sample))
        try:
            experiment.check(sample)
            suited.append((experiment, sample))
        except ValueError as error:
            left_out.append((experiment, str(error)))
    if not overwrite:
        for experiment, sample in suited:
            experiment.check_folder(sample, out)
    results: list[Result] = []
    for experiment, sample in suited:
        try:
            results.append(experiment.run(sample, out, overwrite))
        except OtherRun:  # no matter of the material
            raise
        except (ValueError, ImportError) as error:
            left_out.append((experiment, str(error)))
        except RuntimeError as error:  # memory that does not suffice, a network with no gradient: not the end of the others
            left_out.append((experiment, f"it failed: {error}".splitlines()[0]))
    if not results:
        raise ValueError(f"no experiment suits {material.data} and these models: {left_out[-1][1]}")
    path = out / PAGE
    with replacing(path) as part:
        part.write_text(_page(results, left_out, material), encoding="utf-8")
    return results, {experiment.name: reason for experiment, reason in left_out}, path


def _page(results: Sequence[Result], left_out: Sequence[tuple[Experiment, str]], material: Material) -> str:
    """As HTML, with all figures inside."""
    figures = {path.parent.name + "/" + path.stem: path.read_bytes() for result in results for path in result.figures}
    return render(
        __package__,
        "paper.html",
        title="Bags of local features, experiment by experiment",
        data=material.data,
        classes=len(material.classes),
        models=[(model.name, _view(model), _size(model), _parameters(model)) for model in material.ordered],
        sections=[_section(result.record) for result in results],
        figures=figures,
        left_out=[(experiment.name, experiment.title, reason) for experiment, reason in left_out],
        machines=_machines([result.record for result in results]),
    )


def markdown(records: Sequence[Mapping[str, Any]], title: str, note: str, figures: str) -> str:
    """The same of some results as Markdown.

    Args:
        records: what their `result.json` hold.
        title: of the page.
        note: what else is to be said at the top.
        figures: the folder that has the figures, as the page refers to it.
    """
    return render(
        __package__,
        "paper.md",
        title=title,
        note=note,
        sections=[_section(record) for record in records],
        figures=figures,
        machines=_machines(records),
    )


class _Section(NamedTuple):
    """What a page says of one experiment, whatever it is written in."""

    name: str
    title: str
    question: str
    paper: str
    sentences: Sequence[str]
    differs: str
    figures: Sequence[str]
    table: str
    effort: str
    command: str

    @property
    def command_for_others(self) -> str:
        """Into a folder that anybody may have, not the one where it was measured."""
        return self.command.partition(" --out ")[0] + " --out paper"


def _section(record: Mapping[str, Any]) -> _Section:
    names = ("title", "question", "paper", "sentences", "differs", "figures", "table", "command")
    return _Section(name=record["experiment"], effort=_effort(record), **{name: record[name] for name in names})


def _effort(record: Mapping[str, Any]) -> str:
    """How many images and how long, with what could not be used."""
    seconds = f"{record['seconds']:,.0f} s"
    images = record["settings"].get("images")
    if images is None:
        return seconds
    reasons = list(record["unusable"].values())
    unusable = f" ({len(reasons):,} of which could not be used, such as {reasons[0]})" if reasons else ""
    return f"{counted(images, 'image')}{unusable}, {seconds}"


def _machines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where all of it was measured, each machine once, with the versions of what ran there."""
    machines = (record["machine"] for record in records)
    facts = ({**machine, **machine.get("versions", {})} for machine in machines)
    said = (", ".join(f"{name} {value}" for name, value in each.items() if not isinstance(value, dict)) for each in facts)
    return list(dict.fromkeys(said))


def _view(model: Subject) -> str:
    return "the whole image" if model.window is None else f"windows of {model.window} px"


def _size(model: Subject) -> str:
    return "as it is" if model.transform.crop is None else f"{model.transform.crop} px"


def _parameters(model: Subject) -> str:
    return f"{sum(weights.numel() for weights in model.module.parameters()) / 1e6:.2f} M"
