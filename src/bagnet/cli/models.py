"""bagnet models"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AsJson, Name, Size, Trust, four_numbers
from .output import print_fields, print_title
from .progress import progress_bar

if TYPE_CHECKING:
    from ..card import Card, Score
    from ..data.transforms import Preprocessing

models = typer.Typer(help="Weights: what there is, where it is from, fetch, convert and verify.", no_args_is_help=True)


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The models known by name.

    Example: `bagnet models list`
    """
    from ..zoo.catalogue import card_of
    from ..zoo.names import model_names

    rows = [_row(card_of(name)) for name in model_names()]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        _show(rows)


def _row(card: Card) -> dict[str, Any]:
    """A model in figures, as `--json` has it."""
    from ..zoo.fetch import cached
    from ..zoo.names import DEFAULT, bundled

    window = card.local.geometry
    best = card.scores[0] if card.scores else None
    fetched = card.source is not None and cached(card.source)
    return {
        "name": card.name,
        "default": card.name == DEFAULT,
        "window": window.size,
        "stride": window.stride,
        "classes": len(card.classes),
        "top1": best.top1 if best else None,
        "top5": best.top5 if best else None,
        "data": best.data if best else None,
        "weights": "bundled" if card.name in bundled() else "fetched" if fetched else "to fetch",
    }


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line each, under the images that it was measured on; at most 79 characters."""
    line = "{:42}  {:>6}  {:>5}  {:>5}  {}".format
    print_title(line("model", "window", "top-1", "top-5", "weights"))
    groups: dict[tuple[str | None, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["classes"]), []).append(row)
    for (data, classes), group in groups.items():
        typer.echo(f"{classes:,} classes, measured on {data}" if data else f"{classes:,} classes, not measured")
        for row in sorted(group, key=lambda row: row["window"]):
            name = f"  {row['name']}{' *' if row['default'] else ''}"
            scores = ["" if row[key] is None else f"{row[key]:.2f}" for key in ("top1", "top5")]
            typer.echo(line(name, f"{row['window']}/{row['stride']}", *scores, row["weights"]))
    typer.echo("window: side/stride in pixels. *: where no --model is given.")


@models.command()
def info(name: Name, as_json: AsJson = False) -> None:
    """All that is known of a set of weights.

    Example: `bagnet models info bagnet33.orig_in1k`
    """
    from ..zoo.catalogue import card_at

    card = card_at(name)
    if as_json:
        typer.echo(card.to_json())
        return
    scores = list(enumerate(card.scores, 1))
    fields = {
        "model": card.name,
        **_network(card),
        "classes": f"{len(card.classes)}: {', '.join(map(str, card.classes[:4]))}{', ...' if len(card.classes) > 4 else ''}",
        "input": _input(card.preprocessing),
        "trained on": card.trained_on,
        "temperature": "" if card.temperature == 1 else f"{card.temperature:.4g}, of probabilities",
        "licence": card.licence,
        "command": card.command,
        **{f"accuracy {number}" if len(card.scores) > 1 else "accuracy": _score(card, score) for number, score in scores},
        "published at": card.source.url if card.source else "",
        "check": card.source.strength if card.source else "",
        "file sha256": card.source_sha256 or "",
        "digest": card.digest or "",
        "keep float32": ", ".join(card.float32_layers),
        "notes": card.notes,
    }
    print_fields(fields, whole=["command", "published at"])


def _input(prepare: Preprocessing) -> str:
    """What of an image is seen, in words."""
    levels = "" if prepare.grey is None else f"; of deeper grey, {prepare.grey[0]:g} is black and {prepare.grey[1]:g} white"
    side = "at its own size" if prepare.resize is None else f"shorter side {prepare.resize} px, {prepare.interpolation}"
    seen = f"the whole image, {side}" if prepare.crop is None else f"{side}, the middle {prepare.crop} x {prepare.crop} px of it"
    return seen + levels


def _score(card: Card, score: Score) -> str:
    """How right it is, as far as that says something of its number of classes."""
    from ..evaluation.measures import FEW_CLASSES, TOP5_CLASSES

    measures = [f"{score.top1:.2f} % top-1"]
    if len(card.classes) >= TOP5_CLASSES:
        measures.append(f"{score.top5:.2f} % top-5")
    if score.balanced_accuracy is not None:
        measures.insert(0 if len(card.classes) <= FEW_CLASSES else len(measures), f"{score.balanced_accuracy:.2f} % balanced")
    images = f" ({score.images:,} images)" if score.images else ""
    return f"{', '.join(measures)} on {score.data}{images}, {score.measured}"


def _network(card: Card) -> dict[str, str]:
    """What computes, in words."""
    from ..architecture import ExternalArchitecture, Windowed

    if isinstance(card.architecture, ExternalArchitecture):
        return {"network": card.architecture.network}
    shape, window = card.architecture, card.architecture.geometry
    if isinstance(shape, Windowed):
        resized = f", resized to {shape.resize} px" if shape.resize else ""
        return {"window": f"{window.size} px every {window.stride} px{resized}", "network": f"{shape.network}, window by window"}
    return {
        "window": f"{window.size} px every {window.stride} px{', zero-padded' if shape.padded else ''}",
        "network": f"kernel3 {shape.kernel3}, strides {shape.strides}, layers {shape.layers}, width {shape.width}",
    }


@models.command()
def pull(name: Name, as_json: AsJson = False) -> None:
    """Fetch published weights into the cache, going on where an earlier call broke off.

    Example: `bagnet models pull bagnet33.orig_in1k`
    """
    from ..zoo.catalogue import card_of
    from ..zoo.fetch import fetch
    from ..zoo.names import bundled, full_name

    card = card_of(full_name(name))
    if card.source is None:
        path, check = bundled()[card.name], "in the package"
    else:
        with progress_bar() as progress:
            path = fetch(card.source, progress)
        check = card.source.strength
    if as_json:
        typer.echo(json.dumps({"model": card.name, "file": str(path), "check": check}))
    else:
        typer.echo(f"{path} ({check})")


@models.command()
def convert(
    name: Name,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .safetensors file to write.", show_default=False)],
    diagnose: Annotated[bool, typer.Option("--diagnose", help="Measure dead channels and rounding, layer by layer.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove dead channels exactly; name the layers to keep in float32.")
    ] = False,
    photo: Annotated[
        list[Path] | None,
        typer.Option(metavar="IMAGE", help="What to measure on. Repeat it for several.", show_default="samples"),
    ] = None,
    size: Size = None,
    strides: Annotated[
        str | None,
        typer.Option(metavar="A,B,C,D", help="Stride of each stage.", show_default="as the card says; else to be given"),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(metavar="X", min=0, help="Share of the largest logit that one layer's rounding may cost."),
    ] = 1e-2,
    half: Annotated[bool, typer.Option("--half", help="Store convolutions in float16: half the bytes, other logits.")] = False,
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Write published weights as safetensors with their card inside; on request, measure and mend them first.

    Example: `bagnet models convert bagnet33.orig_in1k --out bagnet33.safetensors --diagnose --repair`
    """
    from ..engine.diagnose import diagnose as measure
    from ..engine.diagnose import mend, sample_images
    from ..files import replacing
    from ..model import BagNet
    from ..weights import packed, storable
    from ..zoo.load import load_network

    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: the file to write ends in .safetensors")
    with replacing(out) as part:  # so that a target which cannot be written is known before minutes of measuring
        part.touch()
        with progress_bar() as progress:
            known = None if strides is None else four_numbers(strides)
            model = load_network(name, strides=known, trust=trust or (), progress=progress)
        report = mended = None
        if diagnose or repair:
            if not isinstance(model, BagNet):
                raise ValueError(f"{name}: is not a BagNet, whose layers alone are diagnosed: leave --diagnose and --repair out")
            x = sample_images(model, photo, size)
            with progress_bar() as progress:
                report = measure(model, x, tolerance, progress)
                mended = mend(model, x, report, progress) if repair else None
        state, card = storable(model, half)
        part.write_bytes(packed(state, card))
    if as_json:
        result = {"file": str(out), "digest": card.digest, "diagnosis": report and report.to_dict()}
        typer.echo(json.dumps({**result, "repair": mended and mended.to_dict()}))
        return
    for part_of_report in (report, mended):
        if part_of_report is not None:
            typer.echo(part_of_report.to_text())
    typer.echo(f"-> {out} ({out.stat().st_size:,} bytes, digest {str(card.digest)[:16]}...)")


@models.command()
def verify(name: Name, trust: Trust = None, as_json: AsJson = False) -> None:
    """Check the weights of a model or file against what their card says.

    Example: `bagnet models verify bagnet33.safetensors`
    """
    from ..zoo.verify import verify as check

    with progress_bar() as progress:
        result = check(name, progress, trust or ())
    if as_json:
        typer.echo(json.dumps({"model": result.name, "digest": result.digest, "checks": list(result.checks)}))
        return
    typer.echo(f"{result.name}: digest {result.digest}")
    for line in result.checks:
        typer.echo(f"  {line}")
