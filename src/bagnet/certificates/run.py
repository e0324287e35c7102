"""Certificates of many images, and how many of them hold: clean and certified accuracy against the size of a patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..data.labels import LabelledImages
from ..data.names import ClassNames
from ..data.sources import Images
from ..engine.classifier import Classifier
from ..engine.inference import like_weights
from ..evidence import Evidence
from ..evidence.explain import Seen, explain_batch
from ..progress import Listener
from ..runs.store import claim
from ..runs.sweep import check_some, sweep
from ..runs.table import columns_of, write_table
from ..statistics import Estimate, shares
from .certificate import Certificate
from .certify import as_question, certificate_of
from .checker import check
from .patch import Patch
from .voting import MASKS

TABLE, UNFINISHED = "certificates.csv", "unfinished"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be proved of each image.

    Args:
        patch: the threat.
        method: as for `certify`.
        aggregation: likewise; "" for voting.
        best: likewise.
        masks: likewise.
        question: likewise, by its index; None for a model whose classes exclude each other.
    """

    patch: Patch
    method: str
    aggregation: str = ""
    best: int = 1
    masks: int = MASKS
    question: int | None = None

    def __str__(self) -> str:
        bound = f" of {self.aggregation}" if self.aggregation else ""
        masks = f", at most {self.masks} masks along an axis" if self.method == "voting" and self.masks != MASKS else ""
        among = f", among the best {self.best}" if self.best > 1 else ""
        return f"{self.patch}, {self.method}{bound}{masks}{among}{'' if self.question is None else f', class {self.question}'}"

    def holds(self, maps: Sequence[Evidence]) -> Certificate:
        """The certificate of one image, from the evidence of each model. Raises as `certify`."""
        asked = maps if self.question is None else [as_question(evidence, self.question) for evidence in maps]
        return certificate_of(asked, self.patch, self.method, aggregation=self.aggregation, masks=self.masks, best=self.best)


@dataclass(frozen=True, slots=True)
class Proved:
    """How many claims hold.

    Args:
        claim: which.
        images: that could be read.
        clean: share of the images for which the certified classifier is right; None where labels are not known.
        certified: share for which it is right and no patch changes that; without labels, for which no patch changes the answer.
        unwavering: share for which it is right, certified, and raises no alarm.
    """

    claim: Claim
    images: int
    clean: Estimate | None
    certified: Estimate
    unwavering: Estimate


def certify_images(
    models: Sequence[Classifier],
    images: Images,
    claims: Sequence[Claim],
    out: Path,
    *,
    labelled: LabelledImages | None = None,
    proved_again: bool = False,
    batch_size: int = 8,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Listener | None = None,
) -> tuple[list[Proved], dict[str, str]]:
    """Certify each image; the table goes to `out/certificates.csv`. Goes on where it was cut short.

    Args:
        models: whose evidence it is; several of the same classes vote together.
        images: the collection.
        claims: of each image.
        out: a folder.
        labelled: the same images with their classes, which the models must know; of multi-label models, with a yes or no to each.
        proved_again: have each certificate checked by `checker.check`.
        batch_size: images at a time.
        workers: processes that read images.
        overwrite: begin anew where the folder holds other work.
        progress: told after every batch.

    Returns:
        for each claim what holds, and why images could not be used, by name.

    Raises:
        ValueError: a claim is not one, a patch larger than an image, or models do not fit together.
        UnknownClass, AmbiguousClass: the model does not know a class of the images.
        BadImage: no image can be used.
        Rejected: a certificate could not be proved again.
        OtherRun: the folder holds work with other settings.
    """
    first, *further = models
    columns = None if labelled is None else labelled.classes.among(first.classes)
    settings = {
        "images": images.fingerprint,
        "models": [_described(model) for model in models],
        "claims": [str(claim) for claim in claims],
    }
    with claim(out / UNFINISHED, {**settings, "checked": proved_again}, overwrite=overwrite) as store:
        rows = store.rows("certificates")
        todo = [row for row in range(len(images.names)) if str(row) not in rows.done]
        for batch in sweep(first, images, todo, batch_size=batch_size, workers=workers, progress=progress, stage="certifying"):
            seen = [_seen(first, images, row, x) for row, x in zip(batch.rows, batch.x, strict=True)]
            good_rows, bad_rows = [], list(batch.bad)
            for row, evidence in zip(batch.rows, explain_batch(first, seen), strict=True):
                try:
                    maps = [evidence, *(explain_batch(model, [_seen(model, images, row)])[0] for model in further)]
                except ValueError as error:  # the image is too small for a further model
                    bad_rows.append((row, str(error)))
                    continue
                truth = None if labelled is None or columns is None else _shown(labelled, columns, row)
                certificates = [each.holds(maps) for each in claims]
                if proved_again:
                    for certificate in certificates:
                        check(certificate)
                good_rows.append((str(row), _row(images.names[row], truth, first.classes, claims, certificates)))
            rows.append([*good_rows, *((str(row), {"image": images.names[row], "error": reason}) for row, reason in bad_rows)])
        every = [row for _, row in sorted(rows, key=lambda pair: int(pair[0]))]
        good = [row for row in every if not row.get("error")]
        bad = {row["image"]: row["error"] for row in every if row.get("error")}
        check_some(good, list(bad.items()))
        flat = [line for row in every for line in _lines(row)]
        write_table(out / TABLE, columns_of(flat), flat)
        store.discard()
    return [_proved(number, each, good, labelled is not None) for number, each in enumerate(claims)], bad


def _described(model: Classifier) -> Mapping[str, Any]:
    """What a run with another model is told by."""
    return {
        "weights": model.weights_digest,
        "windows": asdict(model.geometry),  # the same weights may be shown other windows
        "preprocessing": model.transform.to_dict(),
        "runtime": f"{model.runtime} {model.precision}",
    }


def _seen(model: Classifier, images: Images, row: int, x: Tensor | None = None) -> Seen:
    """An image as a model sees it; `x` where it was prepared already."""
    photo = images.photo(row)
    if x is None:
        x = like_weights(model.transform(photo), model)
    picture, placement = model.transform.shown(photo), model.transform.placement(photo.size, photo.orientation)
    return Seen(x, picture, placement, images.names[row])


def _shown(labelled: LabelledImages, columns: Sequence[int], row: int) -> list[int]:
    """The model's indices of what an image shows."""
    return [columns[int(index)] for index in labelled.shares(row).nonzero().flatten()]


def _right(claim: Claim, certificate: Certificate, truth: Sequence[int]) -> bool:
    if claim.question is None:
        return certificate.label in truth
    return (certificate.label == 0) == (claim.question in truth)


def _row(
    image: str, truth: Sequence[int] | None, classes: ClassNames, claims: Sequence[Claim], certificates: Sequence[Certificate]
) -> Mapping[str, Any]:
    return {
        "image": image,
        "label": "" if truth is None else ", ".join(str(classes[index]) for index in truth),
        "claims": [
            {
                "claim": str(claim),
                "answer": certificate.name,
                "right": None if truth is None else _right(claim, certificate, truth),
                "certified": certificate.certified,
                "unwavering": certificate.unwavering,
                "margin": round(certificate.margin, 6),
                "rival": certificate.rival,
                "worst": list(certificate.worst_place),
            }
            for claim, certificate in zip(claims, certificates, strict=True)
        ],
    }


def _lines(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rows of the table: one for each claim of an image, or one that says why there is none."""
    if row.get("error"):
        return [row]
    places = ("left", "top", "right_edge", "bottom")
    return [
        {
            "image": row["image"],
            "label": row["label"],
            **{name: value for name, value in each.items() if name != "worst"},
            **{f"worst_{name}": value for name, value in zip(places, each["worst"], strict=True)},
        }
        for each in row["claims"]
    ]


def _proved(number: int, claim: Claim, rows: Sequence[Mapping[str, Any]], labelled: bool) -> Proved:
    found = [row["claims"][number] for row in rows]
    right = np.array([not labelled or bool(each["right"]) for each in found])
    certified, unwavering = (right & np.array([each[name] for each in found]) for name in ("certified", "unwavering"))
    clean, of_certified, of_unwavering = shares([part.sum() for part in (right, certified, unwavering)], [len(found)] * 3)
    return Proved(claim, len(found), clean if labelled else None, of_certified, of_unwavering)
