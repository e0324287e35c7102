"""Images of which the features stay and the places do not: textures synthesised of them, and their tiles shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ...card import digest
from ...data.decode import Photo
from ...data.sources import ImageFiles, Images
from ...data.transforms import Preprocessing
from ...engine.inference import exact, like_weights
from ...files import replacing
from ...runs.journal import alone
from ...runs.loader import read_batches
from .subjects import Material
from .texture_synthesis import TextureNetwork, synthesise, texture_error

_PIXELS = {"cpu": 1 << 16, "cuda": 1 << 20}  # of images that are synthesised together
_MADE_OF, _ERROR = "made of", "error"  # what a kept texture says of itself


class _OneOfEach(Images):
    """Images made of others, one of each, by their names and in their order."""

    images: Images
    preprocessing: Preprocessing

    @property
    def names(self) -> Sequence[str]:
        return self.images.names

    @property
    def starts(self) -> Sequence[int]:
        return self.images.starts

    def photo(self, row: int) -> Photo:
        return Photo(_image(self.pixels(row, len(self.preprocessing.mean))).convert("RGB"), name=self.names[row])


@dataclass(frozen=True)
class Canvases(_OneOfEach):
    """What a network's input shows of images, in 8 bits.

    Args:
        images: as they are.
        preprocessing: what resizes and cuts them; it leaves the pixels in [0, 1].
    """

    images: Images
    preprocessing: Preprocessing

    @property
    def fingerprint(self) -> str:
        return _digest(self.images.fingerprint, self.preprocessing)

    def pixels(self, row: int, channels: int) -> NDArray[np.uint8]:
        return _eight_bits(self.preprocessing.of_pixels(self.images.pixels(row, channels)))


@dataclass(frozen=True)
class Shuffled(_OneOfEach):
    """Images cut into square tiles that change places, in an order drawn for each image.

    Args:
        images: as they are.
        tile: side of the tiles in pixels; where 0, a quarter of the shorter side.
        seed: of the order.
    """

    images: Canvases
    tile: int
    seed: int

    @property
    def preprocessing(self) -> Preprocessing:  # type: ignore[override] # that of what it is made of
        return self.images.preprocessing

    @property
    def fingerprint(self) -> str:
        return _digest(self.images.fingerprint, self.tile, self.seed)

    def pixels(self, row: int, channels: int) -> NDArray[np.uint8]:
        found = self.images.pixels(row, channels)
        tile = self.tile or max(1, min(found.shape[:2]) // 4)
        rows, columns = found.shape[0] // tile, found.shape[1] // tile
        return shuffled(found, tile, np.random.default_rng((self.seed, row)).permutation(rows * columns))


def shuffled(pixels: NDArray[np.uint8], tile: int, order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """An image whose tiles change places.

    Args:
        pixels: (H, W, C).
        tile: side of the tiles; what remains at the right and at the bottom stays where it is.
        order: which tile, counted row by row, comes to each place; `np.argsort` of it undoes the shuffle.
    """
    rows, columns = pixels.shape[0] // tile, pixels.shape[1] // tile
    found = pixels.copy()
    tiled = pixels[: rows * tile, : columns * tile].reshape(rows, tile, columns, tile, -1).swapaxes(1, 2)
    moved = tiled.reshape(rows * columns, tile, tile, -1)[order].reshape(tiled.shape)
    found[: rows * tile, : columns * tile] = moved.swapaxes(1, 2).reshape(rows * tile, columns * tile, -1)
    return found


def textures(material: Material, network: TextureNetwork, clean: Canvases, steps: int, folder: Path) -> ImageFiles:
    """Synthesise a texture of each image, in 8 bits, and keep it as a file as soon as it is known.

    A texture is the same whatever the other images are. Its file says what it was made of, so that what is there already of
    another network, say, is made anew.

    Args:
        material: of which the images are; its seed is that of the noise.
        network: whose features the textures have.
        clean: the images.
        steps: evaluations of the network for each.
        folder: for the files.

    Returns:
        The textures, in the order of the images; of an image that cannot be read there is no file.

    Raises:
        ValueError: the images are too small for the network.
        OSError: a file cannot be written.
    """
    paths = tuple(folder / f"{row:06d}.png" for row in range(len(material)))
    whole = replace(clean.preprocessing, resize=None, crop=None)
    weights = digest(network.chain.state_dict())
    room = _PIXELS.get(next(network.chain.parameters()).device.type, 1)
    known = clean.fingerprint
    marks = [
        _digest(known, row, material.seed, steps, weights, network.preprocessing, network.layers) for row in range(len(paths))
    ]
    with alone(folder), exact(network.chain):
        todo = [row for row, path in enumerate(paths) if _said_by(path).get(_MADE_OF) != marks[row]]
        report = material.reporter(f"textures of {network.name}")
        done = len(paths) - len(todo)
        for batch in read_batches(clean, todo, whole, material.batch_size, material.workers):
            for rows, x in batch.groups:
                together = max(1, room // x[0, 0].numel())
                for start in range(0, len(rows), together):
                    some = slice(start, start + together)
                    made, errors = _synthesised(network, x[some], rows[some], steps, material.seed)
                    for row, pixels, error in zip(rows[some], made, errors, strict=True):
                        _keep(paths[row], pixels, {_MADE_OF: marks[row], _ERROR: repr(error)})
                    done += len(rows[some])
                    if report is not None:
                        report(done, len(paths))
            done += len(batch.bad)
    return ImageFiles(paths, folder)


def gram_error(path: Path) -> float:
    """How far a kept texture's Gram matrices are from its image's: a share of the size of these, root mean square over layers."""
    return sqrt(float(_said_by(path)[_ERROR]))


def _synthesised(
    network: TextureNetwork, x: Tensor, rows: Sequence[int], steps: int, seed: int
) -> tuple[list[NDArray[np.uint8]], list[float]]:
    """(B, C, H, W) pixels in [0, 1] -> a texture of each in 8 bits, and how far its Gram matrices are from those wanted."""
    noise = [np.random.default_rng((seed, row)).standard_normal(x.shape[1:], np.float32) for row in rows]
    wanted = like_weights(x, network.chain)
    start = like_weights(torch.from_numpy(np.stack(noise)), network.chain)
    made = [_eight_bits(one) for one in synthesise(network, wanted, start, steps)]
    kept = torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in made]).float() / 255
    with torch.no_grad():
        errors = texture_error(network.grams(like_weights(kept, network.chain)), network.grams(wanted))
    return made, errors.tolist()


def _keep(path: Path, pixels: NDArray[np.uint8], words: Mapping[str, str]) -> None:
    information = PngInfo()
    for name, text in words.items():
        information.add_text(name, text)
    with replacing(path) as part:
        _image(pixels).save(part, "PNG", pnginfo=information)


def _said_by(path: Path) -> dict[str, str]:
    """What a kept picture says of itself; nothing where there is none, or a broken one."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            return {str(name): str(text) for name, text in image.info.items()}
    except (OSError, SyntaxError, ValueError):
        return {}


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _eight_bits(pixels: Tensor) -> NDArray[np.uint8]:
    """(C, H, W) in [0, 1] -> (H, W, C)"""
    found: NDArray[np.uint8] = (pixels * 255).round().to("cpu", torch.uint8).permute(1, 2, 0).numpy()
    return found


def _digest(*parts: object) -> str:
    return sha256("\n".join(map(repr, parts)).encode()).hexdigest()
