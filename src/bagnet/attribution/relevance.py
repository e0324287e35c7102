"""Epsilon-LRP by captum, with a rule for every step of a rewritten network and an account of where relevance stays behind."""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import LRP  # this module is imported once captum is known to be there
from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule
from torch import Tensor, fx

from .rewrite import Step

TINY = 1e-30  # against division by zero where nothing is to be stabilised; captum's own 1e-9 is felt where a logit is small


class AccountedRule(EpsilonRule):  # type: ignore[misc]
    """The epsilon rule: each input gets its share of z + epsilon sign(z), and what the bias and epsilon get is counted.

    Args:
        epsilon: what stabilises the division.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__(epsilon)
        self.absorbed: Tensor | None = None  # (B,) shares of each image's relevance; None where none came by

    def forward_hook(self, module: Step, inputs: tuple[Tensor, ...], outputs: Tensor) -> Any:
        """As captum's, with a look at the bias."""
        self.bias = module.at_zero(inputs)
        return super().forward_hook(module, inputs, outputs)

    def _create_backward_hook_output(self, outputs: Tensor) -> Any:
        def divide(relevance: Tensor) -> Tensor:
            added = torch.where(outputs < 0, -self.STABILITY_FACTOR, self.STABILITY_FACTOR).to(outputs.dtype)
            share = relevance / (outputs + added)
            lost = share * (self.bias + added)
            self.absorbed = lost.flatten(1).sum(1, dtype=torch.float64)
            return share

        return divide


def epsilon_lrp(steps: fx.GraphModule, x: Tensor, targets: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Relevance of each value of the input, and what did not reach the input.

    Every input of a nonlinearity is stabilised with epsilon, and nothing else: however a linear part is split into layers
    (a batch normalisation of its own or folded into the convolution before it), the relevance is the same.

    Args:
        steps: what `as_steps` returned.
        x: (B, C, H, W) images.
        targets: (B,) classes.
        epsilon: as in `attribute`.

    Returns:
        (B, C, H, W) relevance, and (B,) relevance that biases and epsilon absorbed, both in logits.
    """
    rules = []
    for module in steps.modules():
        if isinstance(module, Step) and not module.nonlinear:
            module.rule = AccountedRule(epsilon if module.feeds_nonlinearity else TINY)
            rules.append(module.rule)
        elif isinstance(module, Step):
            module.rule = IdentityRule()
    with torch.no_grad():
        logits = steps(x).gather(1, targets[:, None])[:, 0]
    relevance: Tensor = LRP(steps).attribute(x, target=targets)
    absorbed = sum(rule.absorbed for rule in rules if rule.absorbed is not None)
    return relevance, absorbed * logits.double()
