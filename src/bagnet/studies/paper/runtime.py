"""What a BagNet costs beside ResNet-50: images a second of the published sizes, as `bagnet bench` measures them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...architecture import PUBLISHED_SHAPES
from ...bench.cases import Case
from ...bench.result import Bench, Timing
from ...bench.turns import bench
from ...engine.runtimes import RUNTIMES
from ...figures.charts import finished, labels, quiet_frame, side_by_side
from ...figures.colours import BLUE, GREY, INK
from ...figures.picture import Picture
from ...runs.table import Row
from .experiment import Experiment, Findings, Workplace
from .needs import Needs
from .subjects import Material

_SIZES = tuple(name for name, shape in PUBLISHED_SHAPES.items() if not shape.padded)


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    times_resnet50: Mapping[str, float]  # published size -> how many times as long it takes, module by module
    timings: Sequence[Row]  # as `Bench.rows`
    ceiling: Mapping[str, float]  # as `Bench.ceiling`


@dataclass(frozen=True)
class Runtime(Experiment):
    """See `question`. Weights do not matter for it: they are random, and neither models nor images are looked at.

    Args:
        size: side of the images in pixels.
        batch: images at a time.
        rounds: how often each is timed; they take turns.
        runtimes: who runs the BagNets beside PyTorch, which runs them module by module as published.
    """

    title = "What does a BagNet cost?"
    question = "How many images a second do the published sizes classify on this machine, beside ResNet-50?"
    paper = (
        '"Across all receptive field sizes BagNets reach around 155 images/s for BagNets compared to 570 images/s for '
        'ResNet-50", as they shrink the image less (on a GPU that is not known here).'
    )
    differs = (
        "Random weights, which do not matter for it, on the machine at hand; beside the modules as published also what this "
        "library makes of them."
    )
    needs = Needs(images=False)

    size: int = 224
    batch: int = 8
    rounds: int = 3
    runtimes: tuple[str, ...] = ("torch", "openvino")

    def __post_init__(self) -> None:
        if min(self.batch, self.rounds) < 1:
            raise ValueError(f"batch={self.batch}, rounds={self.rounds}: there is one at least")
        largest = max(PUBLISHED_SHAPES[name].geometry.size for name in _SIZES)
        if self.size < largest:
            raise ValueError(f"size={self.size}: the largest windows have {largest} px")
        if not self.runtimes or (unknown := [runtime for runtime in self.runtimes if runtime not in RUNTIMES]):
            what = f"{unknown[0]!r}: choose among" if self.runtimes else "name some of"
            raise ValueError(f"runtimes={what} {', '.join(RUNTIMES)}")

    def find(self, material: Material, work: Workplace) -> Findings:  # noqa: ARG002 - times need no place of their own
        """As `Experiment.find`."""
        plain = Case(how="published", batch=self.batch, size=self.size)
        networks = [replace(plain, network=name) for name in (*_SIZES, "resnet50")]
        faster = [replace(plain, network=name, how="prepared", runtime=runtime) for name in _SIZES for runtime in self.runtimes]
        timed = bench([*networks, *faster], self.rounds, material.progress)
        base = next(timing for timing in timed.timings if timing.case.network == "resnet50")
        bagnets = [timing for timing in timed.timings if timing is not base]
        best = min((timing for timing in bagnets if timing.seconds), key=lambda timing: timing.median)
        times = {timing.case.network: timing.median / base.median for timing in bagnets if timing.case.how == "published"}
        words = ", ".join(f"{name} {ratio:.1f}" for name, ratio in times.items())
        sentences = [
            f"Module by module, an image of {self.size} px takes so many times as long as with ResNet-50: {words}.",
            f"The fastest here is {best.case.title}: {best.images_per_second:.3g} images/s against ResNet-50's "
            f"{base.images_per_second:.3g} (medians of {self.rounds} rounds, batches of {self.batch}).",
        ]
        rows = timed.rows()
        return Findings(Measures(times, rows, timed.ceiling), sentences, {self.name: self._picture(timed, base)}, rows)

    def _picture(self, bench: Bench, base: Timing) -> Picture:
        timings = [timing for timing in bench.timings if timing.seconds]
        figure, panels = side_by_side([7.0], 1.5 + 0.36 * len(timings))
        axes = figure.add_subplot(panels[0])
        for line, timing in enumerate(timings):
            speed = timing.images_per_second
            axes.barh(line, speed, 0.62, color=GREY if timing is base else BLUE)
            axes.text(speed, line, f"  {speed:.3g}", fontsize=8.5, color=INK, va="center")
        axes.set_yticks(range(len(timings)), [timing.case.title for timing in timings], fontsize=8.5)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        labels(axes, "images a second", "")
        quiet_frame(axes, "x")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        words = f"images of {self.size} px in batches of {self.batch}; medians of {self.rounds} rounds"
        return finished(figure, self.title, f"{words}; {bench.machine.get('processor', '')}")
