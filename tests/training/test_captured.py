"""Training passes as CUDA graphs give what they give kernel by kernel; without a GPU nothing changes."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from bagnet.architecture import Architecture
from bagnet.model import BagNet
from bagnet.training.captured import captured
from bagnet.training.losses import classification

SMALL = Architecture((1, 1, 0, 0), (2, 2, 1, 1), (1, 1, 1, 1), 16, num_classes=5)


def steps(sizes: list[int], graphs: bool, frozen: str = "", device: str = "cuda") -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of steps on crops of some sizes, an evaluation after each, and what the network is in the end."""
    torch.manual_seed(0)
    network = BagNet(SMALL).to(device, memory_format=torch.channels_last)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name != frozen)
    optimiser = torch.optim.AdamW([parameter for parameter in network.parameters() if parameter.requires_grad])
    losses = []
    with captured(network) if graphs else nullcontext():
        for size in sizes:
            x = torch.randn(8, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
            network.train()
            with torch.autocast(device, torch.bfloat16):
                logits = network(x)
            loss = classification(logits, torch.eye(5, device=device)[torch.arange(8) % 5])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
            with torch.no_grad():
                losses += [float(loss), float(network.eval()(x).square().mean())]
    assert "features" not in vars(network)
    return losses, network.state_dict()


@pytest.mark.gpu
@pytest.mark.parametrize("frozen", ["", "conv1.weight"])
def test_passes_as_graphs_are_those_kernel_by_kernel(frozen: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    sizes = [33, 33, 41, 33, 41]
    losses, weights = steps(sizes, graphs=True, frozen=frozen)
    expected, expected_weights = steps(sizes, graphs=False, frozen=frozen)
    assert losses == pytest.approx(expected, rel=1e-2)
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected_weights[name], rtol=1e-2, atol=1e-2)
    assert int(weights["bn1.num_batches_tracked"]) == len(sizes)


def test_without_a_gpu_nothing_changes() -> None:
    assert steps([17, 21], graphs=True, device="cpu")[0] == steps([17, 21], graphs=False, device="cpu")[0]
