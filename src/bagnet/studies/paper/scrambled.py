"""Images of which the features stay and the places do not: textures synthesised of them, and their tiles shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...card import digest
from ...data.decode import Photo
from ...data.sources import ImageFiles, Images
from ...data.transforms import Preprocessing
from ...engine.inference import exact, like_weights
from ...files import replacing
from ...progress import Progress
from ...runs.loader import read_batches
from ...runs.store import claim
from .subjects import Material
from .texture_synthesis import TextureNetwork, synthesise, texture_error

_PIXELS = {"cpu": 1 << 16, "cuda": 1 << 20}  # of images that are synthesised together


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
        preprocessing: what resizes and crops them; it leaves the pixels in [0, 1].
    """

    images: Images
    preprocessing: Preprocessing

    @property
    def fingerprint(self) -> str:
        return _digest(self.images.fingerprint, self.preprocessing)

    def pixels(self, row: int, channels: int, grey: tuple[float, float] | None = None) -> NDArray[np.uint8]:
        return _eight_bits(self.preprocessing.of_pixels(self.images.pixels(row, channels, grey)))


@dataclass(frozen=True)
class Shuffled(_OneOfEach):
    """Images divided into square tiles that change places, in an order drawn for each image.

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

    def pixels(self, row: int, channels: int, grey: tuple[float, float] | None = None) -> NDArray[np.uint8]:
        pixels = self.images.pixels(row, channels, grey)
        tile = self.tile or max(1, min(pixels.shape[:2]) // 4)
        rows, columns = pixels.shape[0] // tile, pixels.shape[1] // tile
        return shuffled(pixels, tile, np.random.default_rng((self.seed, row)).permutation(rows * columns))


def shuffled(pixels: NDArray[np.uint8], tile: int, order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """An image whose tiles change places.

    Args:
        pixels: (H, W, C).
        tile: side of the tiles; what remains at the right and at the bottom stays where it is.
        order: which tile, counted row by row, comes to each place; `np.argsort` of it undoes the shuffle.
    """
    rows, columns = pixels.shape[0] // tile, pixels.shape[1] // tile
    result = pixels.copy()
    tiled = pixels[: rows * tile, : columns * tile].reshape(rows, tile, columns, tile, -1).swapaxes(1, 2)
    moved = tiled.reshape(rows * columns, tile, tile, -1)[order].reshape(tiled.shape)
    result[: rows * tile, : columns * tile] = moved.swapaxes(1, 2).reshape(rows * tile, columns * tile, -1)
    return result


def textures(
    material: Material, network: TextureNetwork, clean: Canvases, steps: int, folder: Path
) -> tuple[ImageFiles, NDArray[np.float64]]:
    """Synthesise a texture of each image, in 8 bits, and keep it as a file as soon as it is made.

    A texture is the same whatever the other images are.

    Args:
        material: of which the images are; its seed is that of the noise.
        network: whose features the textures have.
        clean: the images.
        steps: evaluations of the network for each.
        folder: for the files; where they are of another network, say, they are made anew.

    Returns:
        The textures, in the order of the images, and how far the Gram matrices of each are from its image's: a share of the size
        of these, root mean square over layers. Of an image that cannot be read there is no file, and NaN.

    Raises:
        ValueError: the images are too small for the network.
        OSError: a file cannot be written.
    """
    paths = tuple(folder / f"{row:06d}.png" for row in range(len(material)))
    settings = {
        "images": clean.fingerprint,
        "seed": material.seed,
        "steps": steps,
        "weights": digest(network.chain.state_dict()),
        "preprocessing": network.preprocessing.to_dict(),
        "layers": {str(number): name for number, name in network.layers.items()},
    }
    whole = replace(clean.preprocessing, resize=None, crop=None)
    room = _PIXELS.get(next(network.chain.parameters()).device.type, 1)
    with claim(folder, settings, overwrite=True) as store, exact(network.chain):
        kept = store.rows("textures")
        todo = [row for row, path in enumerate(paths) if str(row) not in kept.done or not path.exists()]
        done = len(paths) - len(todo)
        # Not a sweep of a model: synthesis needs gradients, and its network classifies nothing.
        for batch in read_batches(clean, todo, whole, material.batch_size, material.workers):
            for rows, x in batch.groups:
                together = max(1, room // x[0, 0].numel())
                for start in range(0, len(rows), together):
                    chunk = slice(start, start + together)
                    made, errors = _synthesised(network, x[chunk], rows[chunk], steps, material.seed)
                    store.begin()
                    for row, pixels in zip(rows[chunk], made, strict=True):
                        _keep(paths[row], pixels)
                    kept.append((str(row), {"error": error}) for row, error in zip(rows[chunk], errors, strict=True))
                    done += len(rows[chunk])
                    material.progress(Progress(f"textures of {network.name}", done, len(paths)))
            done += len(batch.bad)
        errors_of = {int(key): float(row["error"]) for key, row in kept}
    return ImageFiles(paths, folder), np.sqrt([errors_of.get(row, np.nan) for row in range(len(paths))])


def _synthesised(
    network: TextureNetwork, x: Tensor, rows: Sequence[int], steps: int, seed: int
) -> tuple[list[NDArray[np.uint8]], list[float]]:
    """(B, C, H, W) pixels in [0, 1] -> a texture of each in 8 bits, and how far its Gram matrices are from those wanted."""
    noise = [np.random.default_rng((seed, row)).standard_normal(x.shape[1:], np.float32) for row in rows]
    wanted = like_weights(x, network.chain)
    start = like_weights(torch.from_numpy(np.stack(noise)), network.chain)
    made = [_eight_bits(texture) for texture in synthesise(network, wanted, start, steps)]
    rounded = torch.stack([torch.from_numpy(texture).permute(2, 0, 1) for texture in made]).float() / 255
    with torch.no_grad():
        errors = texture_error(network.grams(like_weights(rounded, network.chain)), network.grams(wanted))
    return made, errors.tolist()


def _keep(path: Path, pixels: NDArray[np.uint8]) -> None:
    with replacing(path) as part:
        _image(pixels).save(part, "PNG")


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _eight_bits(pixels: Tensor) -> NDArray[np.uint8]:
    """(C, H, W) in [0, 1] -> (H, W, C)"""
    rounded: NDArray[np.uint8] = (pixels * 255).round().to("cpu", torch.uint8).permute(1, 2, 0).numpy()
    return rounded


def _digest(*parts: object) -> str:
    return sha256("\n".join(map(repr, parts)).encode()).hexdigest()
