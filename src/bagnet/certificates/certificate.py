"""Certificate: what a patch can and cannot change in one answer, with all that is needed to prove it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import replacing
from ..geometry import Box, Geometry, Placement, Span

FORMAT = 2


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Further windows that vote: of another size, or on another scale of the image.

    Args:
        rows: the masks along the rows, as many as the certificate has.
        columns: likewise.
        geometry: where the windows lie.
        placement: where their input lies in the photograph.
        values: (K, h, w) float32 evidence.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    geometry: Geometry
    placement: Placement
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Certificate:
    """A verdict on one image.

    Args:
        certified: no patch changes the answer (`label` stays among the `best`).
        margin: how far the worst patch stays from it, as the method measures it; not positive where it may change the answer.
        label: the answer of the classifier that is certified.
        name: of its class.
        best: the label stays among so many of the best.
        unwavering: certified, and no alarm is raised on the image as it is: of voting, all single masks agree.
        method: of `METHODS`.
        aggregation: how evidence is bounded; "" where the method needs no bound.
        patch: the threat, in words.
        size: (height, width) of a patch in pixels of `frame`.
        frame: "photo" or "input".
        count: of patches.
        region: pixels of `frame` within which they lie.
        worst: the cells at which a patch costs most.
        rival: the class that comes closest.
        rows: of voting, the masks along the rows; of margin, the runs of rows that a patch can touch.
        columns: likewise.
        geometry: where the windows lie.
        placement: where the network's input lies in the photograph.
        values: (K, h, w) float32 evidence.
        margins: (R, C) the margin with a patch in each of `rows` and `columns`; it is told, and proves nothing.
        model: name of the card.
        digest: sha256 of the model's weights.
        source: where the image came from.
        beside: of voting, the windows of further models.
    """

    certified: bool
    margin: float
    label: int
    name: str
    best: int
    unwavering: bool
    method: str
    aggregation: str
    patch: str
    size: tuple[int, int]
    frame: str
    count: int
    region: Box
    worst: Box
    rival: str
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    geometry: Geometry
    placement: Placement
    values: NDArray[np.float32]
    margins: NDArray[np.float64]
    model: str
    digest: str
    source: str = ""
    beside: tuple[Grid, ...] = ()

    def __repr__(self) -> str:
        verdict = "certified" if self.certified else "not certified"
        return (
            f"Certificate({self.name}: {verdict} against {self.patch} by {self.method}, margin {self.margin:+.3g}, {self.model})"
        )

    @property
    def worst_place(self) -> Box:
        """Pixels of the photograph that the windows see at which a patch costs most, rounded and clipped."""
        return self.placement.display_box(self.geometry.field(self.worst))

    def statement(self) -> dict[str, Any]:
        """All of it but the evidence, as JSON can hold it; with digests of the evidence and of the statement."""
        fields = {name: value for name, value in asdict(self).items() if name not in ("values", "margins", "beside")}
        said = {
            **fields,
            **_drawn(self),
            "format": FORMAT,
            "region": list(self.region),
            "worst": list(self.worst),
            "beside": [
                {"geometry": asdict(grid.geometry), "placement": asdict(grid.placement), **_drawn(grid)} for grid in self.beside
            ],
        }
        return {**said, "seal": sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as .npz, which `check` proves again with NumPy alone. NotWritten: it cannot be written."""
        with replacing(Path(fspath(path))) as part, part.open("wb") as file:
            further: dict[str, Any] = {f"evidence_{number}": grid.values for number, grid in enumerate(self.beside)}
            np.savez_compressed(file, evidence=self.values, statement=np.array(json.dumps(self.statement())), **further)


def _drawn(grid: Certificate | Grid) -> dict[str, Any]:
    """Its masks, and the digest of its evidence."""
    return {
        "rows": [list(run) for run in grid.rows],
        "columns": [list(run) for run in grid.columns],
        "evidence": sha256(np.ascontiguousarray(grid.values, "<f4").tobytes()).hexdigest(),
    }
