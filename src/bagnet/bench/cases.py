"""What can be timed, and the tables of it that `bagnet bench` prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..architecture import PUBLISHED_SHAPES
from ..engine.runtimes import ways_to_run
from ..zoo.names import bundled

WHOLE = " whole"  # after a windowed network's name: the network by itself


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time.

    Args:
        network: "bagnet9", "bagnet17", "bagnet33", or "resnet50" for comparison; or a windowed network of the package, and with
            `WHOLE` after its name what it shows windows to, on whole images.
        how: "published": as its authors run it, module by module; "prepared": by `bagnet.prepare`.
        runtime: as for `prepare`.
        precision: as for `prepare`.
        batch: images at a time.
        task: "logits" of images, or the full-resolution "map" of one class of one image.
        size: side of the images in pixels; of a windowed network, which scales them as its card says, that of the others.
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
        name = f"{self.network.partition('.')[0]}{WHOLE if self.network.endswith(WHOLE) else ''}"
        return f"{name} {how} {self.precision}"


def standard_cases(
    network: str = "bagnet33", batches: Iterable[int] = (1, 8), size: int = 224, device: str = "cpu"
) -> list[Case]:
    """The table that `bagnet bench` prints: every runtime and precision beside the published network and ResNet-50.

    Of a windowed network, beside BagNet-33 as published and the network that it shows windows to, on whole images.

    Raises:
        ValueError: no published size is called so, or its windows do not fit into such images.
    """
    _check(network, size)
    cases = []
    for batch in batches:
        plain = Case(network, "published", batch=batch, size=size, device=device)
        beside = ["bagnet33", f"{network}{WHOLE}"] if is_windowed(network) else []
        resnet = replace(plain, network="resnet50")
        cases += [plain, *_prepared(plain), *(replace(plain, network=name) for name in beside)]
        cases.append(resnet)
        if device == "cuda":
            cases += [replace(resnet, how="prepared", precision=precision) for precision in ("tf32", "bf16")]
    return cases


def map_cases(network: str = "bagnet33", size: int = 224, device: str = "cpu") -> list[Case]:
    """The dense-map table: the official loop over windows, and each runtime and precision.

    None of a windowed network, for which every window is a pass. Raises as `standard_cases`.
    """
    _check(network, size)
    if is_windowed(network):
        return []
    plain = Case(network, "published", batch=1, task="map", size=size, device=device)
    return [plain, *_prepared(plain)]


def _prepared(plain: Case) -> list[Case]:
    """The same on every runtime, in every precision."""
    ways = [way for way in ways_to_run(plain.device) if way[1] != "mixed" or not is_windowed(plain.network)]
    return [replace(plain, how="prepared", runtime=runtime, precision=precision) for runtime, precision in ways]


def is_windowed(network: str) -> bool:
    """Whether it is a windowed network of the package, whole or not."""
    return network.startswith("windowed") and network.removesuffix(WHOLE) in bundled()


def _check(network: str, size: int) -> None:
    if is_windowed(network):
        return
    if network not in PUBLISHED_SHAPES:
        windowed = [name for name in bundled() if is_windowed(name)]
        raise ValueError(f"nothing to time is called {network!r}: there are {', '.join([*PUBLISHED_SHAPES, *windowed])}")
    PUBLISHED_SHAPES[network].geometry.grid(size, size)
