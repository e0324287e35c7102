"""IDRiD as it is published, made small: what `benchmarks/retina.py` and `benchmarks/lesions.py` read.

    python benchmarks/idrid.py IDRID idrid

IDRID holds the unpacked archives "A. Segmentation" and "B. Disease Grading" (https://idrid.grand-challenge.org, on IEEE DataPort;
CC BY 4.0). Photographs of 4288 x 2848 pixels are cut to the disc of the eye and made 768 px long. `grading.csv` has their grades;
`lesions.csv` those with masks, whose four kinds of lesions and optic disc become the bits 1, 2, 4, 8 and 16 of one PNG, and which
photograph of the grading set is most likely the same: a network that was trained on that one is no judge of its lesions.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = {"train": ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv"),
          "test": ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv")}  # fmt: skip
KINDS = {
    "1. Microaneurysms": 1,
    "2. Haemorrhages": 2,
    "3. Hard Exudates": 4,
    "4. Soft Exudates": 8,
    "5. Optic Disc": 16,
}
DARK = 16  # of 255: what is darker lies outside the eye
THUMBNAIL, BAND, ALIKE = (
    256,
    (8, 64),
    0.4,
)  # side; cycles along it; phase correlation, at the best shift, above which two photographs are one


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--side", type=int, default=768, help="pixels of the longer side")
    arguments = options.parse_args()
    segmentation, grading = (arguments.source / name for name in ("A. Segmentation", "B. Disease Grading"))
    for part in (segmentation, grading):
        if not part.is_dir():
            options.error(f"{part}: there is no such folder; get it from https://idrid.grand-challenge.org")
    graded = list(with_grades(grading, arguments.out / "grading", arguments.side))
    write(arguments.out / "grading.csv", graded)
    thumbnails = {row["file"]: thumbnail(arguments.out / "grading" / row["file"]) for row in graded}
    write(arguments.out / "lesions.csv", list(with_masks(segmentation, arguments.out / "lesions", arguments.side, thumbnails)))


def with_grades(source: Path, out: Path, side: int) -> Iterator[dict[str, str]]:
    """Write each photograph with a grade; its row."""
    out.mkdir(parents=True)
    for split, (folder, labels) in SPLITS.items():
        with (source / "2. Groundtruths" / labels).open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                name = f"{split}-{row['Image name'].strip()}.jpg"
                with Image.open(source / "1. Original Images" / folder / f"{row['Image name'].strip()}.jpg") as photograph:
                    small(photograph, eye(photograph), side).save(out / name, quality=88)
                yield {"file": name, "split": split, "retinopathy_grade": row["Retinopathy grade"].strip()}


def with_masks(source: Path, out: Path, side: int, thumbnails: dict[str, np.ndarray]) -> Iterator[dict[str, str]]:
    """Write each photograph that has masks, and the masks as one; its row."""
    out.mkdir(parents=True)
    for split, (folder, _) in SPLITS.items():
        for path in sorted((source / "1. Original Images" / folder).glob("*.jpg")):
            with Image.open(path) as photograph:
                box = eye(photograph)
                small(photograph, box, side).save(out / path.name, quality=88)
                mask = np.zeros(np.asarray(photograph).shape[:2], np.uint8)
            for kind, bit in KINDS.items():
                for drawn in (source / "2. All Segmentation Groundtruths" / folder / kind).glob(f"{path.stem}_*.tif"):
                    mask |= np.where(np.asarray(Image.open(drawn).convert("L")) > 0, bit, 0).astype(np.uint8)
            name = f"{path.stem}.mask.png"
            small(Image.fromarray(mask), box, side, Image.Resampling.NEAREST).save(out / name)
            yield {
                "file": path.name,
                "mask": name,
                "split": split,
                "same_photograph_in_grading": same(out / path.name, thumbnails),
            }


def eye(photograph: Image.Image) -> tuple[int, int, int, int]:
    """The box of what is not dark."""
    bright = np.asarray(photograph.convert("L")) > DARK
    rows, columns = (np.flatnonzero(bright.mean(axis) > 0.01) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def small(
    picture: Image.Image, box: tuple[int, int, int, int], side: int, resampling: Image.Resampling = Image.Resampling.LANCZOS
) -> Image.Image:
    """A part of a picture, its longer side `side`."""
    part = picture.crop(box)
    scale = side / max(part.size)
    return part.resize((round(part.width * scale), round(part.height * scale)), resampling)


def thumbnail(path: Path) -> np.ndarray:
    """The phases of a photograph's edges and texture: where they lie, whatever their strength."""
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L").resize((THUMBNAIL, THUMBNAIL)), np.float64)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(THUMBNAIL, 1 / THUMBNAIL)] * 2))
    inside = np.outer(np.hanning(THUMBNAIL), np.hanning(THUMBNAIL))  # all photographs have the same rim
    spectrum = np.fft.fft2((grey - grey.mean()) * inside) * ((BAND[0] < frequency) & (frequency < BAND[1]))
    phases = np.divide(spectrum, np.abs(spectrum), where=spectrum != 0, out=spectrum)
    return phases / np.sqrt((np.abs(phases) ** 2).mean())


def same(path: Path, thumbnails: dict[str, np.ndarray]) -> str:
    """The photograph that is this one but for a shift; "" where none is."""
    here = thumbnail(path)
    alike = {name: float(np.fft.ifft2(here * there.conj()).real.max()) for name, there in thumbnails.items()}
    best = max(alike, key=lambda name: alike[name])
    return best if alike[best] > ALIKE else ""


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
