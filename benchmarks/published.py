"""The published networks as their authors run them, kept as the baseline of every speed-up that is claimed.

Operation for operation what the official code does in PyTorch: separate 1x1 and 3x3 stem convolutions, batch normalisation
as a layer of its own, the shortcut computed on the whole map and cropped afterwards, average pooling before the linear layer,
contiguous tensors, eager mode. It is written from the published layer table; do not improve it. `bagnet bench` times
`bagnet.model.BagNet`, which `compare` below shows to be as fast (and tests show to be equal).

    python benchmarks/published.py        # times both in turn
"""

from __future__ import annotations

import time
from math import sqrt
from statistics import median

import torch
from torch import Tensor, nn

from bagnet.architecture import Architecture
from bagnet.model import BagNet


class Bottleneck(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None, kernel_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=kernel_size, stride=stride, padding=0, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        out = self.relu(out)
        out = self.conv3(out)
        out = self.bn3(out)
        residual = x if self.downsample is None else self.downsample(x)
        surplus = residual.size(-1) - out.size(-1)
        if surplus:
            residual = residual[:, :, :-surplus, :-surplus]
        out += residual
        return self.relu(out)


class PublishedBagNet(nn.Module):
    """Square inputs only, as published."""

    def __init__(self, kernel3: tuple[int, int, int, int], num_classes: int = 1000) -> None:
        super().__init__()
        self.inplanes = 64
        self.conv1 = nn.Conv2d(3, 64, kernel_size=1, bias=False)
        self.conv2 = nn.Conv2d(64, 64, kernel_size=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, momentum=0.001)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(64, 3, 2, kernel3[0])
        self.layer2 = self._stage(128, 4, 2, kernel3[1])
        self.layer3 = self._stage(256, 6, 2, kernel3[2])
        self.layer4 = self._stage(512, 3, 1, kernel3[3])
        self.fc = nn.Linear(2048, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                module.weight.data.normal_(0, sqrt(2.0 / fan_out))

    def _stage(self, planes: int, blocks: int, stride: int, kernel3: int) -> nn.Sequential:
        downsample = None
        if stride != 1 or self.inplanes != planes * 4:
            convolution = nn.Conv2d(self.inplanes, planes * 4, kernel_size=1, stride=stride, bias=False)
            downsample = nn.Sequential(convolution, nn.BatchNorm2d(planes * 4))
        layers = [Bottleneck(self.inplanes, planes, stride, downsample, 3 if kernel3 > 0 else 1)]
        self.inplanes = planes * 4
        layers += [Bottleneck(self.inplanes, planes, 1, None, 3 if kernel3 > block else 1) for block in range(1, blocks)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.conv2(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = nn.AvgPool2d(x.size()[2], stride=1)(x)
        return self.fc(x.view(x.size(0), -1))


def compare(kernel3: tuple[int, int, int, int] = (1, 1, 1, 1), batch: int = 8, size: int = 224, rounds: int = 5) -> None:
    """Print the medians of both, taken in turn, and how far their answers differ."""
    kept, ours = PublishedBagNet(kernel3).eval(), BagNet(Architecture(kernel3)).eval()
    ours.load_state_dict(kept.state_dict())
    x = torch.randn(batch, 3, size, size)
    seconds: dict[str, list[float]] = {"published": [], "bagnet.model": []}
    with torch.inference_mode():
        expected, found = kept(x), ours(x)
        for _ in range(rounds):
            for name, network in (("published", kept), ("bagnet.model", ours)):
                start = time.perf_counter()
                network(x)
                seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        print(f"{name}: {batch / median(taken):.2f} images/s (median of {rounds}, batch {batch}, {size} px)")
    print(f"largest difference: {float((expected - found).abs().max() / expected.abs().max()):.1e} of the largest logit")


if __name__ == "__main__":
    compare()
