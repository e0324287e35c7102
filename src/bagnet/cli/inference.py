"""Options that every command which runs a network has, and the network they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.prepare import Prepared
    from ..model import BagNet
    from ..zoo.external import ExternalNetwork

Model = Annotated[
    str, typer.Option("--model", help="A model's name (`bagnet models list`) or file.", show_default="the bundled one")
]
Runtime = Annotated[str, typer.Option("--runtime", help="torch | onnxruntime | openvino")]
Precision = Annotated[str, typer.Option("--precision", help="float32 | mixed | bf16 | int8 | tf32 (CUDA)")]
Calibration = Annotated[
    Path | None, typer.Option("--calibration", help="For int8: typical images, as a folder or Parquet table.", show_default=False)
]
Trust = Annotated[
    list[str] | None,
    typer.Option(help="An import path whose code may be run where a model's file names it.", show_default=False),
]


def network(
    name: str,
    runtime: str = "torch",
    precision: str = "float32",
    calibration: Path | None = None,
    prepared: bool = False,
) -> BagNet | Prepared:
    """The model that goes by a name, "" for the bundled one, on a runtime.

    Args:
        name: of the model, or of its file.
        runtime: who runs it.
        precision: in which.
        calibration: for int8.
        prepared: also for torch in float32, where the model itself would do: it is faster so and exact, and pays for many images.

    Raises:
        ValueError: there is no such model, runtime or precision; or calibration without int8.
    """
    from ..zoo.catalogue import DEFAULT
    from ..zoo.load import load

    _check_calibration(precision, calibration)
    with progress_bar() as progress:
        model = load(name or DEFAULT, progress=progress)
    return _on_runtime(model, runtime, precision, calibration, prepared)


def classifier(
    name: str, runtime: str = "torch", precision: str = "float32", calibration: Path | None = None, trust: Sequence[str] = ()
) -> BagNet | Prepared | ExternalNetwork:
    """The same, or a network that is no BagNet, as torch runs it in float32.

    Raises:
        ValueError: another runtime or precision is asked for, for a network that is no BagNet; or calibration without int8.
    """
    from ..zoo.catalogue import DEFAULT
    from ..zoo.external import ExternalNetwork, open_classifier

    _check_calibration(precision, calibration)
    with progress_bar() as progress:
        model = open_classifier(name or DEFAULT, trust=trust, progress=progress)
    if not isinstance(model, ExternalNetwork):
        return _on_runtime(model, runtime, precision, calibration)
    if (runtime, precision) != ("torch", "float32"):
        raise ValueError(
            f"{name}: is no BagNet, and runs on torch in float32 only: leave --runtime {runtime} --precision {precision} out"
        )
    return model


def _check_calibration(precision: str, calibration: Path | None) -> None:
    if calibration is not None and precision != "int8":
        raise ValueError(f"--calibration is for --precision int8, not for {precision}: leave one out, or ask for int8")


def _on_runtime(
    model: BagNet, runtime: str, precision: str, calibration: Path | None, prepared: bool = False
) -> BagNet | Prepared:
    if (runtime, precision) == ("torch", "float32") and not prepared:
        return model
    from ..engine.prepare import prepare

    images = None if calibration is None else calibration_images(model, [calibration])
    return prepare(model, runtime, precision, calibration=images)


def calibration_images(model: BagNet, sources: Sequence[Path], most: int = 300) -> list[Tensor]:
    """Prepared images from folders, for quantisation."""
    from ..data.sources import open_images

    found: list[Tensor] = []
    for source in sources:
        images = open_images(source)
        for row in spread_evenly(len(images.names), most - len(found)):
            try:
                found.append(model.transform(images.photo(row).image)[None])
            except (OSError, ValueError) as error:
                typer.echo(f"bagnet: {error}", err=True)
    if not found:
        raise ValueError(f"{', '.join(map(str, sources))}: none of the images can be read")
    return found


def spread_evenly(rows: int, most: int) -> list[int]:
    """At most so many rows from all over a collection: folders are sorted by class."""
    count = min(rows, max(0, most))
    return [place * rows // count for place in range(count)]
