"""From an image to its certificate."""

from __future__ import annotations

import numpy as np

from ..data.decode import ImageLike
from ..engine.classifier import Classifier
from ..evidence import Evidence, explain
from .bounded import aggregation as by_name
from .certificate import Certificate
from .margin import Margin, margin
from .patch import Patch
from .voting import Vote, masks, vote

METHODS = ("voting", "margin")
ROUNDING = 1e-5  # of the largest logit: how far a window's logit may be off in float32


def certify(
    model: Classifier,
    image: ImageLike | Evidence,
    patch: Patch | str = "2%",
    method: str = "voting",
    *,
    aggregation: str = "probabilities",
    best: int = 1,
) -> Certificate:
    """Prove that no patch of a size changes the answer, wherever it lies, whatever it shows; or say that it may.

    The answer is that of the classifier which is certified: of "voting" the two-mask vote (`voting.py`), of "margin" the mean of
    bounded evidence (`margin.py`), whose answers may be others than the model's own.

    Args:
        model: whose evidence it is.
        image: as for `explain`, or evidence of the model that holds all classes.
        patch: the threat, or words for `Patch.parse`.
        method: "voting" or "margin".
        aggregation: of margin: "probabilities", "clipped" or "tanh".
        best: of margin: the label stays among so many of the best.

    Raises:
        ValueError: there is no such method or aggregation; the patch is larger than the image, or of unknown frame; or the
            evidence lacks classes.
        FileNotFoundError, BadImage: as `explain`.
    """
    threat = Patch.parse(patch) if isinstance(patch, str) else patch
    evidence = image if isinstance(image, Evidence) else explain(model, image)
    return certificate_of(evidence, threat, method, aggregation=aggregation, best=best, digest=model.weights_digest)


def certificate_of(
    evidence: Evidence, patch: Patch, method: str, *, aggregation: str = "probabilities", best: int = 1, digest: str = ""
) -> Certificate:
    """The same of evidence; `digest` is that of the model's weights. Raises as `certify`."""
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}: choose among {', '.join(METHODS)}")
    if np.isfinite(evidence.left_out):
        raise ValueError("the evidence lacks classes, of which each could be a rival: certify a smaller image")
    if method == "voting" and (patch.count > 1 or best > 1):
        raise ValueError("voting proves one patch and the best class alone: --method margin proves more")
    rows, columns = patch.runs(evidence.geometry, evidence.placement)
    values = evidence.values.astype(np.float64)
    largest = float(np.abs(values).max())
    found: Margin | Vote
    if method == "voting":
        found = vote(values, rows, columns, slack=ROUNDING * largest)
        label, certified, left, unwavering = found.label, found.certified, found.margin, found.certified and found.unanimous
        rows, columns = (tuple(masks(runs, cells)) for runs, cells in zip((rows, columns), values.shape[1:], strict=True))
    else:
        bounds = by_name(aggregation)
        scores = bounds.bound(values)
        label = int(scores.sum((1, 2)).argmax())
        slack = 2 * values[0].size * ROUNDING * largest * bounds.steepest
        found = margin(scores, label, rows, columns, bounds.apart, count=patch.count, best=best, slack=slack)
        left = found.value / values[0].size  # of the mean, as scores are shown
        certified = unwavering = found.value > 0
    frame = patch.frame or "input"
    return Certificate(
        certified=certified,
        margin=left,
        label=label,
        name=str(evidence.classes[label]),
        best=best,
        unwavering=unwavering,
        method=method,
        aggregation="" if method == "voting" else aggregation,
        patch=str(patch),
        size=patch.size_on(evidence.placement),
        frame=frame,
        count=patch.count,
        worst=found.worst,
        rival=str(evidence.classes[found.rival]),
        rows=rows,
        columns=columns,
        geometry=evidence.geometry,
        placement=evidence.placement,
        values=evidence.values.astype(np.float32),
        model=evidence.model,
        digest=digest,
        source=evidence.source,
    )
