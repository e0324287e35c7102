"""What can be timed, and the tables of it that `bagnet bench` prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..engine.runtimes import ways_to_run
from ..zoo.catalogue import PUBLISHED_SHAPES


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time.

    Args:
        network: "bagnet9", "bagnet17", "bagnet33", or "resnet50" for comparison.
        how: "published": as its authors run it, module by module; "prepared": by `bagnet.prepare`.
        runtime: as for `prepare`.
        precision: as for `prepare`.
        batch: images at a time.
        task: "logits" of images, or the full-resolution "map" of one class of one image.
        size: side of the images in pixels.
        device: "cpu" or "cuda".
    """

    network: str = "bagnet33"
    how: str = "prepared"
    runtime: str = "torch"
    precision: str = "float32"
    batch: int = 8
    task: str = "logits"
    size: int = 224
    device: str = "cpu"

    @property
    def title(self) -> str:
        """What it is, in words."""
        how = "as published" if self.how == "published" else self.runtime if self.device == "cpu" else f"{self.runtime} compiled"
        return f"{self.network} {how} {self.precision}"


def standard_cases(
    network: str = "bagnet33", batches: Iterable[int] = (1, 8), size: int = 224, device: str = "cpu"
) -> list[Case]:
    """The table that `bagnet bench` prints: every runtime and precision beside the published network and ResNet-50.

    Raises:
        ValueError: no published size is called so, or its windows do not fit into such images.
    """
    _check(network, size)
    cases = []
    for batch in batches:
        plain = Case(network, "published", batch=batch, size=size, device=device)
        resnet = replace(plain, network="resnet50")
        cases.append(plain)
        cases += [
            replace(plain, how="prepared", runtime=runtime, precision=precision) for runtime, precision in ways_to_run(device)
        ]
        cases.append(resnet)
        if device == "cuda":
            cases += [replace(resnet, how="prepared", precision=precision) for precision in ("tf32", "bf16")]
    return cases


def map_cases(network: str = "bagnet33", size: int = 224, device: str = "cpu") -> list[Case]:
    """The dense-map table: the official loop over windows, and each runtime and precision. Raises as `standard_cases`."""
    _check(network, size)
    plain = Case(network, "published", batch=1, task="map", size=size, device=device)
    return [plain, *_prepared(plain)]


def _prepared(plain: Case) -> list[Case]:
    """The same on every runtime, in every precision."""
    ways = ways_to_run(plain.device)
    return [replace(plain, how="prepared", runtime=runtime, precision=precision) for runtime, precision in ways]


def _check(network: str, size: int) -> None:
    if network not in PUBLISHED_SHAPES:
        raise ValueError(f"no published size is called {network!r}: there are {', '.join(PUBLISHED_SHAPES)}")
    PUBLISHED_SHAPES[network].geometry.grid(size, size)
