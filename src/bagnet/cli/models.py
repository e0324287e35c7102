"""bagnet models"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inference import Trust
from .progress import progress_bar

if TYPE_CHECKING:
    from ..card import Card

models = typer.Typer(help="Weights: what there is, where it is from, fetch, convert and verify.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The models known by name. Example: `bagnet models list`"""
    from ..zoo.catalogue import DEFAULT, bundled, card_of, published
    from ..zoo.fetch import cached

    rows = []
    for name in [*bundled(), *published()]:
        card = card_of(name)
        at_hand = "in the package" if name in bundled() else "fetched" if card.source and cached(card.source) else "on first use"
        window = card.bagnet.geometry
        best = card.scores[0] if card.scores else None
        rows.append(
            {
                "name": name,
                "default": name == DEFAULT,
                "window": window.size,
                "stride": window.stride,
                "classes": len(card.classes),
                "top1": best.top1 if best else None,
                "top5": best.top5 if best else None,
                "data": best.data if best else None,
                "weights": at_hand,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("model", "window", "stride", "classes", "top-1", "top-5", "on", "weights"):
        numeric = title in ("window", "stride", "classes", "top-1", "top-5")
        table.add_column(title, justify="right" if numeric else "left", no_wrap=title == "model")
    for row in rows:
        score = [f"{row[key]:.2f}" if row[key] is not None else "" for key in ("top1", "top5")]
        name = f"{row['name']}{' *' if row['default'] else ''}"
        cells = [name, row["window"], row["stride"], row["classes"], *score, row["data"] or "", row["weights"]]
        table.add_row(*map(str, cells))
    Console().print(table)
    typer.echo("* what is used where no model is named")


@models.command()
def info(name: Name, as_json: AsJson = False) -> None:
    """All that is known of a set of weights. Example: `bagnet models info bagnet33.orig_in1k`"""
    from ..zoo.catalogue import card_at

    card = card_at(name)
    if as_json:
        typer.echo(card.to_json())
        return
    prepare = card.preprocessing
    lines = {
        "model": card.name,
        **_network(card),
        "classes": f"{len(card.classes)}: {', '.join(map(str, card.classes[:4]))}{', ...' if len(card.classes) > 4 else ''}",
        "input": f"resize {prepare.resize or 'no'}, crop {prepare.crop or 'no'}, {prepare.interpolation}",
        "trained on": card.trained_on,
        "licence": card.licence,
        "command": card.command,
        **{
            f"accuracy {place}": f"{score.top1:.2f} top-1, {score.top5:.2f} top-5 on {score.data}"
            + (f" ({score.images:,} images)" if score.images else "")
            + f", {score.measured}"
            for place, score in enumerate(card.scores, 1)
        },
        "published at": card.source.url if card.source else "",
        "check": card.source.strength if card.source else "",
        "file sha256": card.source_sha256 or "",
        "digest": card.digest or "",
        "keep float32": ", ".join(card.float32_layers),
        "notes": card.notes,
    }
    for title, text in lines.items():
        if text:
            typer.echo(f"{title:13} {text}")


def _network(card: Card) -> dict[str, str]:
    """What computes, in words."""
    from ..architecture import ExternalArchitecture

    if isinstance(card.architecture, ExternalArchitecture):
        return {"network": card.architecture.network}
    shape, window = card.architecture, card.architecture.geometry
    return {
        "window": f"{window.size} px every {window.stride} px{', zero-padded' if shape.padded else ''}",
        "network": f"kernel3 {shape.kernel3}, strides {shape.strides}, layers {shape.layers}, width {shape.width}",
    }


@models.command()
def pull(name: Name) -> None:
    """Fetch published weights into the cache, going on where an earlier call broke off.

    Example: `bagnet models pull bagnet33.orig_in1k`
    """
    from ..zoo.catalogue import card_of
    from ..zoo.fetch import fetch

    card = card_of(name)
    if card.source is None:
        typer.echo(f"{name} lies in the package")
        return
    with progress_bar() as progress:
        path = fetch(card.source, progress)
    typer.echo(f"{path} (checked: {card.source.strength})")


@models.command()
def convert(
    name: Name,
    out: Annotated[Path, typer.Argument(help="The safetensors file to write.", show_default=False)],
    diagnose: Annotated[bool, typer.Option("--diagnose", help="Measure dead channels and rounding, layer by layer.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove dead channels exactly; name the layers to keep in float32.")
    ] = False,
    images: Annotated[list[Path] | None, typer.Option(help="Photographs to measure on.", show_default="samples")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Input size of the measurement.", show_default="the model's")] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Share of the largest logit that one layer's rounding may cost.")
    ] = 1e-2,
    half: Annotated[bool, typer.Option("--half", help="Store convolutions in float16: half the bytes, other logits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write published weights as safetensors with their card inside; on request, measure and mend them first.

    Example: `bagnet models convert bagnet33.orig_in1k bagnet33.safetensors --diagnose --repair`
    """
    from ..engine.diagnose import diagnose as measure
    from ..engine.diagnose import mend, sample_images
    from ..files import replacing
    from ..weights import storable, write
    from ..zoo.load import load

    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: the file to write ends in .safetensors")
    with replacing(out) as part:  # so that a target which cannot be written is known before minutes of measuring
        part.touch()
        with progress_bar() as progress:
            model = load(name, progress=progress)
        report = mended = None
        if diagnose or repair:
            x = sample_images(model, images, size)
            with progress_bar() as progress:
                report = measure(model, x, tolerance, progress)
                mended = mend(model, x, report, progress) if repair else None
        state, card = storable(model, half)
        write(part, state, card)
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
    """Check the weights of a model or file against what their card says. Example: `bagnet models verify bagnet33.safetensors`"""
    from ..zoo.verify import verify as check

    with progress_bar() as progress:
        result = check(name, progress, trust or ())
    if as_json:
        typer.echo(json.dumps({"model": result.name, "digest": result.digest, "checks": list(result.checks)}))
        return
    typer.echo(f"{result.name}: digest {result.digest}")
    for line in result.checks:
        typer.echo(f"  {line}")
