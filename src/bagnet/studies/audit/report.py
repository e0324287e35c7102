"""An audit as files: all measures, every decisive window, and the page for people."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from ...data.decode import BadImage
from ...figures.sheet import cropped
from ...files import replacing
from ...geometry import Box
from ...progress import Listener, Progress
from .decisive import AGAINST, FOR, Decisive, Task
from .findings import Audit
from .page import Tile, TileKey, page, shown

PAGE, MEASURES, WINDOWS = "audit.html", "audit.json", "windows.csv"
_COLUMNS = (
    "image", "true", "predicted", "evidence_for", "cell_row", "cell_column", "left", "top", "right", "bottom", "logit", "cluster"
)  # fmt: skip
_LARGEST = 96  # pixels of a window per side: it is not shown larger
_THUMBNAIL = 84
_EVIDENCE_FOR = {FOR: "predicted class", AGAINST: "predicted class against true class"}


def write(audit: Audit, task: Task, decisive: Decisive, folder: Path, progress: Listener | None) -> None:
    """Write the three files.

    Args:
        audit: the results.
        task: what was audited.
        decisive: the windows.
        folder: where to.
        progress: told now and then, as each image is read again.

    Raises:
        OSError: they cannot be written; older files stay as they were.
    """
    wanted = {(example.image, example.cell) for example in shown(audit)}
    tiles: dict[TileKey, Tile] = {}
    with replacing(folder / WINDOWS) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        names = task.images.images.names
        good = np.flatnonzero(decisive.predicted >= 0).tolist()
        for done, row in enumerate(good, 1):
            picture = _picture(task, row)
            placement = task.transform.placement(picture.size)
            true, predicted = int(task.images.targets[row]), int(decisive.predicted[row])
            head = [names[row], str(audit.classes[true]), str(audit.classes[predicted])]
            for role, evidence_for in _EVIDENCE_FOR.items():
                for window in np.flatnonzero(decisive.cells[row, role] >= 0).tolist():
                    cell = decisive.cell(row, role, window)
                    box = placement.display_box(task.geometry.window(*cell))
                    number = int(audit.clusters[row, role, window])
                    writer.writerow([*head, evidence_for, *cell, *box, f"{decisive.logits[row, role, window]:.6g}", number or ""])
                    if (row, cell) in wanted:
                        tiles[row, cell] = _tile(picture, box, names[row])
            if progress is not None and (done % 64 == 0 or done == len(good)):
                progress(Progress("cutting them out", done, len(good)))
    with replacing(folder / MEASURES) as part:
        part.write_text(json.dumps(audit.to_dict(), indent=1, allow_nan=False), encoding="utf-8")
    with replacing(folder / PAGE) as part:
        part.write_text(page(audit, tiles), encoding="utf-8", errors="backslashreplace")


def _picture(task: Task, row: int) -> Image.Image:
    """The person's image, upright; of other than one, three or four channels, their mean in grey."""
    try:
        return task.transform.shown(task.images.images.photo(row))
    except BadImage:
        pixels = task.images.images.pixels(row, len(task.transform.mean))
        return Image.fromarray(pixels.mean(2).astype(np.uint8)).convert("RGB")


def _tile(picture: Image.Image, box: Box, name: str) -> Tile:
    window = cropped(picture, box)
    window.thumbnail((_LARGEST, _LARGEST))
    small = picture.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    across, down = small.width / picture.width, small.height / picture.height
    edges = (box.left * across, box.top * down, box.right * across, box.bottom * down)
    return Tile(window, small, Box(*(round(edge) for edge in edges)), name)
