"""Options that every command which runs a network has, and the network they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .progress import download_progress

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.prepare import Prepared
    from ..model import BagNet

Model = Annotated[
    str, typer.Option("--model", help="A model's name (`bagnet models list`) or file.", show_default="the bundled one")
]
Runtime = Annotated[str, typer.Option("--runtime", help="torch | onnxruntime | openvino")]
Precision = Annotated[str, typer.Option("--precision", help="float32 | mixed | bf16 | int8 | tf32 (CUDA)")]
Calibration = Annotated[
    Path | None, typer.Option("--calibration", help="For int8: a folder of typical images.", show_default=False)
]


def network(name: str, runtime: str = "torch", precision: str = "float32", calibration: Path | None = None) -> BagNet | Prepared:
    """The model that goes by a name, "" for the bundled one, on a runtime."""
    from ..zoo.catalogue import DEFAULT
    from ..zoo.load import load

    with download_progress(name) as progress:
        model = load(name or DEFAULT, progress=progress)
    if (runtime, precision) == ("torch", "float32"):
        return model
    from ..engine.prepare import prepare

    images = None if calibration is None else calibration_images(model, [calibration])
    return prepare(model, runtime, precision, calibration=images)


def calibration_images(model: BagNet, sources: Sequence[Path], most: int = 100) -> list[Tensor]:
    """Prepared images from folders, for quantisation."""
    from ..batch.predict import find_images
    from ..data.decode import decode

    found = []
    for path in [path for source in sources for path in find_images(source)[0]][:most]:
        try:
            found.append(model.transform(decode(path).image)[None])
        except ValueError as error:
            typer.echo(f"bagnet: {error}", err=True)
    if not found:
        raise ValueError(f"{', '.join(map(str, sources))}: none of the images can be read")
    return found
