"""What a BagNet costs beside ResNet-50: images a second of the published sizes, as `bagnet bench` measures them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...bench.cases import Case
from ...bench.result import Bench, Timing
from ...bench.turns import bench
from ...engine.runtimes import RUNTIMES
from ...figures.charts import finished
from ...figures.picture import Picture
from ...figures.style import BLUE, GREY, INK, labels, quiet_frame, side_by_side
from ...zoo.catalogue import PUBLISHED_SHAPES
from .experiment import Experiment, Findings, Workplace
from .subjects import Material

_SIZES = tuple(name for name, shape in PUBLISHED_SHAPES.items() if not shape.padded)


@dataclass(frozen=True)
class Runtime(Experiment):
    """See `question`. Weights do not matter for it: they are random, and neither models nor images are looked at.

    Args:
        size: side of the images in pixels.
        batch: images at a time.
        rounds: how often each is timed; they take turns.
        runtimes: who runs the BagNets beside PyTorch, which runs them module by module as published.
    """

    name = "runtime"
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
    labels = False

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
        if not self.runtimes or (unknown := [one for one in self.runtimes if one not in RUNTIMES]):
            what = f"{unknown[0]!r}: choose among" if self.runtimes else "name some of"
            raise ValueError(f"runtimes={what} {', '.join(RUNTIMES)}")

    def find(self, material: Material, work: Workplace) -> Findings:  # noqa: ARG002 - times need no place of their own
        """As `Experiment.find`. ValueError: images smaller than a window, or no rounds."""
        plain = Case(how="published", batch=self.batch, size=self.size)
        networks = [replace(plain, network=name) for name in (*_SIZES, "resnet50")]
        faster = [replace(plain, network=name, how="prepared", runtime=one) for name in _SIZES for one in self.runtimes]
        found = bench([*networks, *faster], self.rounds, material.progress)
        rows = found.rows()
        base = next(one for one in found.timings if one.case.network == "resnet50")
        times = {
            one.case.network: one.median / base.median for one in found.timings if one.case.how == "published" and one is not base
        }
        words = ", ".join(f"{name} {ratio:.1f}" for name, ratio in times.items())
        best = min((one for one in found.timings if one is not base and one.seconds), key=lambda one: one.median)
        sentences = [
            f"Module by module, an image of {self.size} px takes so many times as long as with ResNet-50: {words}.",
            f"The fastest here is {best.case.title}: {best.images_per_second:.3g} images/s against ResNet-50's "
            f"{base.images_per_second:.3g} (medians of {self.rounds} rounds, batches of {self.batch}).",
        ]
        measures = {"times_resnet50": times, "timings": rows, "ceiling": found.ceiling}
        return Findings(measures, sentences, {self.name: self._picture(found, base)}, rows)

    def _picture(self, found: Bench, base: Timing) -> Picture:
        timed = [one for one in found.timings if one.seconds]
        figure, panels = side_by_side([7.0], 1.5 + 0.36 * len(timed))
        axes = figure.add_subplot(panels[0])
        for place, one in enumerate(timed):
            colour = GREY if one is base else BLUE
            axes.barh(place, one.images_per_second, 0.62, color=colour)
            axes.text(one.images_per_second, place, f"  {one.images_per_second:.3g}", fontsize=8.5, color=INK, va="center")
        axes.set_yticks(range(len(timed)), [one.case.title for one in timed], fontsize=8.5)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        labels(axes, "images a second", "")
        quiet_frame(axes, "x")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        words = f"images of {self.size} px in batches of {self.batch}; medians of {self.rounds} rounds"
        return finished(figure, self.title, f"{words}; {found.machine.get('processor', '')}")
