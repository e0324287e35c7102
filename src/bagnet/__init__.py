"""bagnet: image classifiers that show exactly why.

>>> import bagnet
>>> evidence = bagnet.explain(bagnet.load(), "dog.jpg")
>>> evidence.picture().save("why.png")
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .card import Card
    from .certificates import Certificate, Patch, certify, check
    from .engine.export import export
    from .engine.prepare import prepare
    from .evaluation.cue_conflict import cue_conflict
    from .evaluation.evaluate import evaluate
    from .evaluation.faithfulness import faithfulness
    from .evaluation.shards import evaluate_part, merge_evaluations
    from .evidence import Evidence, explain
    from .evidence.dense import dense
    from .evidence.edits import change, occlude
    from .geometry import Box, Geometry, Placement
    from .model import BagNet
    from .runs.maps import open_maps
    from .runs.predict import merge_predictions, predict
    from .runs.vectors import embed
    from .slides.embed import embed_slides
    from .slides.run import Slide, merge_slides, open_slide, slide
    from .studies.audit.run import audit
    from .training.probe import probe
    from .training.run import finetune, train
    from .zoo.linear import from_linear
    from .zoo.load import create, load
    from .zoo.windowed import windowed

__all__ = [
    "BagNet",
    "Box",
    "Card",
    "Certificate",
    "Evidence",
    "Geometry",
    "Patch",
    "Placement",
    "Slide",
    "audit",
    "certify",
    "change",
    "check",
    "create",
    "cue_conflict",
    "dense",
    "embed",
    "embed_slides",
    "evaluate",
    "evaluate_part",
    "explain",
    "export",
    "faithfulness",
    "finetune",
    "from_linear",
    "load",
    "merge_evaluations",
    "merge_predictions",
    "merge_slides",
    "occlude",
    "open_maps",
    "open_slide",
    "predict",
    "prepare",
    "probe",
    "slide",
    "train",
    "windowed",
]

try:
    __version__ = version("bagnet")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0"

# Rooms are opened when something in them is asked for, so that `import bagnet` and `bagnet --help` stay quick.
_ROOMS = {
    "BagNet": "model",
    "Box": "geometry",
    "Card": "card",
    "Certificate": "certificates",
    "Evidence": "evidence",
    "Geometry": "geometry",
    "Patch": "certificates",
    "Placement": "geometry",
    "Slide": "slides.run",
    "audit": "studies.audit.run",
    "certify": "certificates",
    "change": "evidence.edits",
    "check": "certificates",
    "create": "zoo.load",
    "cue_conflict": "evaluation.cue_conflict",
    "dense": "evidence.dense",
    "embed": "runs.vectors",
    "embed_slides": "slides.embed",
    "evaluate": "evaluation.evaluate",
    "evaluate_part": "evaluation.shards",
    "explain": "evidence",
    "export": "engine.export",
    "faithfulness": "evaluation.faithfulness",
    "finetune": "training.run",
    "from_linear": "zoo.linear",
    "load": "zoo.load",
    "merge_evaluations": "evaluation.shards",
    "merge_predictions": "runs.predict",
    "merge_slides": "slides.run",
    "occlude": "evidence.edits",
    "open_maps": "runs.maps",
    "open_slide": "slides.run",
    "predict": "runs.predict",
    "prepare": "engine.prepare",
    "probe": "training.probe",
    "slide": "slides.run",
    "train": "training.run",
    "windowed": "zoo.windowed",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'bagnet' has no attribute {name!r}")
    value = getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
