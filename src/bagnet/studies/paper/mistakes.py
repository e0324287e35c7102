"""Why did both models get it wrong? Images that a BagNet and another model mistake, with the BagNet's reasons (Fig. 4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.decode import BadImage
from ...evidence import Evidence, explain
from ...figures.charts import MARGIN
from ...figures.colours import SOFT
from ...figures.evidence_picture import heat_map, photograph
from ...figures.picture import Picture
from ...figures.sheet import Sheet, cropped
from ...figures.words import percent, short, signed
from ...runs.table import Row
from ...statistics import Estimate, mean
from .experiment import Experiment, Findings, Workplace
from .needs import Needs
from .scores import all_scores
from .subjects import Material, Subject

_STRONGEST = 3  # windows beside each map
_SIDE, _GAP, _TITLE, _CAPTION = 2.3, 0.4, 0.3, 0.75  # inches
_SMALL = 0.7  # inches: the side of a window
_REASON = _SIDE + 0.1 + _SMALL + 0.55  # a map with its windows and their logits
_COLUMNS = (
    "image",
    "class",
    "wnid",
    "bagnet_answer",
    "comparison_answer",
    "agree",
    "bagnet_probability",
    "comparison_probability",
    "bagnet_probability_of_class",
    "comparison_probability_of_class",
)


@dataclass(frozen=True)
class Measures:
    """All that was measured; agreement is that of the answers to images that both get wrong, None where there are none."""

    images: int  # that both models could use
    bagnet: str
    comparison: str  # the other model
    both_wrong: int
    share: Estimate  # of those, among all
    agree: Estimate | None = None
    agree_at_random: float | None = None  # were wrong answers drawn at random
    agree_by_class: float | None = None  # were each given to another image of the same class; None where no class has two


@dataclass(frozen=True)
class Mistakes(Experiment):
    """See `question`. The BagNet is that with the largest windows, and the other model the first that sees whole images.

    Where no model sees whole images, the BagNet with the largest windows takes that part, and the next smaller one is the BagNet.
    Images are shown by how sure both are of their wrong answers: by the smaller of the two probabilities.

    Args:
        count: images that are shown.
    """

    title = "What both models get wrong, and why"
    question = "On which images do a BagNet and another network both err, and which windows misled the BagNet?"
    paper = (
        "Fig. 4: images that BagNet-33 and VGG-16 both get wrong, with the evidence for the true class and for the answer; many "
        "look understandable, as a green cucumber beside a cleaver that is taken for a Granny Smith (recalled, not verified)."
    )
    differs = "The images are those of whose wrong answers both models are surest, not chosen by hand."
    needs = Needs(labels=True, several=True, bagnets=True, pictures=True)

    count: int = 4

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count}: at least one image is to be shown")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: an image is smaller than a window.
            NotANumber, BadImage: as `scores`.
        """
        bagnet, comparison = _models(material)
        readable, logits = all_scores(replace(material, subjects=(bagnet, comparison)), work)
        rows = np.flatnonzero(readable)
        if not len(rows):
            raise BadImage(f"no image of {material.data} can be read by both {bagnet.name} and {comparison.name}")
        shared = _Shared.of(rows, material.labels.numpy()[rows], logits[bagnet.name], logits[comparison.name])
        table = [_row(material, shared, rank) for rank in range(len(shared.rows))]
        measures = _measures(material, bagnet, comparison, shared, len(rows))
        figures = {self.name: self._picture(material, bagnet, comparison, shared)} if table else {}
        return Findings(measures, _sentences(material, comparison, measures), figures, table, _COLUMNS)

    def _picture(self, material: Material, bagnet: Subject, comparison: Subject, shared: _Shared) -> Picture:
        shown = min(self.count, len(shared.rows))
        block = _TITLE + _SIDE + _CAPTION
        sheet = Sheet(
            2 * MARGIN + _SIDE + 2 * (_GAP + _REASON),
            block * shown,
            self.title,
            f"{material.data}, the images of whose wrong answers {bagnet.name} and {comparison.name} are surest. Evidence and "
            f"answers of {bagnet.name}: red speaks for the class, blue against it; beside a map its strongest windows and their "
            "logits.",
        )
        names = material.images.names
        for rank in range(shown):
            y = sheet.top + rank * block
            label, (answer, compared) = int(shared.labels[rank]), shared.answers[:, rank].tolist()
            evidence = explain(bagnet.classifier, material.images.photo(int(shared.rows[rank])))
            photograph(sheet.panel(MARGIN, y + _TITLE, _SIDE, _SIDE), evidence, [])
            sheet.text(MARGIN, y + 0.07, short(names[int(shared.rows[rank])], 36), color=SOFT)
            said = f"{short(comparison.name, 40)} answers\n{short(str(material.classes[compared]), 28)}, "
            said += percent(shared.probabilities[1, rank, compared])
            sheet.text(MARGIN, y + _TITLE + _SIDE + 0.07, said)
            limit = float(max(np.abs(evidence.map(bagnet.columns[index])).max() for index in (label, answer))) or 1.0
            for column, (index, role) in enumerate(((label, "true class"), (answer, "answer"))):
                x = MARGIN + _SIDE + _GAP + column * (_REASON + _GAP)
                sheet.text(x, y + 0.05, short(f"{role}: {material.classes[index]}", 42), 9.5, fontweight="bold")
                _reason(sheet, x, y + _TITLE, evidence, bagnet.columns[index], limit)
                logit = signed(float(evidence.logits[bagnet.columns[index]]))
                words = [f"logit {logit}, colours from {signed(-limit)} to {signed(limit)}"]
                for probability, model in zip(shared.probabilities[:, rank, index], (bagnet, comparison), strict=True):
                    words.append(f"probability {percent(probability)} by {short(model.name, 40)}")
                sheet.text(x, y + _TITLE + _SIDE + 0.07, "\n".join(words))
        return Picture(sheet.figure)


@dataclass(frozen=True)
class _Shared:
    """Images that both models get wrong, first those of whose answers both are surest; of equal ones in their own order.

    Args:
        rows: (n,) of the material.
        labels: (n,) true classes.
        answers: (2, n) classes, of the BagNet and of the other model.
        probabilities: (2, n, K) of the same.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    answers: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.int64], labels: NDArray[np.int64], *logits: NDArray[np.float32]) -> _Shared:
        """Among images with those (n,) rows and labels, and (n, K) logits of both models."""
        answers = np.stack([of_model.argmax(1) for of_model in logits])
        wrong = np.flatnonzero((answers != labels).all(0))
        probabilities = np.stack([torch.from_numpy(of_model[wrong]).double().softmax(1).numpy() for of_model in logits])
        answers = answers[:, wrong]
        sure = np.take_along_axis(probabilities, answers[..., None], 2)[..., 0].min(0)
        order = np.argsort(-sure.round(5), kind="stable")  # the last digits depend on which images were asked about together
        return cls(rows[wrong[order]], labels[wrong[order]], answers[:, order], probabilities[:, order])

    @property
    def agree(self) -> NDArray[np.bool_]:
        """(n,) whether both give the same wrong answer."""
        same: NDArray[np.bool_] = self.answers[0] == self.answers[1]
        return same

    def chance(self) -> float | None:
        """How often the answers agree where one is to another image of the same class; None where no class has two.

        Classes count by their images, as they do in the agreement of answers to the same image.
        """
        agreeing, images, classes = 0.0, 0, self.probabilities.shape[2]
        for label in np.unique(self.labels):
            members = self.labels == label
            count = int(members.sum())
            if count > 1:
                first, second = (np.bincount(answers[members], minlength=classes) for answers in self.answers)
                agreeing += float(first @ second - self.agree[members].sum()) / (count - 1)
                images += count
        return agreeing / images if images else None


def _models(material: Material) -> tuple[Subject, Subject]:
    """The BagNet, and the model it is compared with."""
    if material.networks:
        return material.bagnets[-1], material.networks[0]
    return material.bagnets[-2], material.bagnets[-1]


def _measures(material: Material, bagnet: Subject, comparison: Subject, shared: _Shared, images: int) -> Measures:
    wrong = np.zeros(images)
    wrong[: len(shared.rows)] = 1
    measures = Measures(images, bagnet.name, comparison.name, len(shared.rows), mean(wrong, material.seed))
    if not len(shared.rows):
        return measures
    return replace(
        measures,
        agree=mean(shared.agree, material.seed),
        agree_at_random=1 / (len(material.classes) - 1),
        agree_by_class=shared.chance(),
    )


def _sentences(material: Material, comparison: Subject, measures: Measures) -> list[str]:
    names = f"{measures.bagnet} and {measures.comparison}"
    if measures.agree is None or measures.agree_at_random is None:
        sentences = [f"{names} get none of {measures.images:,} images wrong together."]
    else:
        chance = measures.agree_by_class
        by_class = f", and {percent(chance)} if given to different images of one class" if chance is not None else ""
        sentences = [
            f"{names} both get {measures.both_wrong:,} of {measures.images:,} images wrong ({measures.share.text(1, 100)} %); "
            f"they give the same wrong answer to {measures.agree.text(1, 100)} % of those; drawn at random it would be "
            f"{percent(measures.agree_at_random)}{by_class}."
        ]
    if not material.networks:
        sentences.append(
            f"No model that sees whole images is named: {comparison.name}, with windows of {comparison.window} px, takes its "
            "place."
        )
    return sentences


def _row(material: Material, shared: _Shared, rank: int) -> Row:
    label, (answer, compared) = int(shared.labels[rank]), shared.answers[:, rank].tolist()
    first, second = shared.probabilities[:, rank]
    values = (
        material.images.names[int(shared.rows[rank])],
        str(material.classes[label]),
        material.classes[label].wnid or "",
        str(material.classes[answer]),
        str(material.classes[compared]),
        answer == compared,
        float(first[answer]),
        float(second[compared]),
        float(first[label]),
        float(second[label]),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _reason(sheet: Sheet, x: float, y: float, evidence: Evidence, column: int, limit: float) -> None:
    """The map of a class, and its strongest windows beside it."""
    strongest = evidence.windows(column, _STRONGEST, apart=evidence.geometry.size // 2)
    values = evidence.map(column)
    heat_map(sheet.panel(x, y, _SIDE, _SIDE), evidence, values, evidence.geometry, limit, "evidence", strongest)
    for rank, window in enumerate(strongest):
        left, top = x + _SIDE + 0.1, y + rank * (_SIDE - _SMALL) / (_STRONGEST - 1)
        sheet.picture(left, top, _SMALL, cropped(evidence.image, window.box))
        sheet.text(left + _SMALL + 0.06, top + 0.18, str(rank + 1), 8, color=SOFT)
        sheet.text(left + _SMALL + 0.06, top + 0.34, signed(window.logit), 7.5, fontweight="bold")
