"""An audit as files: the same measures in all of them, and every decisive window in its row."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bagnet
from bagnet.progress import Progress
from bagnet.studies.audit.decisive import Decisive, Task
from bagnet.studies.audit.findings import Audit
from bagnet.studies.audit.report import write

from .colours import FISH, MARKED, colour_bagnet

FOR_PREDICTED, AGAINST_TRUE = "predicted class", "predicted class against true class"


def windows(out: Path) -> list[dict[str, str]]:
    with (out / "windows.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def box_of(row: dict[str, str]) -> bagnet.Box:
    return bagnet.Box(*(int(row[edge]) for edge in ("left", "top", "right", "bottom")))


def test_the_files(audited: tuple[Audit, Path]) -> None:
    result, out = audited
    assert sorted(path.name for path in out.iterdir()) == ["audit.html", "audit.json", "windows.csv"]
    assert json.loads((out / "audit.json").read_text()) == json.loads(json.dumps(result.to_dict()))
    text = (out / "audit.html").read_text()
    assert text.count("<article>") == len(result.top_patterns(10)) + len(result.confusions)
    assert "7 of 11 predictions" in text


def test_every_decisive_window_has_its_row(audited: tuple[Audit, Path], data: Path) -> None:
    rows = windows(audited[1])
    kinds = [row["evidence_for"] for row in rows]
    assert (kinds.count(FOR_PREDICTED), kinds.count(AGAINST_TRUE), len(kinds)) == (3 * 20, 3 * 3, 69)
    first = next(row for row in rows if row["image"] == "fish/00.png")
    assert (first["true"], first["predicted"], first["cell_row"], first["cell_column"]) == ("fish", "fish", "6", "6")
    assert box_of(first) == bagnet.Box(24, 24, 33, 33)
    evidence = bagnet.explain(colour_bagnet(), data / "val" / "fish" / "00.png")
    assert float(first["logit"]) == pytest.approx(evidence.windows("fish", 1)[0].logit, rel=1e-5)


def test_flips_are_those_of_images_masked_by_hand(audited: tuple[Audit, Path], data: Path) -> None:
    """From the table: a whole pass over the masked image flips as often."""
    model, (result, out) = colour_bagnet(), audited
    by_image: dict[str, list[bagnet.Box]] = {}
    for row in windows(out):
        if (row["predicted"], row["cluster"], row["evidence_for"]) == ("fish", "1", FOR_PREDICTED):
            assert box_of(row).intersect(MARKED).area > 0
            by_image.setdefault(row["image"], []).append(box_of(row))
    first = result.of_class(FISH)[0]
    assert len(by_image) == first.images
    flips, areas = 0, []
    for name, boxes in by_image.items():
        pixels = np.array(Image.open(data / "val" / name))
        masked = np.zeros(pixels.shape[:2], bool)
        for box in boxes:
            masked[box.slices] = True
        pixels[masked] = 0  # the mean of this network's preprocessing
        flips += bagnet.explain(model, pixels).top(1)[0].index != FISH
        areas.append(masked.mean())
    assert flips == first.flips
    assert np.mean(areas) == pytest.approx(first.masked_area)


def test_it_is_written_again_the_same(audited: tuple[Audit, Path], task: Task, decisive: Decisive, tmp_path: Path) -> None:
    result, out = audited
    told: list[Progress] = []
    write(result, task, decisive, tmp_path / "again", told.append)
    assert told == [Progress("cutting them out", 20, 20)]
    for name in ("audit.html", "audit.json", "windows.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
