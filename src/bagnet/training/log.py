"""`log.csv` of a run: where it lies and how it is read."""

from __future__ import annotations

import csv
from pathlib import Path

LOG = "log.csv"


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a log; an incomplete line is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes()
    text = lines[: lines.rfind(b"\n") + 1].decode()
    return list(csv.DictReader(text.splitlines()))
