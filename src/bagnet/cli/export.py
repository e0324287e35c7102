"""bagnet export"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .classifiers import calibration_images
from .options import AsJson, Calibration, Model, Precision, Trust
from .output import print_fields
from .progress import progress_bar

if TYPE_CHECKING:
    from ..bag import BagOfFeatures


def export(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file to write: .onnx, .xml (OpenVINO, with a .bin beside it; also in fp16) or .pt2 (torch.export).",
            show_default=False,
        ),
    ] = None,
    web: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write a page that explains photographs in the browser, for any web server.",
            show_default=False,
        ),
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="For --web: the npm package onnxruntime-web, a folder or .tgz.",
            show_default="node_modules, or asked of npm",
        ),
    ] = None,
    model: Model = "",
    precision: Precision = "float32",
    calibration: Calibration = None,
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Write a model as a file that other programs run: pixels in, logits and evidence out.

    The file is run and compared with the model before it takes its name. `--model FILE.onnx` runs it in any other command.

    Example: `bagnet export --model bagnet25s4.tiny_in200 --out model.onnx`

    Example: `bagnet export --web site/`
    """
    from ..engine.export import export as write
    from ..zoo.load import load_network
    from ..zoo.names import DEFAULT

    if (out is None) == (web is None):
        raise ValueError("say what to write: a file (--out model.onnx) or a page (--web site/)")
    if out is not None and onnxruntime_web is not None:
        raise ValueError("--onnxruntime-web is for a page: say --web, or leave it out")
    if web is not None and calibration is not None:
        raise ValueError("a page computes in float32, for which nothing is calibrated: leave out --calibration")
    with progress_bar() as progress:
        network = load_network(model or DEFAULT, trust=trust or (), progress=progress)
    if out is None:
        assert web is not None
        _write_page(network, web, precision, onnxruntime_web, as_json)
        return
    written = write(network, out, precision, calibration=calibration_images(network, calibration))
    size = sum(file.stat().st_size for file in written.files)
    if as_json:
        typer.echo(json.dumps({**asdict(written), "files": [str(file) for file in written.files], "bytes": size}))
        return
    print_fields(
        {
            "written": " and ".join(map(str, written.files)),
            "size": f"{size / 1e6:.1f} MB",
            "checked": f"by {written.runtime}: the largest error is {written.largest_error:.1e} of the largest logit",
        }
    )


def _write_page(network: BagOfFeatures, web: Path, precision: str, onnxruntime_web: Path | None, as_json: bool) -> None:
    from ..serve.web import export_web

    if precision != "float32":
        raise ValueError(f"a page computes in float32, not in {precision}: leave out --precision")
    folder, size = export_web(network, web, onnxruntime_web)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "bytes": size}))
        return
    print_fields({"written": str(folder), "size": f"{size / 1e6:.1f} MB", "look at it": f"python -m http.server -d {folder}"})
