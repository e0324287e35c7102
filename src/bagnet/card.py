"""Card: what a set of weights is, where it came from, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from math import inf
from typing import Any

import torch
from torch import Tensor

from .architecture import AnyArchitecture, Architecture, Windowed, architecture_from
from .data.names import ClassName, ClassNames, imagenet1k
from .data.transforms import Preprocessing

_IMAGENET1K = "imagenet1k"  # how a card names the 1000 classes without listing them


@dataclass(frozen=True, slots=True)
class Score:
    """An accuracy that somebody measured.

    Args:
        data: which images.
        top1: percent of images whose best class is right.
        top5: percent of images whose label is among the best five.
        measured: by whom and how.
        images: how many there were, where known.
        balanced_accuracy: percent, each class counting alike, where that was measured.
        roc_auc: of two classes, the area under the ROC curve, between 0 and 1.
    """

    data: str
    top1: float
    top5: float
    measured: str
    images: int | None = None
    balanced_accuracy: float | None = None
    roc_auc: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file of weights that somebody published, and by what it is recognised.

    Args:
        url: where it lies.
        sha256: of the file: all 64 hex digits, or the first few where no more is known.
        git_blob: sha1 of the file as a git blob, where that is what is known.
        size: in bytes, where known.
    """

    url: str
    sha256: str | None = None
    git_blob: str | None = None
    size: int | None = None

    @property
    def recognisable(self) -> bool:
        """Whether a file can be told to be this one; files of one size are many."""
        return self.sha256 is not None or self.git_blob is not None

    @property
    def strength(self) -> str:
        """How much the check of this file proves, in words."""
        if self.sha256 is not None:
            bits = 4 * len(self.sha256)
            return f"sha256, {'all' if bits == 256 else 'only the first'} {bits} bits"
        return "git blob id, 160 bits of sha1" if self.git_blob else "none"


@dataclass(frozen=True, slots=True, repr=False)
class Card:
    """What a set of weights is.

    Args:
        name: `arch.tag`.
        architecture: of the network that the weights fit.
        classes: what the logits stand for.
        preprocessing: what the network expects of an image.
        multilabel: each class is a question of its own, whose probability is the sigmoid of its logit, instead of one of all
            by softmax.
        temperature: by which logits are divided before they become probabilities (Guo et al. 2017); 1 where none was fitted.
            Logits and evidence are as the network has them.
        licence: of the weights, in a sentence.
        trained_on: which images, in a sentence; "" where it was not trained.
        command: what made it, where that is one command.
        scores: measured accuracies.
        source: the published file, where there is one.
        source_sha256: of the published file that these weights were read from, all 64 hex digits.
        digest: `digest` of the tensors as stored; None where they have not been seen.
        float32_layers: layers that lose accuracy in lower precision and are to be kept in float32.
        notes: what else a user should know.
    """

    name: str
    architecture: AnyArchitecture
    classes: ClassNames
    preprocessing: Preprocessing
    multilabel: bool = False
    temperature: float = 1.0
    licence: str = "no weights"
    trained_on: str = ""
    command: str = ""
    scores: tuple[Score, ...] = ()
    source: Source | None = None
    source_sha256: str | None = None
    digest: str | None = None
    float32_layers: tuple[str, ...] = ()
    notes: str = ""
    # Whatever a newer version wrote that this one does not know; kept, so that nothing is lost on the way through.
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.classes) != self.architecture.num_classes:
            raise ValueError(
                f"card {self.name!r} names {len(self.classes)} classes, its network has {self.architecture.num_classes} logits"
            )

        temperature = self.temperature
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 < temperature < inf:
            raise ValueError(f"the temperature of a card must be a positive number, got {temperature!r}")
        words = ("name", "licence", "trained_on", "command", "notes")
        for word in (*words, *(word for word in ("source_sha256", "digest") if getattr(self, word) is not None)):
            if not isinstance(getattr(self, word), str):
                raise ValueError(f"the {word} of a card must be text, got {getattr(self, word)!r}")

    def __repr__(self) -> str:
        best = f", {self.scores[0].top1:.2f} % top-1 on {self.scores[0].data}" if self.scores else ""
        return f"Card({self.name}: {len(self.classes)} classes{best})"

    @property
    def local(self) -> Architecture | Windowed:
        """The architecture, where it is a bag of windows, which has evidence to show.

        Raises:
            ValueError: it is another network's.
        """
        if not isinstance(self.architecture, Architecture | Windowed):
            raise ValueError(
                f"{self.name}: is not a bag of windows but a {self.architecture.network}, which has no evidence to show; "
                "bagnet.windowed makes it local"
            )
        return self.architecture

    def adapted(self, architecture: Architecture | Windowed, classes: ClassNames, new_head: bool) -> Card:
        """The card of these weights after a change, under a name that no longer claims to be them.

        Args:
            architecture: with the numbers of classes and channels that there are now.
            classes: what the logits stand for now.
            new_head: whether the linear head is random.
        """
        changes = [
            word
            for word, is_so in (
                ("newhead", new_head),
                ("renamed", not new_head and classes != self.classes),
                (f"{architecture.in_channels}channels", architecture.in_channels != self.architecture.in_channels),
            )
            if is_so
        ]
        if not changes:
            return self
        return replace(
            self,
            name="-".join([self.name, *changes]),
            architecture=architecture,
            classes=classes,
            preprocessing=self.preprocessing.with_channels(architecture.in_channels),
            trained_on=f"{self.trained_on} (the features; the head is random)" if new_head else self.trained_on,
            command="",
            scores=() if new_head else self.scores,
            temperature=1.0 if new_head else self.temperature,
            source=None,
            source_sha256=None,
            digest=None,
            notes=f"Made from {self.name}. {self.notes}".strip(),
        )

    def to_json(self) -> str:
        """One JSON object; `from_json` reads it back to an equal card."""
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "more"}
        record["architecture"] = self.architecture.to_dict()
        record["preprocessing"] = self.preprocessing.to_dict()
        record["classes"] = _classes_to_json(self.classes)
        record["scores"] = [asdict(score) for score in self.scores]
        record["source"] = asdict(self.source) if self.source else None
        return json.dumps({**record, **self.more}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is no card; the message says what is missing or wrong.
        """
        try:
            return cls.from_dict(json.loads(text))
        except KeyError as error:
            raise ValueError(f"not a card: it has no {error}") from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a card: {error}") from None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Card:
        """A card from the plain fields that `to_json` writes."""
        names = {f.name for f in fields(cls)} - {"more"}
        values = {key: value for key, value in record.items() if key in names}
        return cls(
            **{
                **values,
                "architecture": architecture_from(values["architecture"]),
                "preprocessing": Preprocessing(**values["preprocessing"]),
                "classes": _classes_from_json(values["classes"]),
                "scores": tuple(Score(**score) for score in values.get("scores", ())),
                "source": Source(**values["source"]) if values.get("source") else None,
                "float32_layers": tuple(values.get("float32_layers", ())),
                "more": {key: value for key, value in record.items() if key not in names},
            }
        )


def _classes_to_json(classes: ClassNames) -> str | list[str | dict[str, Any]]:
    """A class is one word, its WordNet id or its only name, where that says all; otherwise all that is known of it."""
    if classes == imagenet1k():
        return _IMAGENET1K
    words = [entry.wnid or str(entry) for entry in classes]
    return [
        word if entry == read_back else {"names": list(entry.names), "wnid": entry.wnid}
        for word, entry, read_back in zip(words, classes, ClassNames.from_words(words), strict=True)
    ]


def _classes_from_json(entries: Any) -> ClassNames:
    if entries == _IMAGENET1K:
        return imagenet1k()
    if not isinstance(entries, list) or not all(isinstance(entry, (str, dict)) for entry in entries):
        raise ValueError(f"its classes are neither {_IMAGENET1K!r} nor a list of words")
    plain = ClassNames.from_words([entry if isinstance(entry, str) else "" for entry in entries])
    return ClassNames(
        word if isinstance(entry, str) else ClassName(tuple(entry["names"]), entry["wnid"])
        for entry, word in zip(entries, plain, strict=True)
    )


def digest(state: Mapping[str, Tensor]) -> str:
    """sha256 over the tensors in the order of their names: name, dtype, shape and bytes of each.

    It says whether two files hold the same numbers, however they are packed.
    """
    total = sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
