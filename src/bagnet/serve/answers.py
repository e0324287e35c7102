"""What the service answers, as JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from ..certificates.certificate import Certificate
from ..engine.classifier import Classifier, model_name, temperature_of
from ..evidence import Evidence


class Prediction(BaseModel):
    """One class as an image's answer."""

    index: int = Field(description="Among the model's classes.")
    name: str
    logit: float
    probability: float = Field(
        description="Softmax of the logits; of a multi-label model, the sigmoid of this one. At the model's temperature."
    )


class Classified(BaseModel):
    """The best classes of an image."""

    model: str
    predictions: list[Prediction] = Field(description="Best first.")


class Grid(BaseModel):
    """Where the windows lie on the network's input, in its pixels."""

    size: int = Field(description="Side of a window.")
    stride: int = Field(description="Distance of neighbouring windows.")
    origin: int = Field(description="First pixel of the first window; negative where the network pads.")
    rows: int
    columns: int


class AxisOfPlacement(BaseModel):
    """One axis: `source` pixels of the upright photograph became `resized`, of which the network sees `length` from `start`."""

    source: int
    resized: int
    start: int
    length: int


class Map(BaseModel):
    """The logits of one class at every window. Their mean is its logit."""

    index: int
    name: str
    logit: float
    values: list[list[float]] = Field(description="Rows of the grid.")


class Maps(BaseModel):
    """The logits of all classes at every window, as little-endian float32."""

    shape: tuple[int, int, int] = Field(description="Classes, rows, columns.")
    classes: list[int] = Field(description="Which, among the model's.")
    logits: str = Field(description="Base64 of the logits of the image.")
    values: str = Field(description="Base64 of the logits of the windows, class by class and row by row.")


class Proof(BaseModel):
    """What a sticker can change: of the two-mask vote over the windows, whose answer may be another than the model's."""

    certified: bool = Field(description="No such sticker, wherever it is put, whatever it shows, changes the answer.")
    margin: float = Field(description="Logits that are left at the worst place; not positive where the answer may change.")
    index: int = Field(description="Of the answer, among the model's classes.")
    name: str
    rival: str = Field(description="The class that comes closest.")
    patch: str = Field(description="The sticker, in words.")
    method: str
    worst: tuple[int, int, int, int] = Field(
        description="Left, top, right, bottom: pixels of the upright photograph that the windows see where a sticker costs most."
    )


class Explained(Classified):
    """An image's evidence."""

    grid: Grid
    vertical: AxisOfPlacement
    horizontal: AxisOfPlacement
    maps: list[Map] = Field(description="Of the classes that were asked for.")
    all_maps: Maps | None = Field(None, description="Where they were asked for.")
    certificate: Proof | None = Field(None, description="Where a patch was named.")


class Model(BaseModel):
    """What is served."""

    name: str
    window: int = Field(description="Side of a window, in pixels of the network's input.")
    stride: int
    classes: list[str]
    runtime: str
    precision: str
    temperature: float = Field(description="By which logits are divided before they become probabilities.")
    licence: str
    trained_on: str


class Models(BaseModel):
    """All that is served."""

    models: list[Model]


class Health(BaseModel):
    """That the service runs."""

    status: str


class Refusal(BaseModel):
    """Why a request is refused."""

    detail: str


def model_of(classifier: Classifier) -> Model:
    """What is served."""
    card = classifier.card
    return Model(
        name=model_name(classifier),
        window=classifier.geometry.size,
        stride=classifier.geometry.stride,
        classes=[str(name) for name in classifier.classes],
        runtime=classifier.runtime,
        precision=classifier.precision,
        temperature=temperature_of(classifier),
        licence=card.licence if card else "",
        trained_on=card.trained_on if card else "",
    )


def classified(evidence: Evidence, kept: Sequence[int], count: int) -> Classified:
    """The best classes; `kept` are the classes of the model that the evidence is of."""
    return Classified(model=evidence.model, predictions=_predictions(evidence, kept, count))


def explained(
    evidence: Evidence,
    kept: Sequence[int],
    count: int,
    targets: Sequence[int],
    *,
    everything: bool = False,
    certificate: Certificate | None = None,
) -> Explained:
    """The best classes, and the maps of some or of all.

    Args:
        evidence: of the image.
        kept: the classes of the model that the evidence is of.
        count: of predictions.
        targets: of the maps, among the evidence's classes.
        everything: all maps, as bytes.
        certificate: of the evidence.
    """
    rows, columns = evidence.values.shape[1:]
    geometry, placement = evidence.geometry, evidence.placement
    return Explained(
        model=evidence.model,
        predictions=_predictions(evidence, kept, count),
        grid=Grid(size=geometry.size, stride=geometry.stride, origin=geometry.origin, rows=rows, columns=columns),
        vertical=_axis(placement.vertical),
        horizontal=_axis(placement.horizontal),
        maps=[
            Map(
                index=kept[index],
                name=str(evidence.classes[index]),
                logit=float(evidence.logits[index]),
                values=evidence.map(index).tolist(),
            )
            for index in targets
        ],
        all_maps=_all_maps(evidence, kept) if everything else None,
        certificate=_proof(certificate) if certificate else None,
    )


def _proof(certificate: Certificate) -> Proof:
    place = certificate.worst_place
    return Proof(
        certified=certificate.certified,
        margin=certificate.margin,
        index=certificate.label,
        name=certificate.name,
        rival=certificate.rival,
        patch=certificate.patch,
        method=certificate.method,
        worst=(place.left, place.top, place.right, place.bottom),
    )


def _predictions(evidence: Evidence, kept: Sequence[int], count: int) -> list[Prediction]:
    return [
        Prediction(index=kept[entry.index], name=entry.name, logit=entry.logit, probability=entry.probability)
        for entry in evidence.top(count)
    ]


def _axis(axis: object) -> AxisOfPlacement:
    return AxisOfPlacement.model_validate(axis, from_attributes=True)


def _all_maps(evidence: Evidence, kept: Sequence[int]) -> Maps:
    logits, values = (b64encode(np.asarray(part, "<f4").tobytes()).decode() for part in (evidence.logits, evidence.values))
    count, rows, columns = evidence.values.shape
    return Maps(shape=(count, rows, columns), classes=list(kept), logits=logits, values=values)
