"""The models that a command line asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import grey_levels
from .output import print_problems
from .progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from ..data.transforms import Preprocessing
    from ..engine.classifier import Classifier, Predictor

_TYPICAL = 300  # images to calibrate on, at most


def network(
    name: str,
    runtime: str = "torch",
    precision: str = "float32",
    calibration: Path | None = None,
    prepared: bool = False,
    trust: Sequence[str] | None = None,
    grey: str = "",
) -> Classifier:
    """The model that goes by a name, "" for the bundled one, on a runtime.

    Args:
        name: of the model, or of its file.
        runtime: who runs it.
        precision: in which.
        calibration: for int8.
        prepared: also for torch in float32, where the model itself would do: it is faster so and exact, and pays for many images.
        trust: import paths whose code may be run where the card of a windowed network's file names them.
        grey: as `--grey` says it.

    Raises:
        ValueError: there is no such model, runtime or precision; its file names code that is not trusted; calibration without
            int8; or the grey levels are no two that rise.
    """
    from ..zoo.load import load
    from ..zoo.names import DEFAULT

    _check_calibration(precision, calibration)
    with progress_bar() as progress:
        model = load(name or DEFAULT, trust=trust or (), progress=progress)
    _see_grey(model, grey)
    if _runs_itself(model, runtime, precision) or ((runtime, precision) == ("torch", "float32") and not prepared):
        return model
    return _on_runtime(model, runtime, precision, calibration)


def recipe(
    name: str,
    runtime: str = "torch",
    precision: str = "float32",
    calibration: Path | None = None,
    trust: Sequence[str] | None = None,
    stride: int | None = None,
    grey: str = "",
) -> Callable[[], Classifier]:
    """What makes a `network` on another machine, which sees the same files but may stand in another folder.

    Args:
        name: as for `network`.
        runtime: as for `network`.
        precision: as for `network`.
        calibration: as for `network`.
        trust: as for `network`.
        stride: of the windows; the model's where None.
        grey: as for `network`.
    """
    file = Path(name)
    whole = str(file.absolute()) if name and file.exists() else name
    images = None if calibration is None else calibration.absolute()
    build = partial(network, whole, runtime, precision, images, prepared=True, trust=trust, grey=grey)
    return build if stride is None else partial(_at_stride, build, stride)


def _at_stride(build: Callable[[], Classifier], stride: int) -> Classifier:
    model = build()
    finer = model.at_stride(stride)
    if finer.geometry.stride != stride:
        has, possible = model.geometry.stride, finer.geometry.stride
        raise ValueError(f"--stride {stride}: windows {has} px apart can be closer together, {possible} px say, but not so")
    return finer


def classifiers(
    names: Sequence[str] | None,
    runtime: str = "torch",
    precision: str = "float32",
    calibration: Path | None = None,
    trust: Sequence[str] | None = None,
    grey: str = "",
) -> list[tuple[str, Predictor]]:
    """Models to be compared, BagNets or others; the bundled one where none is named.

    Returns:
        each under the name of its card; under what was typed, where cards share one.

    Raises:
        ValueError: as `network`; a model is named twice, or one that is not a BagNet is to run on another runtime.
    """
    from ..engine.classifier import model_name
    from ..zoo.names import DEFAULT

    names = names or [DEFAULT]
    if len(set(names)) < len(names):
        raise ValueError(f"--model {next(name for name in names if names.count(name) > 1)} is given twice")
    models = [_classifier(name, runtime, precision, calibration, trust or (), grey) for name in names]
    cards = [model_name(model) for model in models]
    return [(name if cards.count(card) > 1 else card, model) for name, card, model in zip(names, cards, models, strict=True)]


def _classifier(name: str, runtime: str, precision: str, calibration: Path | None, trust: Sequence[str], grey: str) -> Predictor:
    from ..zoo.external import open_classifier

    _check_calibration(precision, calibration)
    with progress_bar() as progress:
        model = open_classifier(name, trust=trust, progress=progress)
    _see_grey(model, grey)
    if (runtime, precision) == ("torch", "float32") or _runs_itself(model, runtime, precision):
        return model
    return _on_runtime(model, runtime, precision, calibration)


def _see_grey(model: Predictor, grey: str) -> None:
    """Have a model that was just loaded see other levels as black and white, wherever its images are read from now on."""
    levels = grey_levels(grey)
    if levels is not None:
        see_as(model, replace(model.transform, grey=levels))


def see_as(model: Any, transform: Preprocessing) -> None:
    """Have a model that was just loaded see images that are prepared in a way, which its card then says."""
    model.card = replace(model.card, preprocessing=transform)


def _runs_itself(model: Predictor, runtime: str, precision: str) -> bool:
    """Whether a model, as an exported one does, brings a runtime with it, and none of another kind is asked for."""
    return model.runtime != "torch" and runtime in ("torch", model.runtime) and precision == model.precision


NATIVE = "native"  # for --size


def preprocessing(model: Predictor, size: str) -> Preprocessing:
    """How a model's images are prepared; where `--size` is given, whole by whatever takes any size, as windows do.

    Raises:
        ValueError: the size is neither a number of pixels nor native, or a model that sees the whole image at once has no size.
    """
    from ..engine.classifier import has_evidence, model_name

    if not size:
        return model.transform
    if size != NATIVE and not (size.isdecimal() and int(size)):
        raise ValueError(f"--size {size}: is neither a number of pixels nor native")
    if has_evidence(model):
        return model.transform.whole(None if size == NATIVE else int(size))
    if size == NATIVE:
        raise ValueError(f"{model_name(model)} sees the whole image at once, at one size: leave --size native out")
    return model.transform.with_crop(int(size))


def digest_of(calibration: Path | None) -> str:
    """By which the images that a model was calibrated on are known again; "" where there are none."""
    from ..data.sources import open_images

    return "" if calibration is None else open_images(calibration).fingerprint


def _check_calibration(precision: str, calibration: Path | None) -> None:
    if calibration is not None and precision != "int8":
        raise ValueError(f"--calibration is for --precision int8, not for {precision}: leave one out, or ask for int8")


def _on_runtime(model: Predictor, runtime: str, precision: str, calibration: Path | None) -> Classifier:
    from ..engine.prepare import prepare

    return prepare(model, runtime, precision, calibration=calibration_images(model, calibration))


def calibration_images(model: Predictor, source: Path | None) -> list[Tensor] | None:
    """Prepared images from all over a collection, as folders are sorted by class; None where none is named."""
    from ..data.sources import open_images

    if source is None:
        return None
    images = open_images(source)
    count = len(images.names)
    most = min(count, _TYPICAL)
    batches: list[Tensor] = []
    for row in (number * count // most for number in range(most)):
        try:
            batches.append(model.transform(images.photo(row))[None])
        except (OSError, ValueError) as error:
            print_problems([str(error)])
    if not batches:
        raise ValueError(f"{source}: none of the images can be read")
    return batches
