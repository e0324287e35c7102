"""The blocks of a network one after the other, of which fine-tuning may train the last ones alone."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Blocks in the order in which they are registered, which is that of the layers in all networks that we know of.

    Sequences are taken apart, and what is in them are blocks: a residual block, a block of a transformer, a convolution between
    such. Normalisation is no block by itself; it goes with what comes before it. The linear head is none either.
    """
    blocks: list[nn.Module] = []
    for module in _parts(network):
        if not any(True for _ in module.parameters()):
            continue
        if isinstance(module, _NORMS) and blocks:
            blocks[-1] = nn.ModuleList([*_members(blocks[-1]), module])
        else:
            blocks.append(module)
    return blocks


def _parts(network: nn.Module) -> Iterator[nn.Module]:
    for name, module in network.named_children():
        if name == "fc" or isinstance(module, nn.Linear):
            continue
        if name == "network" or isinstance(module, nn.Sequential | nn.ModuleList):
            yield from _parts(module)
        else:
            yield module


def _members(block: nn.Module) -> list[nn.Module]:
    return list(block) if isinstance(block, nn.ModuleList) else [block]
