"""bagnet slide"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .classifiers import recipe
from .completion import among
from .options import (
    AsJson,
    Calibration,
    Level,
    Microns,
    Model,
    Overwrite,
    Precision,
    Ray,
    Runtime,
    Shard,
    Trust,
    check_alone,
    part,
)
from .output import print_part, print_problems, print_table
from .progress import progress_bar

if TYPE_CHECKING:
    from ..slides.run import Slide


Also = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="NAME",
        help="Write the maps for other programs, too: geojson | ome-tiff | cog. Repeat it for several.",
        autocompletion=among("geojson", "ome-tiff", "cog"),
        show_default=False,
    ),
]


def slide(
    data: Annotated[
        str, typer.Argument(metavar="FILE", help="A slide, a TIFF, a .zarr, a .npy array or a photograph.", show_default=False)
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Draw this class: name, index or WordNet id. Repeat it for a picture of each.",
            show_default=False,
        ),
    ] = None,
    model: Model = "",
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the maps and pictures go.")] = Path("slide"),
    level: Level = None,
    microns: Microns = None,
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            help="Distance of neighbouring windows: of all; logits are means over these then, not the model's.",
            show_default="the model's",
        ),
    ] = None,
    skip_white: Annotated[
        bool, typer.Option("--skip-white", help="Leave out tiles that are white all over: they count in nothing.")
    ] = False,
    shard: Shard = "",
    ray: Ray = "",
    also: Also = None,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    trust: Trust = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Evidence of an image larger than memory, at its own pixels: tile by tile, without seams. Goes on where it was cut short.

    Example: `bagnet slide scan.svs --class tumor --model mine.safetensors --runtime openvino --out scan/`
    """
    from ..slides.outputs import check_outputs, stem_of, write_outputs
    from ..slides.overview import write_overview
    from ..slides.readers import open_reader
    from ..slides.run import slide as run

    if not target:
        raise ValueError("say which classes: --class NAME, once for each; bagnet models info MODEL --classes lists them")
    with closing(open_reader(data)) as reader:
        check_outputs(also or (), data, reader.georeference)
    check_alone(ray, shard)
    build = recipe(model, runtime, precision, calibration, trust, stride)
    ready = None if ray else build()
    with progress_bar() as progress:
        options: dict[str, Any] = {
            "level": level,
            "microns": microns,
            "skip_white": skip_white,
            "overwrite": overwrite,
            "progress": progress,
        }
        if ready is None:
            from ..cluster import slide_on

            result = slide_on(ray, build, data, target, out, **options)
        else:
            result = run(ready, data, target, out, shard=part(shard), **options)
    if shard:
        rows = f"{result.evidence.shape[1]:,} rows of windows"
        print_part(shard, out, rows, as_json)
        print_problems(reason for _, reason in result.bad)
        sys.exit(1 if result.bad else 0)
    pictures = [str(out / f"{stem_of(str(name))}.png") for name in result.classes]
    with closing(open_reader(data)) as reader:
        for name, picture in zip(result.classes, pictures, strict=True):
            write_overview(result, reader, str(name), Path(picture))
    write_outputs(result, also or ())
    show(result, pictures, as_json)
    print_problems(reason for _, reason in result.bad)
    if result.bad:
        sys.exit(1)


def show(result: Slide, pictures: list[str], as_json: bool) -> None:
    """Print what a slide shows."""
    strongest = [strongest_window(result, number) for number in range(len(result.classes))]
    logits = [float(result.logits[result.all_classes.find(str(name))]) for name in result.classes]
    if as_json:
        classes = [
            {"class": str(name), "logit": logit, "strongest": found.to_dict(), "picture": picture}
            for name, logit, found, picture in zip(result.classes, logits, strongest, pictures, strict=True)
        ]
        about = {"folder": str(result.folder), "size": result.size, "level": result.level, "skipped": result.skipped}
        typer.echo(json.dumps({**about, "unreadable": len(result.bad), "classes": classes}))
        return
    rows = [
        [str(name), f"{logit:+.2f}", f"{found.logit:+.2f}", *found.words(), picture]
        for name, logit, found, picture in zip(result.classes, logits, strongest, pictures, strict=True)
    ]
    places = ["where", "longitude, latitude"][: len(strongest[0].words())]
    print_table(["class", "logit", "strongest window", *places, "picture"], rows, texts=["class", *places, "picture"])
    if result.skipped:
        typer.echo(f"{result.skipped} tiles are white and were skipped")
    typer.echo(f"-> {result.folder}")


class Strongest(NamedTuple):
    """The window that speaks most for a class.

    Args:
        logit: of it.
        box: (width, height, left, top) in pixels of the largest level.
        degrees: (longitude, latitude) of its centre; None where the image has no coordinate system.
    """

    logit: float
    box: tuple[int, ...]
    degrees: tuple[float, float] | None

    def words(self) -> list[str]:
        """Where it is: in pixels and, where that can be said, in degrees."""
        where = "{} x {} at ({}, {})".format(*self.box)
        return [where] if self.degrees is None else [where, "{:.4f}, {:.4f}".format(*self.degrees)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the place on the ground only where there is one."""
        degrees = {} if self.degrees is None else dict(zip(("longitude", "latitude"), self.degrees, strict=True))
        return {"logit": self.logit, "box": self.box, **degrees}


def strongest_window(result: Slide, number: int) -> Strongest:
    """That of a class, by its number among those of the slide."""
    from ..slides.strongest import strongest_windows

    (best,) = strongest_windows(result, number)
    box = result.geometry.window(best.row, best.column)
    pixels = (box.width, box.height, box.left, box.top)
    centre = (box.left + box.width / 2, box.top + box.height / 2)
    degrees = None if result.georeference is None else result.georeference.degrees([centre])
    return Strongest(
        best.logit, tuple(round(each * result.downsample) for each in pixels), None if degrees is None else degrees[0]
    )
