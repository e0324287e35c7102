"""How much does a model need the places of things? Accuracy on images whose features stay and whose layout does not (Fig. 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...data.sources import Images
from ...data.transforms import Preprocessing
from ...evaluation.evaluate import rank_of_label
from ...figures.charts import WILSON, finished, of_images
from ...figures.picture import Picture
from ...figures.style import BLUE, GREY, INK, RED, SOFT, abridged, labels, panel_title, quiet_frame, short, side_by_side, wrapped
from ...runs.table import Row
from ...statistics import Estimate, mean
from ...zoo.external import open_classifier
from .experiment import LOGITS, Experiment, Findings, Workplace
from .scores import scores
from .scrambled import Canvases, Shuffled, textures
from .subjects import Material, Subject
from .texture_synthesis import TextureNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"clean": BLUE, "texturised": RED, "shuffled": GREY}  # of each kind of images
_KINDS = tuple(_COLOURS)
_TOPS = (1, 5)
_SHOWN = 8  # images of the examples


@dataclass(frozen=True)
class Texturise(Experiment):
    """See `question`.

    Texturised images are synthesised from noise as Gatys et al. (2015) do, by the Gram matrices of one network (see
    `texture_synthesis`); shuffled ones are cut into square tiles, which change places at random. Both are made of the middle of
    an image, as large and as finely as any of the models sees it, in 8 bits. Of these pictures each model sees, of all three
    kinds, the part that it sees of the image itself, at the size of its own input. The paper's layers, optimiser and number of
    images are not known here.

    Args:
        network: whose features make the textures: one of the models by name, or another, as "torchvision:vgg19"; where empty,
            the first model that is a plain chain of convolutions and pools.
        steps: evaluations of that network for each image.
        tile: side of the shuffled tiles in pixels; where 0, a quarter of the picture's shorter side.
    """

    name = "texturise"
    title = "Features without their places"
    question = (
        "How right are models on images whose local features stay while their places do not: synthesised textures, and "
        "shuffled tiles?"
    )
    paper = (
        "Fig. 5: VGG-16's top-5 accuracy falls only from 90.1 % on clean to 79.4 % on texturised images (recalled, not verified; "
        "the layers, the optimiser and the accuracy of BagNets on them are not known here)."
    )
    differs = (
        "Where VGG-19 is not named, the textures are those of another network. Gram matrices of the first convolution and of "
        "up to four pools, each layer counting alike; pools take means and maps go on at their edges with the other side; "
        "pixels are kept in range by a logistic function; L-BFGS from noise. All models are shown the same textures, made at one "
        "size, each by its own resize and crop, as it is shown the clean images. Shuffled tiles are not in the paper."
    )
    sample = 200

    network: str = ""
    steps: int = 100
    tile: int = 0

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: no network makes textures, or the images are too small for it or for four tiles.
            UnknownModel, DownloadFailed: a named network cannot be opened.
        """
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: a synthesis takes one step at least")
        network = _texture_network(self.network, material)
        canvas = canvas_for([one.transform for one in material.ordered])
        clean = Canvases(material.images, canvas)
        side = canvas.crop
        if self.tile < 0 or (side is not None and 2 * self.tile > side):
            raise ValueError(f"tile={self.tile}: pictures of {side} px are to have two such tiles a side at least")
        made, errors = textures(material, network, clean, self.steps, work.folder / "texturised")
        kinds = {"clean": clean, "texturised": made, "shuffled": Shuffled(clean, self.tile, material.seed)}
        good, ranks = _ranks(material, kinds, canvas, work)
        tops = [top for top in _TOPS if top < len(material.classes)]
        found = [
            self._summary(one, {kind: ranks[one.name, kind] for kind in kinds}, tops, material.seed) for one in material.ordered
        ]
        errors = errors[good]
        measures = {
            "images": len(good),
            "side": side,
            "texture_network": network.name,
            "layers": list(network.layers.values()),
            "gram_error": mean(errors, material.seed).to_dict(),
            "models": found,
        }
        figures = {
            self.name: self._picture(material, network, len(good), found, tops, side),
            f"{self.name}_examples": _examples(material, kinds, good, network, self.steps),
        }
        return Findings(measures, _sentences(measures, tops[-1]), figures, list(_rows(material, good, ranks, errors)))

    def _summary(
        self, subject: Subject, ranks: Mapping[str, NDArray[np.int64]], tops: Sequence[int], seed: int
    ) -> dict[str, Any]:
        right = {kind: {top: (places < top).astype(np.float64) for top in tops} for kind, places in ranks.items()}
        clean = right["clean"]
        return {
            "model": subject.name,
            "window": subject.window,
            "input": subject.transform.crop,
            **{
                kind: {
                    **{f"top{top}": mean(values[top], seed).to_dict() for top in tops},
                    **{f"top{top}_lost": mean(clean[top] - values[top], seed).to_dict() for top in tops if kind != "clean"},
                }
                for kind, values in right.items()
            },
        }

    def _picture(
        self,
        material: Material,
        network: TextureNetwork,
        images: int,
        found: Sequence[Mapping[str, Any]],
        tops: Sequence[int],
        side: int | None,
    ) -> Picture:
        names = [f"{wrapped(one['model'], 1.9, 8.5, 2)}\n{_view(one['window'])}" for one in found]
        left = 0.065 * max(len(line) for name in names for line in name.split("\n"))  # inches
        figure, (whole,) = side_by_side([left + 3.7 * len(tops)], max(2.6, 1.7 + 0.85 * len(found)))
        for place, (top, panel) in enumerate(zip(tops, whole.subgridspec(1, len(tops)), strict=True)):
            axes = figure.add_subplot(panel)
            _bars(axes, [{kind: one[kind][f"top{top}"] for kind in _KINDS} for one in found])
            panel_title(axes, f"Top-{top} accuracy")
            labels(axes, "images that are right, per cent", "")
            axes.set_yticks(range(len(found)), names if place == 0 else [""] * len(found), linespacing=1.25)
            axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=INK)
        made = f"textures by {len(network.layers)} layers of {abridged(network.name, 44)}, {self.steps} steps, {_size(side)}"
        return finished(figure, self.title, of_images(material.data, images, made, f"bars: {WILSON}"))


@dataclass(frozen=True, eq=False)
class OnCanvas(Subject):
    """A model that is given pictures made for several, and sees of them what it would see of the image.

    Args:
        canvas: how the pictures are cut from images.
    """

    canvas: Preprocessing

    @property
    def transform(self) -> Preprocessing:
        own: Preprocessing = self.model.transform
        resize, crop = _resize_and_crop(own)
        if not resize:
            return own
        drawn, side = _resize_and_crop(self.canvas)
        # The shorter side of an image, which `resize` is of, is longer than a canvas where this shows but its middle.
        return replace(own, resize=max(min(resize, crop), round(resize * side / drawn)))


def canvas_for(transforms: Sequence[Preprocessing]) -> Preprocessing:
    """How pictures for several models are cut: as much of the middle of an image as any of them sees, and as finely.

    Where all prepare images in one way, it is theirs. It leaves the pixels in [0, 1].

    Raises:
        ValueError: some take one channel and some three, or another number.
    """
    channels = {len(one.mean) for one in transforms}
    if len(channels) > 1 or not channels <= {1, 3}:
        raise ValueError(f"texturise makes pictures for all models: these take {_listed(channels)} channels, not all 1 or all 3")
    cutting = [one for one in transforms if any(_resize_and_crop(one))]
    (number,) = channels
    if not cutting:
        return replace(transforms[0], mean=(0.0,) * number, std=(1.0,) * number)
    finest = max(cutting, key=lambda one: _resize_and_crop(one)[0])
    resize = _resize_and_crop(finest)[0]
    share = max(min(1.0, crop / resize) for resize, crop in map(_resize_and_crop, cutting))  # of an image's shorter side
    return replace(finest, resize=resize, crop=round(share * resize), mean=(0.0,) * number, std=(1.0,) * number)


def _resize_and_crop(one: Preprocessing) -> tuple[int, int]:
    """Both in pixels; where there is but one, the other is as large; 0 where there is none."""
    resize = one.resize or one.crop or 0
    return resize, one.crop or resize


def _texture_network(name: str, material: Material) -> TextureNetwork:
    among = {one.name: one.model for one in material.ordered}
    if not name:
        for title, model in among.items():
            if (found := TextureNetwork.of(title, model)) is not None:
                return found
        raise ValueError(
            "texturise takes textures from a plain chain of convolutions and pools, as VGG is, and none of the models is one: "
            "add one, or set network=torchvision:vgg19"
        )
    if name not in among and ":" not in name:
        raise ValueError(f"network={name}: there is no such model; there are {', '.join(among)}, or write torchvision:vgg19")
    found = TextureNetwork.of(name, among[name] if name in among else open_classifier(name))
    if found is None:
        raise ValueError(f"network={name}: is no plain chain of convolutions and pools, as VGG is; name one that is")
    return found


def _ranks(
    material: Material, kinds: Mapping[str, Images], canvas: Preprocessing, work: Workplace
) -> tuple[NDArray[np.int64], dict[tuple[str, str], NDArray[np.int64]]]:
    """(rows of the images that are there in all kinds, (model, kind) -> place of the true class for each, 0 the best)"""
    logits = {}
    for subject in material.ordered:
        shown_to = OnCanvas(subject.name, subject.model, subject.columns, canvas)
        for kind, images in kinds.items():
            shown = replace(material, data=f"{material.data}, {kind}", images=images)
            logits[subject.name, kind] = scores(shown, shown_to, work, work.folder / kind / LOGITS)
    good = np.flatnonzero(np.all([np.isfinite(values[:, 0]) for values in logits.values()], axis=0))
    true = material.labels.numpy()[good]
    return good, {pair: rank_of_label(values[good], true) for pair, values in logits.items()}


def _rows(
    material: Material, good: NDArray[np.int64], ranks: Mapping[tuple[str, str], NDArray[np.int64]], errors: NDArray[np.float64]
) -> Iterator[Row]:
    names = material.images.names
    for place, row in enumerate(good):
        own = {f"rank {model} {kind}": int(places[place]) for (model, kind), places in ranks.items()}
        label = str(material.classes[int(material.labels[row])])
        yield {"image": names[row], "label": label, "gram error": float(errors[place]), **own}


def _bars(axes: Axes, found: Sequence[Mapping[str, Mapping[str, float]]]) -> None:
    """Of each model a bar for each kind of images, in per cent, with what it is of."""
    for line, one in enumerate(found):
        for place, kind in enumerate(_KINDS):
            value, low, high = (100 * one[kind][name] for name in ("value", "low", "high"))
            at = line + 0.27 * (place - 1)
            axes.barh(at, value, 0.23, color=_COLOURS[kind])
            axes.errorbar(value, at, xerr=[[max(0, value - low)], [max(0, high - value)]], ecolor=INK, elinewidth=0.9, capsize=2)
            axes.text(high + 2, at, f"{value:.1f}  {kind}", fontsize=8, color=INK, va="center_baseline")
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(0, 132)
    axes.set_xticks(range(0, 101, 20))
    quiet_frame(axes, "x")


def _examples(
    material: Material, kinds: Mapping[str, Images], good: NDArray[np.int64], network: TextureNetwork, steps: int
) -> Picture:
    """Some images in all kinds, one below the other."""
    rows = good[np.unique(np.linspace(0, len(good) - 1, _SHOWN).round().astype(int))]
    figure, (whole,) = side_by_side([max(5.2, 0.3 + 1.3 * len(rows))], 0.95 + 1.25 * len(kinds))
    grid = whole.subgridspec(len(kinds), len(rows))
    for column, row in enumerate(rows):
        for line, (kind, images) in enumerate(kinds.items()):
            axes = figure.add_subplot(grid[line, column])
            photo = images.photo(int(row)).image
            axes.imshow(photo, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if line == 0:
                name = str(material.classes[int(material.labels[row])])
                axes.set_title(short(name, 17), fontsize=8, color=INK, loc="left")
            if column == 0:
                axes.set_ylabel(kind, fontsize=9, color=SOFT)
    layers = f"{', '.join(network.layers.values())} of {abridged(network.name, 44)}"
    made = f"textures by {layers}, {steps} steps, {photo.width} x {photo.height} px"
    return finished(figure, "Clean, texturised and shuffled", of_images(material.data, len(rows), made))


def _sentences(measures: Mapping[str, Any], top: int) -> list[str]:
    def words(measure: Mapping[str, float]) -> str:
        return f"{Estimate(**measure).text(1, 100)} %"

    def of(one: Mapping[str, Any]) -> str:
        clean, texturised, moved = (words(one[kind][f"top{top}"]) for kind in _KINDS)
        return f"{one['model']} on {clean} of the clean images, {texturised} of the texturised and {moved} of the shuffled"

    return [
        f"Right (top-{top}) is, over {measures['images']:,} images: {'; '.join(map(of, measures['models']))}.",
        f"The textures are by {measures['texture_network']} ({', '.join(measures['layers'])}); their Gram matrices differ from "
        f"the images' own by {words(measures['gram_error'])} of the size of these.",
        _sizes(measures["side"], measures["models"]),
    ]


def _sizes(side: int | None, models: Sequence[Mapping[str, Any]]) -> str:
    if all(one["input"] == side for one in models):
        return f"The pictures are {_size(side)}, and every model sees them whole."
    seen = ", ".join(f"{one['model']} {_size(one['input'])}" for one in models)
    return f"The pictures are {_size(side)}; the models see of all kinds, by their own resize and crop: {seen}."


def _size(side: int | None) -> str:
    return "as large as they are" if side is None else f"{side} x {side} px"


def _listed(numbers: Iterable[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))


def _view(window: int | None) -> str:
    return "the whole image" if window is None else f"windows of {window} px"
