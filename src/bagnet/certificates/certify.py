"""From an image to its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.decode import ImageLike
from ..data.names import ClassName, ClassNames
from ..engine.classifier import Classifier
from ..evidence import Evidence, explain
from ..geometry import Box, Span
from .bounded import aggregation as by_name
from .certificate import Certificate, Grid
from .margin import margin
from .patch import Patch
from .rectangles import classes_last
from .voting import MASKS, Masked, covering, vote

METHODS = ("voting", "margin")
ROUNDING = 1e-5  # of the largest logit: how far a window's logit may be off in float32


def certify(
    model: Classifier | Sequence[Classifier],
    image: ImageLike | Evidence,
    patch: Patch | str = "2%",
    method: str = "voting",
    *,
    aggregation: str = "probabilities",
    masks: int = MASKS,
    best: int = 1,
    question: int | str | None = None,
) -> Certificate:
    """Prove that no patch of a size changes the answer, wherever it lies, whatever it shows; or say that it may.

    The answer is that of the classifier which is certified: of "voting" the two-mask vote (`voting.py`), of "margin" the mean of
    bounded evidence (`margin.py`), whose answers may be others than the model's own.

    Args:
        model: whose evidence it is; or several of the same classes, whose windows vote together.
        image: as for `explain`, or evidence of the one model that holds all classes.
        patch: the threat, or words for `Patch.parse`.
        method: "voting" or "margin".
        aggregation: of margin: "probabilities", "clipped" or "tanh".
        masks: of voting: along an axis, at most; more are smaller, so that more answers hold, and cost more.
        best: of margin: the label stays among so many of the best.
        question: of a multi-label model, the class whose yes or no is to stay: the answer is 0 for yes, 1 for no.

    Raises:
        ValueError: there is no such method or aggregation; the patch is larger than the image, or of unknown frame; the evidence
            lacks classes; models do not fit together; or a multi-label model is asked no question, or another model one.
        UnknownClass, AmbiguousClass: there is no class to ask for by that name, or several.
        FileNotFoundError, BadImage: as `explain`.
    """
    threat = Patch.parse(patch) if isinstance(patch, str) else patch
    models = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
    if isinstance(image, Evidence):
        if len(models) != 1:
            raise ValueError(f"evidence is of one model, not of {len(models)}: give the image")
        maps = [image]
    else:
        maps = [explain(each, image) for each in models]
    if question is not None:
        maps = [as_question(each, question) for each in maps]
    digests = "+".join(each.weights_digest for each in models)
    return certificate_of(maps, threat, method, aggregation=aggregation, masks=masks, best=best, digest=digests)


def certificate_of(
    evidence: Evidence | Sequence[Evidence],
    patch: Patch,
    method: str,
    *,
    aggregation: str = "probabilities",
    masks: int = MASKS,
    best: int = 1,
    digest: str = "",
) -> Certificate:
    """The same of evidence, of several models of one image; `digest` is that of the models' weights. Raises as `certify`."""
    maps = [evidence] if isinstance(evidence, Evidence) else list(evidence)
    _check(maps, patch, method, best)
    if masks < 1:
        raise ValueError(f"there is one mask along an axis at least, got {masks}")
    joint = patch.joint_runs([(each.geometry, each.placement) for each in maps])
    proved = _voted(maps, joint, masks) if method == "voting" else _averaged(maps[0], joint, patch.count, aggregation, best)
    first = maps[0]
    grids = [
        Grid(rows, columns, each.geometry, each.placement, each.values.astype(np.float32))
        for each, rows, columns in zip(maps, proved.rows, proved.columns, strict=True)
    ]
    return Certificate(
        certified=proved.certified,
        margin=proved.margin,
        label=proved.label,
        name=str(first.classes[proved.label]),
        best=best,
        unwavering=proved.unwavering,
        method=method,
        aggregation="" if method == "voting" else aggregation,
        patch=str(patch),
        size=patch.size_on(first.placement),
        frame=patch.frame or "input",
        count=patch.count,
        region=patch.region_on(first.placement),
        worst=proved.worst,
        rival=str(first.classes[proved.rival]),
        rows=grids[0].rows,
        columns=grids[0].columns,
        geometry=first.geometry,
        placement=first.placement,
        values=grids[0].values,
        margins=proved.margins,
        model=" + ".join(each.model for each in maps),
        digest=digest,
        source=first.source,
        beside=tuple(grids[1:]),
    )


def as_question(evidence: Evidence, target: int | str) -> Evidence:
    """Of a multi-label model's evidence, that for yes and no to one class: its logits, and nothing.

    Yes leads where the class's logit is above 0, and its share of a softmax over both is the sigmoid that says so.

    Raises:
        UnknownClass, AmbiguousClass: there is no such class, or several.
        ValueError: the classes are not questions of their own.
    """
    if not evidence.multilabel:
        raise ValueError("the classes of this model exclude each other: there is no yes or no to one of them")
    index = evidence.classes.find(target)
    name = str(evidence.classes[index])
    return replace(
        evidence,
        values=np.stack([evidence.values[index], np.zeros_like(evidence.values[index])]),
        logits=np.array([evidence.logits[index], 0], evidence.logits.dtype),
        classes=ClassNames([ClassName((name,)), ClassName((f"no {name}",))]),
        multilabel=False,
    )


class _Proved(NamedTuple):
    """What both methods say. `rows` and `columns` are of each grid."""

    label: int
    certified: bool
    unwavering: bool
    margin: float
    worst: Box
    rival: int
    margins: NDArray[np.float64]
    rows: Sequence[tuple[Span, ...]]
    columns: Sequence[tuple[Span, ...]]


def _check(maps: Sequence[Evidence], patch: Patch, method: str, best: int) -> None:
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}: choose among {', '.join(METHODS)}")
    if any(np.isfinite(each.left_out) for each in maps):
        raise ValueError("the evidence lacks classes, of which each could be a rival: certify a smaller image")
    if any(each.multilabel for each in maps):
        raise ValueError("the classes of this model are questions of their own: name one, as in question='crack'")
    if method == "voting" and (patch.count > 1 or best > 1):
        raise ValueError("voting proves one patch and the best class alone: --method margin proves more")
    if method == "margin" and len(maps) > 1:
        raise ValueError("margin proves what one model says: --method voting proves several together")
    if any(list(each.classes) != list(maps[0].classes) for each in maps):
        raise ValueError("models that vote together need the same classes in the same order")


def _voted(maps: Sequence[Evidence], joint: Sequence[Sequence[Sequence[Span]]], most: int) -> _Proved:
    rows, columns = (list(zip(*covering(runs, most), strict=True)) for runs in joint)
    values = [classes_last(each.values) for each in maps]
    largest = max(float(np.abs(each).max()) for each in values)
    result = vote([Masked(*parts) for parts in zip(values, rows, columns, strict=True)], slack=ROUNDING * largest)
    unwavering = result.certified and result.unanimous
    return _Proved(
        result.label, result.certified, unwavering, result.margin, result.worst, result.rival, result.margins, rows, columns
    )


def _averaged(evidence: Evidence, joint: Sequence[Sequence[Sequence[Span]]], count: int, aggregation: str, best: int) -> _Proved:
    bounds = by_name(aggregation)
    values = classes_last(evidence.values)
    scores = bounds.bound(values)
    label = int(scores.sum((1, 2)).argmax())
    slack = 2 * values[0].size * ROUNDING * float(np.abs(values).max()) * bounds.steepest
    rows, columns = (list(zip(*runs, strict=True)) for runs in joint)
    result = margin(scores, label, rows[0], columns[0], bounds.apart, count=count, best=best, slack=slack)
    left = result.value / values[0].size  # of the mean, as scores are shown
    certified = result.value > 0
    margins = result.margins / values[0].size
    return _Proved(label, certified, certified, left, result.worst, result.rival, margins, rows, columns)
