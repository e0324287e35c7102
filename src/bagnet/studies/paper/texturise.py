"""How much does a model need the places of things? Accuracy on images whose features stay and whose layout does not (Fig. 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...data.sources import Images
from ...data.transforms import Preprocessing
from ...evaluation.measures import rank_of_label
from ...figures.charts import finished, intervals, labels, panel_title, quiet_frame, side_by_side
from ...figures.colours import BLUE, GREY, INK, RED, SOFT
from ...figures.picture import Picture
from ...figures.words import WILSON, abridged, of_images, short, wrapped
from ...runs.table import Row
from ...statistics import Estimate, mean
from ...zoo.external import open_classifier
from .experiment import LOGITS, Experiment, Findings, Workplace
from .needs import Needs
from .scores import MANY, Accuracies, accuracies, scores
from .scrambled import Canvases, Shuffled, textures
from .subjects import Material, Subject
from .texture_synthesis import TextureNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLEAN, TEXTURISED, SHUFFLED = KINDS = ("clean", "texturised", "shuffled")  # of images
_COLOURS = {CLEAN: BLUE, TEXTURISED: RED, SHUFFLED: GREY}
_SHOWN = 8  # images of the examples


@dataclass(frozen=True)
class ScrambledAccuracies(Accuracies):
    """Accuracy on scrambled images, and by how much it is less than on the clean ones."""

    top1_lost: Estimate
    top5_lost: Estimate | None


@dataclass(frozen=True)
class ModelAccuracies:
    """Of one model, on each kind of images."""

    model: str
    window: int | None  # side in pixels; None where it sees the whole image
    input: int | None  # side in pixels; None where it takes images as they are
    clean: Accuracies
    texturised: ScrambledAccuracies
    shuffled: ScrambledAccuracies

    @property
    def by_kind(self) -> dict[str, Accuracies]:
        """In the order of `KINDS`."""
        return {CLEAN: self.clean, TEXTURISED: self.texturised, SHUFFLED: self.shuffled}


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    images: int  # of which there are all kinds
    side: int | None  # of the pictures in pixels; None where they are as large as the images
    texture_network: str
    layers: Sequence[str]
    gram_error: Estimate  # how far Gram matrices of textures are from the images' own, as a share of the size of these
    models: Sequence[ModelAccuracies]


@dataclass(frozen=True)
class Texturise(Experiment):
    """See `question`.

    Texturised images are synthesised from noise as Gatys et al. (2015) do, by the Gram matrices of one network (see
    `texture_synthesis`); shuffled ones have square tiles that change places at random. Both are made of the middle of
    an image, as large and as finely as any of the models sees it, in 8 bits. Of these pictures each model sees, of all three
    kinds, the part that it sees of the image itself, at the size of its own input. The paper's layers, optimiser and number of
    images are not known here.

    Args:
        network: whose features make the textures: one of the models by name, or another, as "torchvision:vgg19"; where empty,
            the first model that is a plain chain of convolutions and pools.
        steps: evaluations of that network for each image.
        tile: side of the shuffled tiles in pixels; where 0, a quarter of the picture's shorter side.
    """

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
    needs = Needs(labels=True)
    sample = 200

    network: str = ""
    steps: int = 100
    tile: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: a synthesis takes one step at least")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: no network makes textures, or the images are too small for it.
            UnknownModel, DownloadFailed: a named network cannot be opened.
        """
        network = _texture_network(self.network, material)
        canvas = canvas_for([subject.transform for subject in material.ordered])
        clean = Canvases(material.images, canvas)
        made, errors = textures(material, network, clean, self.steps, work.folder / TEXTURISED)
        kinds = {CLEAN: clean, TEXTURISED: made, SHUFFLED: Shuffled(clean, self.tile, material.seed)}
        good, ranks = _ranks(material, kinds, canvas, work)
        errors = errors[good]
        measures = Measures(
            len(good),
            canvas.crop,
            network.name,
            list(network.layers.values()),
            mean(errors, material.seed),
            [_summary(subject, ranks, material) for subject in material.ordered],
        )
        figures = {
            self.name: self._picture(material, measures),
            f"{self.name}_examples": _examples(material, kinds, good, network, self.steps),
        }
        return Findings(measures, _sentences(measures), figures, list(_rows(material, good, ranks, errors)))

    def check(self, material: Material) -> None:
        """As `Experiment.check`. ValueError: the models' inputs have no common pictures, or these no room for four tiles."""
        super().check(material)
        side = canvas_for([subject.transform for subject in material.ordered]).crop
        if self.tile < 0 or (side is not None and 2 * self.tile > side):
            raise ValueError(f"tile={self.tile}: pictures of {side} px are to have two such tiles a side at least")

    def _picture(self, material: Material, measures: Measures) -> Picture:
        models = measures.models
        names = [f"{wrapped(model.model, 1.9, 8.5, 2)}\n{_view(model.window)}" for model in models]
        left = 0.065 * max(len(line) for name in names for line in name.split("\n"))  # inches
        tops = list(models[0].clean.by_top)
        figure, (whole,) = side_by_side([left + 3.7 * len(tops)], max(2.6, 1.7 + 0.85 * len(models)))
        for column, (top, panel) in enumerate(zip(tops, whole.subgridspec(1, len(tops)), strict=True)):
            axes = figure.add_subplot(panel)
            _bars(axes, [{kind: of_kind.by_top[top] for kind, of_kind in model.by_kind.items()} for model in models])
            panel_title(axes, f"Top-{top} accuracy")
            labels(axes, "images that are right, per cent", "")
            axes.set_yticks(range(len(models)), names if column == 0 else [""] * len(models), linespacing=1.25)
            axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=INK)
        network = f"{len(measures.layers)} layers of {abridged(measures.texture_network, 44)}"
        made = f"textures by {network}, {self.steps} steps, {_size(measures.side)}"
        return finished(figure, self.title, of_images(material.data, measures.images, made, f"bars: {WILSON}"))


@dataclass(frozen=True, eq=False)
class OnCanvas(Subject):
    """A model that sees, of pictures made for several models, what it would see of the image.

    Args:
        canvas: how the pictures are cropped from images.
    """

    canvas: Preprocessing

    @property
    def transform(self) -> Preprocessing:
        whole = self.model.transform
        resize, crop = _resize_and_crop(whole)
        if not resize:
            return whole
        drawn, side = _resize_and_crop(self.canvas)
        # The shorter side of an image, which `resize` is of, is longer than a canvas where this shows but its middle.
        return replace(whole, resize=max(min(resize, crop), round(resize * side / drawn)))


def canvas_for(transforms: Sequence[Preprocessing]) -> Preprocessing:
    """How pictures for several models are cropped: as much of the middle of an image as any of them sees, and as finely.

    Where all prepare images in one way, it is theirs. It leaves the pixels in [0, 1].

    Raises:
        ValueError: some take one channel and some three, or another number.
    """
    channels = {len(transform.mean) for transform in transforms}
    if len(channels) > 1 or not channels <= {1, 3}:
        raise ValueError(f"texturise makes pictures for all models: these take {_listed(channels)} channels, not all 1 or all 3")
    cropping = [transform for transform in transforms if any(_resize_and_crop(transform))]
    (number,) = channels
    if not cropping:
        return replace(transforms[0], mean=(0.0,) * number, std=(1.0,) * number)
    finest = max(cropping, key=lambda transform: _resize_and_crop(transform)[0])
    resize = _resize_and_crop(finest)[0]
    share = max(min(1.0, crop / resize) for resize, crop in map(_resize_and_crop, cropping))  # of an image's shorter side
    return replace(finest, resize=resize, crop=round(share * resize), mean=(0.0,) * number, std=(1.0,) * number)


def _resize_and_crop(transform: Preprocessing) -> tuple[int, int]:
    """Both in pixels; where there is but one, the other is as large; 0 where there is none."""
    resize = transform.resize or transform.crop or 0
    return resize, transform.crop or resize


def _texture_network(name: str, material: Material) -> TextureNetwork:
    models = {subject.name: subject.model for subject in material.ordered}
    if not name:
        for title, model in models.items():
            if (network := TextureNetwork.of(title, model)) is not None:
                return network
        raise ValueError(
            "texturise takes textures from a plain chain of convolutions and pools, as VGG is, and none of the models is one: "
            "add one, or set network=torchvision:vgg19"
        )
    if name not in models and ":" not in name:
        raise ValueError(f"network={name}: there is no such model; there are {', '.join(models)}, or write torchvision:vgg19")
    network = TextureNetwork.of(name, models[name] if name in models else open_classifier(name))
    if network is None:
        raise ValueError(f"network={name}: is no plain chain of convolutions and pools, as VGG is; name one that is")
    return network


def _ranks(
    material: Material, kinds: Mapping[str, Images], canvas: Preprocessing, work: Workplace
) -> tuple[NDArray[np.int64], dict[tuple[str, str], NDArray[np.int64]]]:
    """(rows of the images that there are in all kinds, (model, kind) -> rank of the true class of each, 0 the best)"""
    logits = {}
    for subject in material.ordered:
        shown_to = OnCanvas(subject.name, subject.model, subject.columns, canvas)
        for kind, images in kinds.items():
            shown = replace(material, data=f"{material.data}, {kind}", images=images)
            logits[subject.name, kind] = scores(shown, shown_to, work, work.folder / kind / LOGITS)
    good = np.flatnonzero(np.all([np.isfinite(values[:, 0]) for values in logits.values()], axis=0))
    true = material.labels.numpy()[good]
    return good, {pair: rank_of_label(values[good], true) for pair, values in logits.items()}


def _summary(subject: Subject, ranks: Mapping[tuple[str, str], NDArray[np.int64]], material: Material) -> ModelAccuracies:
    classes, seed = len(material.classes), material.seed
    clean = ranks[subject.name, CLEAN]

    def scrambled(kind: str) -> ScrambledAccuracies:
        of_kind = ranks[subject.name, kind]
        top1, top5 = accuracies(of_kind, classes, seed)
        lost1, lost5 = (mean((clean < top).astype(np.float64) - (of_kind < top), seed) for top in (1, MANY))
        return ScrambledAccuracies(top1, top5, lost1, None if top5 is None else lost5)

    return ModelAccuracies(
        subject.name,
        subject.window,
        subject.transform.crop,
        Accuracies(*accuracies(clean, classes, seed)),
        scrambled(TEXTURISED),
        scrambled(SHUFFLED),
    )


def _rows(
    material: Material, good: NDArray[np.int64], ranks: Mapping[tuple[str, str], NDArray[np.int64]], errors: NDArray[np.float64]
) -> Iterator[Row]:
    names = material.images.names
    for index, row in enumerate(good):
        by_model = {f"rank {model} {kind}": int(values[index]) for (model, kind), values in ranks.items()}
        label = str(material.classes[int(material.labels[row])])
        yield {"image": names[row], "label": label, "gram error": float(errors[index]), **by_model}


def _bars(axes: Axes, accuracy: Sequence[Mapping[str, Estimate]]) -> None:
    """Of each model a bar for each kind of images, in per cent, with what it is of."""
    look: Any = {"ecolor": INK, "elinewidth": 0.9, "capsize": 2}
    for line, by_kind in enumerate(accuracy):
        for number, (kind, estimate) in enumerate(by_kind.items()):
            at = line + 0.27 * (number - 1)
            axes.barh(at, 100 * estimate.value, 0.23, color=_COLOURS[kind])
            intervals(axes, [at], [estimate], factor=100, across=True, **look)
            words = f"{100 * estimate.value:.1f}  {kind}"
            axes.text(100 * estimate.high + 2, at, words, fontsize=8, color=INK, va="center_baseline")
    axes.set_ylim(len(accuracy) - 0.5, -0.5)
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


def _sentences(measures: Measures) -> list[str]:
    def words(estimate: Estimate) -> str:
        return f"{estimate.text(1, 100)} %"

    def of(model: ModelAccuracies) -> str:
        clean, texturised, shuffled = (words(of_kind.by_top[top]) for of_kind in model.by_kind.values())
        return f"{model.model} on {clean} of the clean images, {texturised} of the texturised and {shuffled} of the shuffled"

    top = max(measures.models[0].clean.by_top)
    return [
        f"Right (top-{top}) is, over {measures.images:,} images: {'; '.join(map(of, measures.models))}.",
        f"The textures are by {measures.texture_network} ({', '.join(measures.layers)}); their Gram matrices differ from "
        f"the images' own by {words(measures.gram_error)} of the size of these.",
        _sizes(measures.side, measures.models),
    ]


def _sizes(side: int | None, models: Sequence[ModelAccuracies]) -> str:
    if all(model.input == side for model in models):
        return f"The pictures are {_size(side)}, and every model sees them whole."
    seen = ", ".join(f"{model.model} {_size(model.input)}" for model in models)
    return f"The pictures are {_size(side)}; the models see of all kinds, by their own resize and crop: {seen}."


def _size(side: int | None) -> str:
    return "as large as they are" if side is None else f"{side} x {side} px"


def _listed(numbers: Iterable[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))


def _view(window: int | None) -> str:
    return "the whole image" if window is None else f"windows of {window} px"
