"""bagnet paper"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .inference import Trust, classifier
from .progress import progress_bar

if TYPE_CHECKING:
    from ..studies.paper.experiment import Result


def paper(
    name: Annotated[
        str,
        typer.Argument(
            help="accuracy | runtime | heatmaps | patches | mistakes | texturise | interactions | errors | masking | sensitivity "
            "| layout | thresholds, or all.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Images: a folder with a folder for each class, with Parquet tables or tar shards; a .npz file; hub:NAME; or, "
            "where no labels are needed, any folder of images.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="A folder; each experiment has one of its own in it.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "--models",
            help="A model's name (`bagnet models list`) or file; another network as timm:NAME, torchvision:NAME or "
            "package.module:function; repeat it for several.",
            show_default="the bundled one",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train | val; a folder without splits is all train.")] = "val",
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="How many images, drawn evenly from the classes; 0 for all. For one experiment of `all`: NAME=N.",
            show_default="the experiment's own",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An option of an experiment, as sides=8,16; for one experiment of `all`: NAME.sides=8,16.",
            show_default=False,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="An experiment that `all` leaves out; repeat it for several.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn by lot.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that decode.", show_default="cores - 2; 0 below 4,000 images")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results, finished or not, of other settings, models or images.")
    ] = False,
    trust: Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Repeat an experiment of the paper with any models and images: figure, data and result. `all` also makes one page.

    The same command goes on where it was cut short, and does nothing twice.

    Example: `bagnet paper interactions --models bagnet33.orig_in1k --models torchvision:vgg16 --data imagenet/ --out paper/`
    """
    from ..studies.paper.catalogue import NAMES, experiment
    from ..studies.paper.page import run_all
    from ..studies.paper.subjects import gather

    asked = _asked(name, skip or (), NAMES)
    options = _by_experiment(option or (), asked, name)
    counts = _counts(images or (), asked, name)
    experiments = [experiment(one, options.get(one)) for one in asked]
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder")
    words = model or [""]
    if len(set(words)) < len(words):
        raise ValueError(f"--model {next(word for word in words if words.count(word) > 1)} is given twice")
    ready = [classifier(word, trust=trust or ()) for word in words]
    cards = [one.card.name if one.card is not None else word for one, word in zip(ready, words, strict=True)]
    names = [word if cards.count(card) > 1 else card for word, card in zip(words, cards, strict=True)]
    with progress_bar() as progress:
        material = gather(
            list(zip(names, ready, strict=True)),
            data,
            split,
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
            request=_given(model or (), data, split, seed, trust or ()),
        )
        if name == "all":
            results, left_out, page = run_all(experiments, material, out, counts, overwrite)
        else:
            (one,) = experiments
            results = [one.run(material.sample(counts.get(one.name, one.sample)), out, overwrite)]
            left_out, page = {}, None
    for experiment_name, reason in left_out.items():
        typer.echo(f"bagnet: {experiment_name} is left out: {reason}", err=True)
    unusable = {image: reason for one in results for image, reason in one.unusable.items()}
    for reason in unusable.values():
        typer.echo(f"bagnet: {reason}", err=True)
    if as_json:
        records = [dict(one.record) for one in results]
        typer.echo(json.dumps({"results": records, "left_out": left_out, "page": None if page is None else str(page)}))
    else:
        for result in results:
            _show(result, len(results) > 1)
        bad = f", {len(unusable)} images could not be used" if unusable else ""
        typer.echo(f"-> {results[0].folder if page is None else page}{bad}")
    if unusable:
        sys.exit(2)


def _given(models: Sequence[str], data: str, split: str, seed: int, trust: Sequence[str]) -> str:
    """What was asked about, as words of a command line."""
    words = [*(word for one in models for word in ("--models", one)), "--data", data]
    words += ["--split", split] if split != "val" else []
    words += ["--seed", str(seed)] if seed else []
    return shlex.join([*words, *(word for one in trust for word in ("--trust", one))])


def _show(result: Result, several: bool) -> None:
    there = " (done already; nothing was measured again)" if result.there_already else ""
    if several:
        typer.echo(f"{result.name}: {result.record['title']}{there}")
    elif there:
        typer.echo(f"{result.folder}{there}")
    for sentence in result.sentences:
        typer.echo(f"  {sentence}" if several else sentence)


def _asked(name: str, skip: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """The experiments to run."""
    if name != "all":
        if skip:
            raise ValueError(f"--skip {skip[0]}: only `all` leaves experiments out")
        return (name,)
    if unknown := [one for one in skip if one not in names]:
        raise ValueError(f"--skip {unknown[0]}: there are {', '.join(names)}")
    return [one for one in names if one not in skip]


def _by_experiment(options: Sequence[str], asked: Sequence[str], name: str) -> dict[str, dict[str, str]]:
    """--set words as options of each experiment."""
    found: dict[str, dict[str, str]] = {}
    for text in options:
        key, equals, value = text.partition("=")
        place, dot, field = key.rpartition(".")
        place = place if dot else name
        if not equals or place not in asked:
            form = "NAME.option=value, with a NAME of an experiment" if name == "all" else "option=value"
            raise ValueError(f"--set {text}: write it as {form}")
        found.setdefault(place, {})[field] = value
    return found


def _counts(images: Sequence[str], asked: Sequence[str], name: str) -> Mapping[str, int]:
    """--images words as a number of images of each experiment that has one."""
    found: dict[str, Any] = {}
    for text in images:
        place, equals, number = text.rpartition("=")
        if not number.isdecimal() or (equals and place not in asked):
            raise ValueError(
                f"--images {text}: give a number{', or NAME=N with a NAME of an experiment' if name == 'all' else ''}"
            )
        found.update({place: int(number)} if equals else {one: int(number) for one in asked if one not in found})
    return found
