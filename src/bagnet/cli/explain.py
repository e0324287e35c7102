"""bagnet explain"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..evidence import Evidence


def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="A model's name (`bagnet models list`) or file.", show_default="the bundled one")
    ] = "",
    target: Annotated[
        str | None,
        typer.Option("--class", help="Draw this class: name, index or WordNet id.", show_default="the best one"),
    ] = None,
    versus: Annotated[str | None, typer.Option(help="Draw why not this class instead.")] = None,
    out: Annotated[Path, typer.Option(help="A folder, or with one image a picture file.")] = Path(),
    size: Annotated[int | None, typer.Option(min=1, help="Input size in pixels, instead of the model's own.")] = None,
    style: Annotated[str, typer.Option(help="evidence | paper")] = "evidence",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Classify photographs and draw the evidence: IMAGE.why.png beside the five best classes.

    Example: `bagnet explain dog.jpg --class tabby --out pictures/`
    """
    from ..evidence import explain as explain_image
    from ..zoo.catalogue import DEFAULT
    from ..zoo.load import load

    network = load(model or DEFAULT)
    transform = network.transform if size is None else network.transform.with_crop(size)
    for name in (target, versus):
        if name is not None:
            network.classes.find(name)
    as_file = len(images) == 1 and bool(out.suffix) and not out.is_dir()
    if not as_file:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"{out}: cannot be written ({error.strerror})") from None

    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for place, image in enumerate(images):
        try:
            evidence = explain_image(network, image, transform=transform)
            picture = out if as_file else out / _name(image, images[:place])
            evidence.picture(target, versus, style=style).save(picture)  # type: ignore[arg-type]
        except (ValueError, OSError) as error:
            if len(images) == 1:
                raise
            failed.append({"image": image, "error": " ".join(str(error).split())})
            typer.echo(f"bagnet: {failed[-1]['error']}", err=True)
            continue
        done.append(_record(image, picture, evidence, target, versus))
        if not as_json:
            _print(done[-1])
    if as_json:
        typer.echo(json.dumps({"model": network.card.name if network.card else "", "images": done, "failed": failed}))
    if len(images) > 1 and not as_json:
        typer.echo(f"{len(done)} explained, {len(failed)} failed")
    if failed:
        sys.exit(2)


def _name(image: str, before: list[str]) -> str:
    """The picture's name; numbered where an earlier image has the same."""
    stem = Path(image).stem
    twins = sum(Path(other).stem == stem for other in before)
    return f"{stem}.why{f'-{twins + 1}' if twins else ''}.png"


def _record(image: str, picture: Path, evidence: Evidence, target: str | None, versus: str | None) -> dict[str, Any]:
    shown = evidence.top(1)[0] if target is None else evidence.prediction(target)
    return {
        "image": image,
        "picture": str(picture),
        "top": [asdict(answer) for answer in evidence.top(5)],
        "shown": asdict(shown),
        "windows": [{"box": list(window.box), "logit": window.logit} for window in evidence.windows(shown.index, 3, versus)],
        "grid": list(evidence.values.shape[1:]),
    }


def _print(record: dict[str, Any]) -> None:
    typer.echo(record["image"])
    for answer in record["top"]:
        typer.echo(f"  {answer['probability']:6.1%}  {answer['logit']:+8.2f}  {answer['name']}")
    if record["shown"] not in record["top"]:
        answer = record["shown"]
        typer.echo(f"  {answer['probability']:6.1%}  {answer['logit']:+8.2f}  {answer['name']} (asked for)")
    typer.echo(f"  -> {record['picture']}")
