"""A vector of every slide, to fit a head on where all that is known of a slide is one label."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.decode import BadImage
from ..engine.classifier import Classifier, model_name
from ..engine.inference import exact
from ..geometry import all_over
from ..progress import Listener, unheard
from ..runs.store import claim
from .plan import TILE_PIXELS, Plan
from .readers import opened
from .reading import Reading
from .run import input_of
from .tiles import scale_of

_log = logging.getLogger(__name__)


def embed_slides(
    model: Classifier,
    images: Sequence[str | PathLike[str]],
    folder: str | PathLike[str] | None = None,
    *,
    tiles: int | None = None,
    level: int | None = None,
    microns: float | None = None,
    skip_white: bool = False,
    tile_pixels: int = TILE_PIXELS,
    progress: Listener = unheard,
) -> NDArray[np.float32]:
    """The mean of the features of the windows of each slide.

    The logits of a slide are a linear function of it, the means of those of its windows. So a linear classifier that is fitted on
    these vectors and one label a slide is a head, which `bagnet.from_linear` gives the model, and whose maps say where the label
    comes from.

    Args:
        model: any classifier with evidence, on any runtime.
        images: slides, as for `bagnet.slide`.
        folder: where vectors are kept, so that the same call goes on where it was cut short; nowhere where None.
        tiles: how many of each slide, from all over it; all where None.
        level: as for `bagnet.slide`.
        microns: as for `bagnet.slide`.
        skip_white: take other tiles instead of those whose every pixel is nearly white.
        tile_pixels: of a tile, about.
        progress: told after every tile.

    Returns:
        (N, `num_features`), in the order of the slides; NaN for those of which nothing can be read, which the log names.

    Raises:
        FileNotFoundError, ValueError: as `bagnet.slide`.
        OtherRun, Busy: the folder holds another run, or one at work.
    """
    if tiles is not None and tiles < 1:
        raise ValueError(f"at least one tile of each slide is needed, got {tiles}")
    if folder is None:
        with TemporaryDirectory() as temporary:
            return embed_slides(
                model,
                images,
                Path(temporary) / "vectors",
                tiles=tiles,
                level=level,
                microns=microns,
                skip_white=skip_white,
                tile_pixels=tile_pixels,
                progress=progress,
            )
    level, microns = scale_of(model, level, microns)
    settings = {
        "model": model_name(model),
        "weights": model.weights_digest,
        "runtime": f"{model.runtime} {model.precision}",
        "images": [str(Path(fspath(image)).resolve()) for image in images],
        "tiles": tiles,
        "tile pixels": tile_pixels,
        "level": level,
        "microns": microns,
        "skip white": skip_white,
    }
    with claim(Path(fspath(folder)), settings) as store, exact(model), torch.inference_mode():
        values = store.array("vectors", (len(images), model.num_features), np.float32, np.nan)
        rows = store.rows("slides")
        for number, image in enumerate(images):
            if str(number) in rows.done:
                continue
            with opened(image, level, microns) as (reader, seen):
                plan = Plan(model.geometry, reader.levels[seen].height, reader.levels[seen].width, tile_pixels)
                parts = list(plan.parts())
                reading = Reading(
                    reader,
                    seen,
                    plan,
                    [parts[number] for number in all_over(len(parts))],
                    skip_white=skip_white,
                    usable=tiles,
                    stage=f"embedding slide {number + 1} of {len(images)}",
                    progress=progress,
                )
                values[number], used = _mean(model, reading)
            values.flush()
            if not used:
                _log.warning("%s: no tile of it can be used", fspath(image))
            rows.append([(str(number), {"tiles": used})])
        result: NDArray[np.float32] = np.array(values)
    return result


def _mean(model: Classifier, reading: Reading) -> tuple[NDArray[np.float32], int]:
    """(C,) the mean features of some tiles, each cell once, and how many these were."""
    total, cells, used = torch.zeros(model.num_features, dtype=torch.float64), 0, 0
    for part, pixels in reading:
        if isinstance(pixels, BadImage):
            _log.warning("%s", pixels)
        if pixels is None or isinstance(pixels, BadImage):
            continue
        features = model.features(input_of(pixels, model))[(..., *part.inside.slices)]
        total += features[0].sum((1, 2), dtype=torch.float64).cpu()
        cells, used = cells + part.fresh.area, used + 1
    mean: NDArray[np.float32] = (total / cells if cells else torch.full_like(total, torch.nan)).float().numpy()
    return mean, used
