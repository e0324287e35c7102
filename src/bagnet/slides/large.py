"""Photographs at their own size that would not fit into memory: explained as slides are, from the disk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import torch
from PIL import Image

from ..data.decode import FORMATS, LARGEST
from ..engine.classifier import Classifier, probabilities_of
from ..engine.cost import available_memory
from ..evidence import Prediction
from ..progress import Listener, unheard
from .outputs import stem_of
from .overview import write_overview
from .readers import READERS, open_reader
from .run import Slide, slide

PER_PIXEL = 24  # bytes that `explain` holds: the image, prepared, and both once more; 20.3 were measured at 64 megapixels
_SHARE = 0.7  # of the memory that is free, for that


@dataclass(frozen=True, slots=True)
class Large:
    """An image that is explained from the disk.

    Args:
        slide: its evidence.
        answers: what it says of each class of the model, in their order.
        pictures: an overview for each class of the slide.
    """

    slide: Slide
    answers: list[Prediction]
    pictures: list[Path]

    def top(self, count: int = 5) -> list[Prediction]:
        """The best classes, the best first."""
        return sorted(self.answers, key=lambda answer: -answer.logit)[:count]


def why_in_tiles(image: str | PathLike[str], free: int | None = None) -> str:
    """Why an image at its own size is not to be explained in one piece; "" where it can be.

    Args:
        image: a file.
        free: bytes of memory; what the system says where None.

    Raises:
        FileNotFoundError, BadImage, ValueError: as `open_reader`, of files that Pillow does not read.
    """
    path = Path(fspath(image))
    size = _size(path)
    if size is None:
        with closing(open_reader(path)) as reader:
            largest = reader.levels[0]
        return f"{largest.width:,} x {largest.height:,} pixels, read from the disk"
    free = available_memory() if free is None else free
    needed = PER_PIXEL * size[0] * size[1]
    if size[0] * size[1] > LARGEST:
        return f"{size[0]:,} x {size[1]:,} pixels are more than the {LARGEST:,} that are explained in one piece"
    if free is None or needed <= _SHARE * free:
        return ""
    return f"{size[0]:,} x {size[1]:,} pixels would take {needed / 1e9:.1f} GB in one piece, of {free / 1e9:.1f} GB that are free"


def explain_large(
    model: Classifier,
    image: str | PathLike[str],
    classes: Sequence[int | str],
    folder: str | PathLike[str],
    *,
    progress: Listener = unheard,
) -> Large:
    """The evidence of an image at its own pixels, in a folder from which the same call goes on, with an overview of each class.

    Args:
        model: as for `slide`.
        image: as for `slide`.
        classes: as for `slide`.
        folder: for the result.
        progress: told after every tile.

    Raises:
        As `slide`.
    """
    result = slide(model, image, classes, folder, level=0, progress=progress)
    pictures = []
    with closing(open_reader(image)) as reader:
        for name in result.classes:
            pictures.append(result.folder / f"{stem_of(str(name))}.png")
            write_overview(result, reader, str(name), pictures[-1])
    return Large(result, predictions(model, result), pictures)


def predictions(model: Classifier, result: Slide) -> list[Prediction]:
    """What a slide says of each class, in their order."""
    logits = torch.from_numpy(result.logits).double()
    probabilities = probabilities_of(model, logits)
    pairs = zip(result.all_classes, logits.tolist(), probabilities.tolist(), strict=True)
    return [Prediction(index, str(name), logit, probability) for index, (name, logit, probability) in enumerate(pairs)]


def _size(path: Path) -> tuple[int, int] | None:
    """(width, height) of a file that `explain` reads, by its first bytes; None of those that only readers of slides read."""
    tiff = READERS["tiff"].endings
    if path.suffix.lower() in tiff:
        with closing(open_reader(path)) as reader:
            return reader.levels[0].width, reader.levels[0].height
    if any(path.suffix.lower() in kind.endings for name, kind in READERS.items() if name != "photograph"):
        return None
    largest, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # of a header alone there is no bomb to fear
    try:
        with Image.open(path, formats=FORMATS) as header:
            return header.size
    except (OSError, ValueError):
        return 0, 0  # whoever decodes it says better what is wrong
    finally:
        Image.MAX_IMAGE_PIXELS = largest
