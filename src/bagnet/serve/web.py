"""The viewer page as a folder: with a network inside, for any web server, or as the face of the service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from ..bag import BagOfFeatures
from ..data.decode import ImageLike, decode
from ..engine.classifier import Classifier, model_name, temperature_of
from ..engine.export import export
from ..figures.colours import ANCHORS
from ..figures.page import render
from ..files import naming
from .limits import Limits
from .npm import Package

PAGE = Path(__file__).parent / "page"
CONFIGURATION, MODEL, RUNTIME, SAMPLES, STYLE = "bagnet.json", "model.onnx", "onnxruntime", "samples", "base.css"
ONNXRUNTIME_WEB = Package(
    "onnxruntime-web",
    "1.30.0",
    "--onnxruntime-web",
    ("dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm"),
)
# Of scikit-image, which says of all of them that they are in the public domain or CC0.
_PHOTOGRAPHS = {
    "coffee.png": ("a cup of coffee", "Photograph: Rachel Michetti, CC0"),
    "chelsea.png": ("a cat", "Photograph: Stéfan van der Walt, CC0"),
    "rocket.jpg": ("a rocket", "Photograph: SpaceX, CC0"),
    "astronaut.png": ("an astronaut", "Photograph: NASA, public domain"),
}


def export_web(model: BagOfFeatures, folder: str | PathLike[str], runtime: str | PathLike[str] | None = None) -> tuple[Path, int]:
    """Write a page that explains photographs in the browser, with the network in it; any web server can show the folder.

    Args:
        model: a BagNet or a windowed network, of three channels.
        folder: a new one, or one that this wrote before, which is replaced.
        runtime: the npm package `onnxruntime-web`, as `Package.copy` takes it.

    Returns:
        the folder, and its bytes.

    Raises:
        NoPackage: there is no such package.
        FileExistsError: the folder holds something else.
        ValueError, CannotRun: as `export`; or the network takes no pictures.
        OSError: something cannot be written.
    """
    out = Path(fspath(folder))
    if len(model.transform.mean) != 3:
        raise ValueError(
            f"{model_name(model)} takes {len(model.transform.mean)} channels: a page needs one that takes photographs"
        )
    if out.exists() and not (out.is_dir() and ((out / CONFIGURATION).is_file() or not any(out.iterdir()))):
        raise FileExistsError(f"{out}: holds something else; choose a new folder for the page")
    with naming(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        exists = out.exists()
        with TemporaryDirectory(dir=out if exists else out.parent, prefix=f".{out.name}.") as made:
            draft = Path(made) / "page"
            write_page(draft, model, "wasm")
            ONNXRUNTIME_WEB.copy(draft / RUNTIME, runtime)
            export(model, draft / MODEL)
            if exists:
                _replace_content(out, draft)
            else:
                draft.replace(out)
    return out, sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def _replace_content(folder: Path, draft: Path) -> None:
    """All in a folder, by what the draft inside it holds: the folder itself may be a mount, a link or where somebody works."""
    for entry in folder.iterdir():
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink()
        elif entry.name != draft.parent.name:
            shutil.rmtree(entry)
    for entry in draft.iterdir():
        entry.replace(folder / entry.name)


def write_page(
    folder: Path,
    model: Classifier,
    engine: str,
    *,
    limits: Limits | None = None,
    asks_token: bool = False,
    photographs: Sequence[ImageLike] = (),
) -> list[str]:
    """The page, its sample photographs and what it has to know of a model.

    Args:
        folder: a new one.
        model: that it shows.
        engine: "wasm" where the network is in the folder, "http" where a service has it.
        limits: how large a photograph may be.
        asks_token: whether the service wants to see a token.
        photographs: before the samples.

    Returns:
        for each of the photographs what follows the page's address, so that the page opens it.

    Raises:
        FileNotFoundError, BadImage: a photograph cannot be read.
    """
    shutil.copytree(PAGE, folder)
    (folder / STYLE).write_text(render("bagnet.figures", STYLE), encoding="utf-8")
    (folder / SAMPLES).mkdir()
    samples = [_photograph(image, model, number, folder / SAMPLES) for number, image in enumerate(photographs)]
    addresses = [f"#photo={quote(sample['file'])}" for sample in samples]
    samples += [_sample(name, title, credit, folder / SAMPLES) for name, (title, credit) in _PHOTOGRAPHS.items()]
    about = {**configuration(model, engine, limits or Limits()), "asks_token": asks_token, "samples": samples}
    (folder / CONFIGURATION).write_text(json.dumps(about), encoding="utf-8")
    return addresses


def configuration(model: Classifier, engine: str, limits: Limits) -> dict[str, Any]:
    """What the page has to know of a model."""
    return {
        "engine": engine,
        "model": f"./{MODEL}",
        "model_name": model_name(model),
        "classes": [str(name) for name in model.classes],
        "multilabel": model.card is not None and model.card.multilabel,
        "temperature": temperature_of(model),
        "geometry": asdict(model.geometry),
        "preprocessing": {**model.transform.to_dict(), "height_first": height_first()},
        "mean": [round(255 * mean) for mean in model.transform.mean],
        "colours": list(ANCHORS),
        "largest": limits.pixels,
        "largest_input": limits.input_pixels,
    }


def height_first() -> bool:
    """Whether this Pillow resizes along the height first where an image loses many more rows than columns; pixels show it."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 33, 3), dtype=np.uint8))
    by_width, at_once = (np.asarray(image.resize(size).resize((30, 30))) for size in ((30, 90), (33, 90)))
    return not np.array_equal(by_width, at_once)


def _sample(name: str, title: str, credit: str, folder: Path) -> dict[str, str]:
    """Write a photograph of scikit-image as a small JPEG; what the page has to know of it."""
    import skimage

    file = f"{Path(name).stem}.jpg"
    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        image.convert("RGB").save(folder / file, quality=88)
    return {"file": f"{SAMPLES}/{file}", "title": title, "credit": credit}


def _photograph(image: ImageLike, model: Classifier, number: int, folder: Path) -> dict[str, str]:
    """Write somebody's photograph, as the model sees it, as a PNG, which browsers read whatever it was."""
    photo = decode(image)
    model.transform.shown(photo).save(folder / f"yours-{number}.png", compress_level=1)
    name = Path(photo.name).name or "your photograph"
    return {"file": f"{SAMPLES}/yours-{number}.png", "title": name, "credit": name}
