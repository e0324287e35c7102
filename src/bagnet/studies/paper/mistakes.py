"""Why did both models get it wrong? Images that a BagNet and another model mistake, with the BagNet's reasons (Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.decode import BadImage
from ...evidence import Evidence, Window, explain
from ...figures.evidence_picture import heat_map, percent, photograph, signed
from ...figures.picture import Picture
from ...figures.sheet import Sheet, cut_out
from ...figures.style import MARGIN, SOFT, short
from ...statistics import mean
from .experiment import Experiment, Findings, Workplace
from .scores import all_scores
from .subjects import Material, Subject, drawable

_STRONGEST = 3  # windows beside each map
_SIDE, _GAP, _TITLE, _CAPTION = 2.3, 0.4, 0.3, 0.75  # inches
_SMALL = 0.7  # inches: the side of a window
_REASON = _SIDE + 0.1 + _SMALL + 0.55  # a map with its windows and their logits
_COLUMNS = (
    "image",
    "class",
    "wnid",
    "bagnet_answer",
    "other_answer",
    "agree",
    "bagnet_probability",
    "other_probability",
    "bagnet_probability_of_class",
    "other_probability_of_class",
)


@dataclass(frozen=True)
class Mistakes(Experiment):
    """See `question`. The BagNet is that with the largest windows, and the other model the first that sees whole images.

    Where no model sees whole images, the BagNet with the largest windows takes that part, and the next smaller one its own.
    Images are shown by how sure both are of their wrong answers: by the smaller of the two probabilities.

    Args:
        count: images that are shown.
    """

    name = "mistakes"
    title = "What both models get wrong, and why"
    question = "On which images do a BagNet and another network both err, and which windows misled the BagNet?"
    paper = (
        "Fig. 4: images that BagNet-33 and VGG-16 both get wrong, with the evidence for the true class and for the answer; many "
        "look understandable, as a green cucumber beside a cleaver that is taken for a Granny Smith (recalled, not verified)."
    )
    differs = "The images are those of whose wrong answers both models are surest, not chosen by hand."

    count: int = 4

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count}: at least one image is to be shown")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: there is no BagNet, or no other model beside it; or an image is smaller than a window.
            NotANumber, BadImage: as `scores`.
        """
        bagnet, other = self._pair(material)
        readable, logits = all_scores(replace(material, subjects=(bagnet, other)), work)
        rows = np.flatnonzero(readable)
        if not len(rows):
            raise BadImage(f"no image of {material.data} can be read by both {bagnet.name} and {other.name}")
        shared = _Shared.of(rows, material.labels.numpy()[rows], logits[bagnet.name], logits[other.name])
        table = [_row(material, shared, place) for place in range(len(shared.rows))]
        measures, sentences = _measures(material, bagnet, other, shared, len(rows))
        figures = {self.name: self._picture(material, bagnet, other, shared)} if table else {}
        return Findings(measures, sentences, figures, table, _COLUMNS)

    def _pair(self, material: Material) -> tuple[Subject, Subject]:
        bagnets = drawable(material, self.name)
        if material.networks:
            return bagnets[-1], material.networks[0]
        if len(bagnets) < 2:
            raise ValueError(f"{self.name} compares {bagnets[0].name} with another model: name one more")
        return bagnets[-2], bagnets[-1]

    def _picture(self, material: Material, bagnet: Subject, other: Subject, shared: _Shared) -> Picture:
        shown = min(self.count, len(shared.rows))
        block = _TITLE + _SIDE + _CAPTION
        sheet = Sheet(
            2 * MARGIN + _SIDE + 2 * (_GAP + _REASON),
            block * shown,
            self.title,
            f"{material.data}, the images of whose wrong answers {bagnet.name} and {other.name} are surest. Evidence and answers "
            f"of {bagnet.name}: red speaks for the class, blue against it; beside a map its strongest windows and their logits.",
        )
        names = material.images.names
        for place in range(shown):
            y = sheet.top + place * block
            label, (own, others) = int(shared.labels[place]), shared.answers[:, place].tolist()
            evidence = explain(bagnet.model, material.images.photo(int(shared.rows[place])).image)
            photograph(sheet.panel(MARGIN, y + _TITLE, _SIDE, _SIDE), evidence, [])
            sheet.text(MARGIN, y + 0.07, short(names[int(shared.rows[place])], 36), color=SOFT)
            said = f"{short(other.name, 40)} answers\n{short(str(material.classes[others]), 28)}, "
            said += percent(shared.probabilities[1, place, others])
            sheet.text(MARGIN, y + _TITLE + _SIDE + 0.07, said)
            limit = float(max(np.abs(evidence.map(bagnet.columns[one])).max() for one in (label, own))) or 1.0
            for column, (one, role) in enumerate(((label, "true class"), (own, "answer"))):
                x = MARGIN + _SIDE + _GAP + column * (_REASON + _GAP)
                sheet.text(x, y + 0.05, short(f"{role}: {material.classes[one]}", 42), 9.5, fontweight="bold")
                _reason(sheet, x, y + _TITLE, evidence, bagnet.columns[one], limit)
                logit = signed(float(evidence.logits[bagnet.columns[one]]))
                words = [f"logit {logit}, colours from {signed(-limit)} to {signed(limit)}"]
                for probability, model in zip(shared.probabilities[:, place, one], (bagnet, other), strict=True):
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
        """Found among images with those (n,) rows and labels, and (n, K) logits of both models."""
        answers = np.stack([one.argmax(1) for one in logits])
        wrong = np.flatnonzero((answers != labels).all(0))
        probabilities = np.stack([torch.from_numpy(one[wrong]).double().softmax(1).numpy() for one in logits])
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
        agreeing, images = 0.0, 0
        for label in np.unique(self.labels):
            members = self.labels == label
            count = int(members.sum())
            if count > 1:
                own, others = (np.bincount(answers[members], minlength=self.probabilities.shape[2]) for answers in self.answers)
                agreeing += float(own @ others - self.agree[members].sum()) / (count - 1)
                images += count
        return agreeing / images if images else None


def _measures(
    material: Material, bagnet: Subject, other: Subject, shared: _Shared, images: int
) -> tuple[dict[str, Any], list[str]]:
    wrong = np.zeros(images)
    wrong[: len(shared.rows)] = 1
    both = mean(wrong, material.seed)
    measures: dict[str, Any] = {
        "images": images,
        "bagnet": bagnet.name,
        "other": other.name,
        "both_wrong": len(shared.rows),
        "share": both.to_dict(),
    }
    names = f"{bagnet.name} and {other.name}"
    if not len(shared.rows):
        sentences = [f"{names} get none of {images:,} images wrong together."]
    else:
        agreement, lot, chance = mean(shared.agree, material.seed), 1 / (len(material.classes) - 1), shared.chance()
        measures |= {"agree": agreement.to_dict(), "agree_by_lot": lot, "agree_by_class": chance}
        by_class = f", and {100 * chance:.1f} % if given to different images of one class" if chance is not None else ""
        sentences = [
            f"{names} both get {len(shared.rows):,} of {images:,} images wrong ({both.text(1, 100)} %); they give the same wrong "
            f"answer to {agreement.text(1, 100)} % of those; drawn by lot it would be {100 * lot:.1f} %{by_class}."
        ]
    if not material.networks:
        sentences.append(
            f"No model that sees whole images is named: {other.name}, with windows of {other.window} px, takes its place."
        )
    return measures, sentences


def _row(material: Material, shared: _Shared, place: int) -> Mapping[str, Any]:
    label, (own, others) = int(shared.labels[place]), shared.answers[:, place].tolist()
    first, second = shared.probabilities[:, place]
    values = (
        material.images.names[int(shared.rows[place])],
        str(material.classes[label]),
        material.classes[label].wnid or "",
        str(material.classes[own]),
        str(material.classes[others]),
        own == others,
        float(first[own]),
        float(second[others]),
        float(first[label]),
        float(second[label]),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _reason(sheet: Sheet, x: float, y: float, evidence: Evidence, column: int, limit: float) -> None:
    """The map of a class, and its strongest windows beside it."""
    strongest: Sequence[Window] = evidence.windows(column, _STRONGEST, apart=evidence.geometry.size // 2)
    values = evidence.map(column)
    heat_map(sheet.panel(x, y, _SIDE, _SIDE), evidence, values, evidence.geometry, limit, "evidence", strongest)
    for place, window in enumerate(strongest):
        left, top = x + _SIDE + 0.1, y + place * (_SIDE - _SMALL) / (_STRONGEST - 1)
        sheet.picture(left, top, _SMALL, cut_out(evidence.image, window.box))
        sheet.text(left + _SMALL + 0.06, top + 0.18, str(place + 1), 8, color=SOFT)
        sheet.text(left + _SMALL + 0.06, top + 0.34, signed(window.logit), 7.5, fontweight="bold")
