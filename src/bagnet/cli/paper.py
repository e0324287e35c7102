"""bagnet paper"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..studies.paper.catalogue import NAMES
from .classifiers import classifiers
from .completion import among
from .options import AsJson, BatchSize, DataOrImages, Models, Overwrite, Seed, Split, Trust, Workers
from .output import print_problems
from .progress import progress_bar

if TYPE_CHECKING:
    from ..studies.paper.experiment import Result


def paper(
    name: Annotated[
        str,
        typer.Argument(
            metavar="EXPERIMENT",
            help=f"{' | '.join(NAMES)}; or all.",
            show_default=False,
            autocompletion=among(*NAMES, "all"),
        ),
    ],
    data: DataOrImages,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where each experiment has a folder of its own.", show_default=False)
    ],
    model: Models = None,
    split: Split = "val",
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N",
            help="How many images, drawn evenly from the classes; 0 for all. For one experiment of `all`: EXPERIMENT=N.",
            show_default="the experiment's own",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OPTION=VALUE",
            help="An option of an experiment, as sides=8,16; for one experiment of `all`: EXPERIMENT.sides=8,16.",
            show_default=False,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPERIMENT",
            help="An experiment that `all` leaves out. Repeat it for several.",
            show_default=False,
            autocompletion=among(*NAMES),
        ),
    ] = None,
    seed: Seed = 0,
    trust: Trust = None,
    batch_size: BatchSize = 64,
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Repeat an experiment of the paper with any models and images: figure, data and result. `all` also makes one page.

    The same command goes on where it was cut short, and does nothing twice.

    Example: `bagnet paper interactions imagenet/ --model bagnet33.orig_in1k --model torchvision:vgg16 --out paper/`
    """
    from ..studies.paper.catalogue import experiment
    from ..studies.paper.page import run_all
    from ..studies.paper.subjects import gather

    chosen = _chosen(name, skip or ())
    options = _by_experiment(option or (), chosen, name)
    counts = _counts(images or (), chosen, name)
    experiments = [experiment(title, options.get(title)) for title in chosen]
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder")
    models = classifiers(model, trust=trust)
    with progress_bar() as progress:
        material = gather(
            models,
            data,
            split,
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
            request=_data_and_models(data, model or (), split, seed, trust or ()),
        )
        if name == "all":
            results, left_out, page = run_all(experiments, material, out, counts, overwrite)
        else:
            (single,) = experiments
            results = [single.run(material.sample(counts.get(single.name, single.sample)), out, overwrite)]
            left_out, page = {}, None
    unusable = {image: reason for result in results for image, reason in result.unusable.items()}
    print_problems([*(f"{title} is left out: {reason}" for title, reason in left_out.items()), *unusable.values()])
    if as_json:
        records = [dict(result.record) for result in results]
        typer.echo(json.dumps({"results": records, "left_out": left_out, "page": None if page is None else str(page)}))
    else:
        for result in results:
            _show(result, len(results) > 1)
        bad = f", {len(unusable)} images could not be used" if unusable else ""
        typer.echo(f"-> {results[0].folder if page is None else page}{bad}")
    if unusable:
        sys.exit(2)


def _data_and_models(data: str, models: Sequence[str], split: str, seed: int, trust: Sequence[str]) -> str:
    """What was asked about, as words of a command line."""
    words = [data, *(word for model in models for word in ("--model", model))]
    words += ["--split", split] if split != "val" else []
    words += ["--seed", str(seed)] if seed else []
    return shlex.join([*words, *(word for path in trust for word in ("--trust", path))])


def _show(result: Result, several: bool) -> None:
    done = " (done already; nothing was measured again)" if result.there_already else ""
    if several:
        typer.echo(f"{result.name}: {result.record['title']}{done}")
    elif done:
        typer.echo(f"{result.folder}{done}")
    for sentence in result.sentences:
        typer.echo(f"  {sentence}" if several else sentence)


def _chosen(name: str, skip: Sequence[str]) -> Sequence[str]:
    """The experiments to run."""
    if name != "all":
        if skip:
            raise ValueError(f"--skip {skip[0]}: only `all` leaves experiments out")
        return (name,)
    if unknown := [title for title in skip if title not in NAMES]:
        raise ValueError(f"--skip {unknown[0]}: there are {', '.join(NAMES)}")
    return [title for title in NAMES if title not in skip]


def _by_experiment(options: Sequence[str], chosen: Sequence[str], name: str) -> dict[str, dict[str, str]]:
    """--set words as options of each experiment."""
    values: dict[str, dict[str, str]] = {}
    for text in options:
        key, equals, value = text.partition("=")
        title, dot, field = key.rpartition(".")
        title = title if dot else name
        if not equals or title not in chosen:
            form = "EXPERIMENT.option=value, with one that is run" if name == "all" else "option=value"
            raise ValueError(f"--set {text}: write it as {form}")
        values.setdefault(title, {})[field] = value
    return values


def _counts(images: Sequence[str], chosen: Sequence[str], name: str) -> Mapping[str, int]:
    """--images words as a number of images of each experiment that has one."""
    counts: dict[str, int] = {}
    for text in images:
        title, equals, number = text.rpartition("=")
        if not number.isdecimal() or (equals and title not in chosen):
            form = ", or EXPERIMENT=N with one that is run" if name == "all" else ""
            raise ValueError(f"--images {text}: give a number{form}")
        counts |= {title: int(number)} if equals else {each: int(number) for each in chosen if each not in counts}
    return counts
