"""bagnet explain"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .classifiers import network, preprocessing
from .completion import among
from .options import AsJson, Calibration, Model, Precision, Runtime, Size
from .output import print_problems

if TYPE_CHECKING:
    from ..evidence import Evidence, Prediction


def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files.", show_default=False)],
    model: Model = "",
    target: Annotated[
        str | None,
        typer.Option("--class", metavar="CLASS", help="Draw this class: name, index or WordNet id.", show_default="the best one"),
    ] = None,
    versus: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Draw why not this class instead.", show_default=False)
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="PATH", help="A folder for the pictures, or with one image a picture file.")
    ] = Path(),
    size: Size = None,
    style: Annotated[
        str, typer.Option(metavar="NAME", help="evidence | paper.", autocompletion=among("evidence", "paper"))
    ] = "evidence",
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", min=1, help="Distance of the windows that are drawn; 1 is finest.", show_default="the model's"
        ),
    ] = None,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    as_json: AsJson = False,
) -> None:
    """Classify photographs: print the five best classes, and draw their evidence in IMAGE.why.png.

    Example: `bagnet explain dog.jpg --class tabby --out pictures/`
    """
    from ..evidence import explain as explain_image
    from ..files import naming

    ready = network(model, runtime, precision, calibration)
    transform = preprocessing(ready, size)
    for name in (target, versus):
        if name is not None:
            ready.classes.find(name)
    as_file = len(images) == 1 and bool(out.suffix) and not out.is_dir()
    if not as_file:
        with naming(out):
            out.mkdir(parents=True, exist_ok=True)

    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    used: set[Path] = set()
    for image in images:
        try:
            evidence = explain_image(ready, image, transform=transform)
            shown = evidence.top(1)[0] if target is None else evidence.prediction(target)
            fine = None
            if stride is not None:
                from ..evidence.dense import finer

                classes = [shown.index] if versus is None else [shown.index, ready.classes.find(versus)]
                fine = finer(ready, evidence, transform, classes, stride, padded=style == "paper")
            picture = out if as_file else _free_name(out, evidence, used)
            if picture.resolve() in {Path(photograph).resolve() for photograph in images}:
                raise ValueError(f"{picture}: is one of the photographs; choose another file for the picture")
            evidence.picture(shown.index, versus, style=style, finer=fine).save(picture)  # type: ignore[arg-type]
            used.add(picture)
        except (ValueError, OSError) as error:
            if len(images) == 1:
                raise
            failed.append({"image": image, "error": " ".join(str(error).split())})
            print_problems([failed[-1]["error"]])
            continue
        done.append(_record(image, picture, evidence, shown, versus))
        if not as_json:
            _print(done[-1])
    if as_json:
        typer.echo(json.dumps({"model": ready.card.name if ready.card else "", "images": done, "failed": failed}))
    if len(images) > 1 and not as_json:
        typer.echo(f"{len(done)} explained, {len(failed)} failed")
    if failed:
        sys.exit(2)


def _free_name(folder: Path, evidence: Evidence, used: Collection[Path]) -> Path:
    """A name for a picture that is new, or already that of a picture of the same photograph from an earlier call."""
    from ..figures.picture import fingerprint, photograph_of
    from ..files import fitting_name

    stem, photograph = Path(evidence.source).stem, fingerprint(evidence.image)
    endings = (f".why{f'-{number}' if number > 1 else ''}.png" for number in count(1))
    paths = (folder / fitting_name(stem, ending) for ending in endings)
    return next(path for path in paths if path not in used and (not path.exists() or photograph_of(path) == photograph))


def _record(image: str, picture: Path, evidence: Evidence, shown: Prediction, versus: str | None) -> dict[str, Any]:
    return {
        "image": image,
        "picture": str(picture),
        "top": [asdict(answer) for answer in evidence.top(5)],
        "shown": asdict(shown),
        "windows": [{"box": list(window.box), "logit": window.logit} for window in evidence.windows(shown.index, 3, versus)],
        "grid": list(evidence.values.shape[1:]),
    }


def _print(record: dict[str, Any]) -> None:
    from ..data.decode import escaped

    typer.echo(escaped(record["image"]))
    for answer in record["top"]:
        typer.echo(f"  {answer['probability']:6.1%}  {answer['logit']:+8.2f}  {answer['name']}")
    if record["shown"] not in record["top"]:
        answer = record["shown"]
        typer.echo(f"  {answer['probability']:6.1%}  {answer['logit']:+8.2f}  {answer['name']} (asked for)")
    typer.echo(f"  -> {escaped(record['picture'])}")
