"""bagnet export"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, Model, Precision, Trust
from .output import print_fields
from .progress import progress_bar


def export(
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The file to write: .onnx, .xml (OpenVINO, with a .bin beside it; also in fp16) or .pt2 (torch.export).",
            show_default=False,
        ),
    ],
    model: Model = "",
    precision: Precision = "float32",
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Write a model as a file that other programs run: pixels in, logits and evidence out.

    The file is run and compared with the model before it takes its name. `--model FILE.onnx` runs it in any other command.

    Example: `bagnet export --model bagnet25s4.tiny_in200 --out model.onnx`
    """
    from ..engine.export import export as write
    from ..zoo.load import load
    from ..zoo.names import DEFAULT

    with progress_bar() as progress:
        network = load(model or DEFAULT, trust=trust or (), progress=progress)
    written = write(network, out, precision)
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
