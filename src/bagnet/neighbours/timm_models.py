"""BagNets and windowed networks in timm's registry, by their own names; opened by `import bagnet.timm`.

An entry is a name without a tag: of the published sizes, of the bundled models, and two for any shape, `bagnet` and `windowed`,
whose fields (`kernel3`, `strides`, ...; `network`, `window`, `stride`, ...) come as keywords. Weights are those of `bagnet.load`,
with its checks and its cache. A name that would lie about the window is an error, as with `bagnet.create`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models._builder import load_pretrained, resolve_pretrained_cfg
from timm.models._features import FeatureListNet
from timm.models._pretrained import PretrainedCfg

from ..architecture import PUBLISHED_SHAPES, Architecture, Windowed
from ..bag import BagOfFeatures, crop_share
from ..card import Card
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..model import BagNet
from ..zoo.catalogue import card_of, published, untrained
from ..zoo.load import load_network, untrained_model
from ..zoo.names import bundled

_IGNORED = {"drop_rate", "drop_path_rate", "drop_block_rate"}  # timm's scripts pass them on, as 0 where nobody asked
_UNSET = (None, 0, 0.0, False, "", "avg")


def _cards() -> dict[str, Card]:
    """Of all models that are known by name."""
    return {name: card_of(name) for name in (*published(), *bundled())}


def _default(card: Card) -> dict[str, Any]:
    """What timm has to know of a set of weights; the address is for its lists, the weights come by way of `bagnet.load`."""
    source = card.source.url if card.source else "bundled"
    transform = card.preprocessing
    side = transform.crop or transform.resize or 224
    return {
        "url": source,
        "num_classes": len(card.classes),
        "input_size": (card.local.in_channels, side, side),
        "crop_pct": crop_share(transform.resize, side),
        "interpolation": transform.interpolation,
        "mean": transform.mean,
        "std": transform.std,
        "first_conv": BagNet.first_conv if isinstance(card.architecture, Architecture) else None,
        "classifier": "fc",
        "license": card.licence,
    }


CARDS = _cards()
default_cfgs = generate_default_cfgs({name: _default(card) for name, card in CARDS.items()})
ENTRIES: dict[str, Callable[..., Any]] = {}


def _entry(name: str, base: Architecture | Windowed | None) -> None:
    """Register an entry; `base` is its shape, where the name says one."""

    def build(pretrained: bool = False, pretrained_cfg: Any = None, pretrained_cfg_overlay: Any = None, **asked: Any) -> Any:
        return _built(name, base, pretrained, pretrained_cfg, pretrained_cfg_overlay, asked)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name}, as `bagnet.load` or `bagnet.create` has it."
    ENTRIES[name] = register_model(build)


def _built(
    name: str,
    base: Architecture | Windowed | None,
    pretrained: bool,
    configuration: Any,
    overlay: dict[str, Any] | None,
    asked: dict[str, Any],
) -> Any:
    """What timm asks for."""
    for word in ("cache_dir", "pretrained_model_args"):  # the latter are among the keywords, too
        asked.pop(word, None)
    features_only, indices = asked.pop("features_only", False), asked.pop("out_indices", None)
    words = {"num_classes": "num_classes", "in_chans": "in_channels"}
    counts = {ours: asked.pop(theirs) for theirs, ours in words.items() if theirs in asked}
    shape = _shape(name, base, asked)
    stated = None if isinstance(configuration, str | None) else resolve_pretrained_cfg(name, configuration, overlay)
    if pretrained and stated is None:
        model = load_network((overlay or {}).get("file") or _weights_of(name, configuration), **counts).train()
        _check_shape(name, model, shape and replace(shape, **counts))
    elif shape is None:
        raise ValueError(f"{name} is any shape: say which, as in timm.create_model({name!r}, {_example(name)})")
    elif pretrained and stated is not None:  # a folder or a repository that timm has found
        stored = {"num_classes": stated.num_classes, "in_channels": stated.input_size[0]}
        model = _untrained(replace(shape, **{**stored, **counts}))
        model.card = _card(model, stated)
        load_pretrained(model, stated.to_dict(), model.num_classes, model.architecture.in_channels)  # type: ignore[no-untyped-call]
    else:
        model = _untrained(replace(shape, **counts))
    return _maps(model, indices) if features_only else model


def _shape(name: str, base: Architecture | Windowed | None, asked: dict[str, Any]) -> Architecture | Windowed | None:
    """The shape that an entry and some keywords name. ValueError: a keyword is none of ours, or the name would lie."""
    kind = Windowed if isinstance(base, Windowed) or name == "windowed" else Architecture
    names = {field.name for field in fields(kind)}
    for word, value in list(asked.items()):
        if word not in names:
            if value in _UNSET and (word in _IGNORED or word == "global_pool"):
                del asked[word]
                continue
            raise ValueError(f"{name} has no {word}={value!r}: its fields are {', '.join(sorted(names - {'in_channels'}))}")
    if base is None:
        return kind(**asked) if asked else None
    shape = replace(base, **asked)
    if shape.name != base.name:
        raise ValueError(f"with {', '.join(asked)} {name} would be {shape.name}: create 'bagnet' or 'windowed' with these fields")
    return shape


def _weights_of(name: str, tag: str | None) -> str:
    """The name by which `bagnet.load` knows weights. ValueError: there are none."""
    tags = [model.partition(".")[2] for model in CARDS if model.partition(".")[0] == name]
    if not tags:
        raise ValueError(f"{name} is any shape, and has no weights of its own: name a file in pretrained_cfg_overlay")
    return f"{name}.{tag or tags[0]}"


def _check_shape(name: str, model: BagOfFeatures, shape: Architecture | Windowed | None) -> None:
    """ValueError: a file holds another network than the name says."""
    if shape is not None and model.name != shape.name:
        raise ValueError(f"the file holds {model.name}, not {name}")


def _untrained(shape: Architecture | Windowed) -> BagOfFeatures:
    model = untrained_model(shape)
    model.card = (
        untrained(shape)
        if isinstance(shape, Architecture)
        else Card(f"{shape.name}.untrained", shape, ClassNames.numbered(shape.num_classes), Preprocessing())
    )
    return model.train()


def _card(model: BagOfFeatures, stated: PretrainedCfg) -> Card:
    """The card of weights that timm loads: from our own file beside them where there is one, else from what timm knows."""
    assert model.card is not None
    beside = Path(stated.file or "") / "card.json"
    if beside.is_file():
        return Card.from_json(beside.read_text(encoding="utf-8"))
    side = stated.input_size[1]
    names = stated.label_names or ()
    return replace(
        model.card,
        name=f"{model.name}.{stated.tag or 'timm'}",
        preprocessing=Preprocessing(
            int(side / stated.crop_pct), side, stated.interpolation, tuple(stated.mean), tuple(stated.std)
        ),
        classes=ClassNames.from_words(names) if len(names) == model.num_classes else model.classes,
        licence=stated.license or "unknown",
        notes="Loaded by timm.",
    )


def _maps(model: BagOfFeatures, indices: Any) -> FeatureListNet:
    """`features_only`, in timm's word: the maps after the stages. ValueError: the network has none."""
    if not isinstance(model, BagNet):
        raise ValueError(f"{model.name}: each window is a picture of its own: there are no maps of features between its stages")
    return FeatureListNet(model, out_indices=(0, 1, 2, 3) if indices is None else indices)


def _example(name: str) -> str:
    return "network='timm:resnet50', window=64, stride=32" if name == "windowed" else "kernel3=(1, 1, 1, 0), width=32"


def _register() -> None:
    shapes: dict[str, Architecture | Windowed | None] = dict(PUBLISHED_SHAPES)
    shapes |= {name.partition(".")[0]: card.local for name, card in CARDS.items()}
    for name, base in {**shapes, "bagnet": None, "windowed": None}.items():
        _entry(name, base)


_register()
