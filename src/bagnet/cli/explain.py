"""bagnet explain"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .classifiers import NATIVE, network, preprocessing
from .completion import among
from .options import AsJson, Calibration, Grey, Model, Precision, Runtime, Trust, WholeSize
from .output import print_problems
from .progress import progress_bar
from .serve import check_service

if TYPE_CHECKING:
    from ..engine.classifier import Classifier
    from ..evidence import Evidence, Prediction


_LONGEST_WORD = 50  # letters of a class's name in that of its picture


def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files.", show_default=False)],
    model: Model = "",
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Draw this class: name, index or WordNet id. Repeat it for a picture of each.",
            show_default="the best one",
        ),
    ] = None,
    versus: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Draw why not this class instead.", show_default=False)
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="PATH", help="A folder for the pictures, or with one image a picture file.")
    ] = Path(),
    size: WholeSize = "",
    grey: Grey = "",
    style: Annotated[
        str, typer.Option(metavar="NAME", help="evidence | paper.", autocompletion=among("evidence", "paper"))
    ] = "evidence",
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            help="Distance of neighbouring windows: of those that are drawn; 1 is finest.",
            show_default="the model's",
        ),
    ] = None,
    trust: Trust = None,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    as_json: AsJson = False,
    open_page: Annotated[
        bool, typer.Option("--open", help="Then look at it in the browser, on a page of `bagnet serve`.")
    ] = False,
) -> None:
    """Classify photographs: print the five best classes, and draw their evidence in IMAGE.why.png.

    Example: `bagnet explain dog.jpg --class tabby --out pictures/`
    """
    from ..evidence import explain as explain_image
    from ..files import naming
    from ..slides.large import why_in_tiles

    if open_page:
        check_service()
    ready = network(model, runtime, precision, calibration, trust=trust, grey=grey)
    transform = preprocessing(ready, size)
    wanted = [ready.classes.find(name) for name in targets or ()]
    rival = None if versus is None else ready.classes.find(versus)
    as_file = len(images) == 1 and len(wanted) <= 1 and bool(out.suffix) and not out.is_dir()
    if not as_file:
        with naming(out):
            out.mkdir(parents=True, exist_ok=True)

    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    used: set[Path] = set()
    for image in images:
        records: list[dict[str, Any]] = []
        try:
            if size == NATIVE and (why := why_in_tiles(image)):
                if not wanted or as_file or (versus, stride, style) != (None, None, "evidence"):
                    raise ValueError(f"{image}: {why}: in tiles it needs --class, --out is a folder, and nothing else changes it")
                records = _in_tiles(ready, image, wanted, out, why)
                if not as_json:
                    _print(records)
                done += records
                continue
            with progress_bar() as progress:
                keep = wanted if rival is None else [*wanted, rival]
                evidence = explain_image(ready, image, transform=transform, keep=keep, progress=progress)
                kept = evidence.indices_among(ready.classes)
                for index in wanted or [kept[evidence.top(1)[0].index]]:
                    word = str(ready.classes[index]) if len(wanted) > 1 else ""
                    picture = out if as_file else _free_name(out, evidence, word, used)
                    if picture.resolve() in {Path(photograph).resolve() for photograph in images}:
                        raise ValueError(f"{picture}: is one of the photographs; choose another file for the picture")
                    shown, against = kept.index(index), None if rival is None else kept.index(rival)
                    fine = None
                    if stride is not None:
                        from ..evidence.dense import finer

                        classes = [index] if rival is None else [index, rival]
                        fine = finer(ready, evidence, transform, classes, stride, padded=style == "paper", progress=progress)
                    evidence.picture(shown, against, style=style, finer=fine).save(picture)  # type: ignore[arg-type]
                    used.add(picture)
                    records.append(_record(image, picture, evidence, evidence.prediction(shown), against, kept))
        except (ValueError, OSError) as error:
            if len(images) == 1:
                raise
            failed.append({"image": image, "error": " ".join(str(error).split())})
            print_problems([failed[-1]["error"]])
        if records and not as_json:
            _print(records)
        done += records
    if as_json:
        typer.echo(json.dumps({"model": ready.card.name if ready.card else "", "images": done, "failed": failed}))
    if len(images) > 1 and not as_json:
        typer.echo(f"{len(images) - len(failed)} explained, {len(failed)} failed")
    if open_page and done:
        _open_page(ready, list(dict.fromkeys(record["image"] for record in done)))
    if failed:
        sys.exit(2)


def _in_tiles(model: Classifier, image: str, classes: Sequence[int], out: Path, why: str) -> list[dict[str, Any]]:
    """What `--json` has of an image that is explained from the disk, for each class."""
    from ..slides.large import explain_large
    from .slide import strongest_window

    folder = out / f"{Path(image).stem}.slide"
    typer.echo(f"{image}: {why}; in tiles, kept in {folder}", err=True)
    with progress_bar() as progress:
        large = explain_large(model, image, classes, folder, progress=progress)
    records = []
    for number, (index, picture) in enumerate(zip(classes, large.pictures, strict=True)):
        window = strongest_window(large.slide, number)
        width, height, left, top = window.box
        records.append(
            {
                "image": image,
                "picture": str(picture),
                "top": [asdict(answer) for answer in large.top()],
                "shown": asdict(large.answers[index]),
                "windows": [{"box": [left, top, left + width, top + height], "logit": window.logit}],
                "grid": list(large.slide.evidence.shape[1:]),
            }
        )
    print_problems(reason for _, reason in large.slide.bad)
    return records


def _open_page(model: Classifier, images: Sequence[str]) -> None:
    """Serve a page with these photographs, and show it, until it is interrupted."""
    import webbrowser

    from ..serve.server import serve

    def show(address: str) -> None:
        typer.echo(f"serving at {address}; Ctrl-C ends it", err=True)
        webbrowser.open(address)

    serve(model, port=0, photographs=images, ready=show)


def _free_name(folder: Path, evidence: Evidence, word: str, used: Collection[Path]) -> Path:
    """A name for a picture that is new, or already that of a picture of the same photograph from an earlier call.

    Args:
        folder: for the picture.
        evidence: of the photograph.
        word: the class, where several are asked for.
        used: names that this call has given already.
    """
    from ..figures.picture import fingerprint, photograph_of
    from ..files import fitting_name

    stem, photograph = Path(evidence.source).stem, fingerprint(evidence.image)
    word = re.sub(r"[^\w-]+", "_", word)[:_LONGEST_WORD]
    of_class = f".{word}" if word else ""
    endings = (f"{of_class}.why{f'-{number}' if number > 1 else ''}.png" for number in count(1))
    paths = (folder / fitting_name(stem, ending) for ending in endings)
    return next(path for path in paths if path not in used and (not path.exists() or photograph_of(path) == photograph))


def _record(
    image: str, picture: Path, evidence: Evidence, shown: Prediction, rival: int | None, kept: Sequence[int]
) -> dict[str, Any]:
    """What `--json` has of an image; `kept` are the classes of the model that the evidence is of."""

    def answer(prediction: Prediction) -> dict[str, Any]:
        return {**asdict(prediction), "index": kept[prediction.index]}

    return {
        "image": image,
        "picture": str(picture),
        "top": [answer(prediction) for prediction in evidence.top(5)],
        "shown": answer(shown),
        "windows": [{"box": list(window.box), "logit": window.logit} for window in evidence.windows(shown.index, 3, rival)],
        "grid": list(evidence.values.shape[1:]),
        "temperature": evidence.temperature,
    }


def _print(records: Sequence[dict[str, Any]]) -> None:
    """An image's answers, once, and the picture of each class."""
    from ..data.decode import escaped
    from ..figures.words import at_temperature

    top = records[0]["top"]
    typer.echo(escaped(records[0]["image"]))
    asked = [record["shown"] for record in records if record["shown"] not in top]
    for answer, note in [*((answer, "") for answer in top), *((answer, " (asked for)") for answer in asked)]:
        typer.echo(f"  {answer['probability']:6.1%}  {answer['logit']:+8.2f}  {answer['name']}{note}")
    if words := at_temperature(records[0].get("temperature", 1)):
        typer.echo(f"  {words}")
    for record in records:
        typer.echo(f"  -> {escaped(record['picture'])}")
