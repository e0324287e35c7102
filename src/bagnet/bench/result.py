"""What was measured: one timing a case, and the ratios and shares that follow from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from .cases import Case


@dataclass(slots=True)
class Timing:
    """What was measured of a case.

    Args:
        case: which.
        seconds: of each round, for the whole batch or map.
        memory: bytes of peak memory above the loaded model.
        executed: precision that the runtime says it ran; "" where it cannot run here.
        error: largest change of an output from the published network's, as a share of the largest; None where that is not
            comparable.
        multiply_adds: needed for the batch or map, after the exact rewrites.
        note: why there is no figure, or how it was extrapolated.
    """

    case: Case
    seconds: list[float] = field(default_factory=list)
    memory: int = 0
    executed: str = ""
    error: float | None = None
    multiply_adds: int = 0
    note: str = ""

    @property
    def median(self) -> float:
        """Median seconds; NaN where it cannot run here."""
        return median(self.seconds) if self.seconds else float("nan")

    @property
    def images_per_second(self) -> float:
        """Images, or maps, a second."""
        return (self.case.batch if self.case.task == "logits" else 1) / self.median


@dataclass(frozen=True, slots=True)
class Bench:
    """All that one run measured.

    Args:
        machine: processor, cores, threads, versions and date.
        ceiling: "runtime precision" -> multiply-adds a second of the best matrix product found.
        timings: one a case, in the order asked for.
        rounds: how many.
    """

    machine: dict[str, Any]
    ceiling: dict[str, float]
    timings: list[Timing]
    rounds: int

    def share(self, timing: Timing) -> float | None:
        """Of the matrix-product ceiling in the same precision, over all runtimes; None where that is not measured."""
        speeds = [speed for title, speed in self.ceiling.items() if title.split()[1] == timing.executed]
        return timing.multiply_adds / timing.median / max(speeds) if speeds else None

    def baseline(self, timing: Timing) -> Timing | None:
        """The published network at the same task, batch and size; of ResNet-50, that as its authors run it."""
        if timing.case.network == "resnet50" and timing.case.how == "published":
            return None  # it is not a BagNet made faster
        wanted = replace(timing.case, how="published", runtime="torch", precision="float32")
        return next((timing_of_base for timing_of_base in self.timings if timing_of_base.case == wanted), None)

    def rows(self) -> list[dict[str, Any]]:
        """One flat record a case, for tables, CSV and JSON; None where there is no figure."""
        rows = []
        for timing in self.timings:
            base = self.baseline(timing)
            rows.append(
                {
                    **asdict(timing.case),
                    "executed": timing.executed,
                    "per_second": timing.images_per_second if timing.seconds else None,
                    "milliseconds": 1000 * timing.median if timing.seconds else None,
                    "fastest_ms": 1000 * min(timing.seconds) if timing.seconds else None,
                    "slowest_ms": 1000 * max(timing.seconds) if timing.seconds else None,
                    "times_published": base.median / timing.median if base else None,
                    "ceiling_share": self.share(timing),
                    "peak_megabytes": timing.memory / 1e6,
                    "error": timing.error,
                    "note": timing.note,
                }
            )
        return rows
