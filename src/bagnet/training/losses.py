"""What training asks of logits and of evidence. Everything is computed in float32, or in float64 where the network is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def classification(
    logits: Tensor, targets: Tensor, multilabel: bool = False, smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy with shares of classes as targets, or binary cross-entropy for each class by itself.

    Args:
        logits: (B, K).
        targets: (B, K) in [0, 1]; the shares of an image add up to 1 unless `multilabel`.
        multilabel: each class is a question of its own.
        smoothing: share of the target that is spread over all classes (Szegedy et al. 2016); for questions of their own, of
            the way to one half.
        class_weights: (K,) how much what shows each class counts, smoothed or not; for questions of their own, each one's yes.

    Returns:
        The mean over images, and over classes where `multilabel`.
    """
    logits = _wide(logits)
    targets = targets.to(logits)
    # PyTorch's own weights count what smoothing spreads, too: a rare class's small share of every common image then weighs as
    # much as the common class does, and nothing tells the two apart any more.
    weights = torch.ones_like(logits[0]) if class_weights is None else class_weights.to(logits)
    if multilabel:
        smoothed = targets + smoothing * (0.5 - targets)
        each = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        return (each * torch.lerp(torch.ones_like(targets), weights.expand_as(targets), targets)).mean()
    surprise, counted = -logits.log_softmax(1), targets * weights
    return ((1 - smoothing) * (counted * surprise).sum(1) + smoothing * counted.sum(1) * surprise.mean(1)).mean()


def distillation(logits: Tensor, teacher: Tensor, multilabel: bool = False, temperature: float = 1.0) -> Tensor:
    """Cross-entropy with a teacher's probabilities (Hinton et al. 2015), times temperature squared, as its gradients shrink.

    Args:
        logits: (B, K) of the student.
        teacher: (B, K) probabilities at the same temperature.
        multilabel: each class is a question of its own.
        temperature: the student's logits are divided by it.
    """
    return classification(_wide(logits) / temperature, teacher, multilabel) * temperature**2


def logit_distance(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference from a teacher's logits (Ba & Caruana 2014), both without their mean over the classes.

    Args:
        logits: (B, K) of the student.
        teacher: (B, K) of the teacher.
    """
    difference = _wide(logits) - teacher
    if difference.shape[1] > 1:
        difference = difference - difference.mean(1, keepdim=True)
    return difference.square().mean()


def sparsity(evidence: Tensor) -> Tensor:
    """The sum of absolute evidence over windows and classes, mean over images (Djoumessi et al. 2023).

    Args:
        evidence: (B, K, h, w).
    """
    return _wide(evidence).abs().sum((1, 2, 3)).mean()


def margin_shortfall(evidence: Tensor, targets: Tensor, touched: tuple[int, int], goal: float) -> Tensor:
    """How far the lead that no patch can take away falls short of a goal: BagCert's margin loss (Metzen & Yatsura 2021).

    The lead is that which a margin certificate of probabilities has (`certificates.margin`): of the mean probabilities over
    windows, over the rival that comes closest, at the place where a patch costs most, where each touched window may say all for
    the rival.

    Args:
        evidence: (B, K, h, w), of two classes at least.
        targets: (B, K); the largest of each image counts.
        touched: rows and columns of windows that a patch touches.
        goal: as a difference of mean probabilities.

    Returns:
        The mean over images.
    """
    shares = _wide(evidence).softmax(1)
    index = targets.argmax(1)
    lead = shares.gather(1, index[:, None, None, None].expand(-1, 1, *shares.shape[2:])) - shares
    cost = F.avg_pool2d(lead + 1, touched, stride=1, divisor_override=1).amax((2, 3))
    left = (lead.sum((2, 3)) - cost) / lead[0, 0].numel()
    closest = left.scatter(1, index[:, None], torch.inf).amin(1)
    return (goal - closest).clamp(min=0).mean()


def balanced(counts: Tensor, images: int, multilabel: bool = False) -> Tensor:
    """(K,) class weights under which rare classes count as much as common ones.

    Args:
        counts: (K,) images of each class.
        images: in all.
        multilabel: weights of the yes of each question: (images without) / (images with).
    """
    seen = counts.clamp(min=1).float()
    return (images - counts).clamp(min=1).float() / seen if multilabel else images / (len(counts) * seen)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def drawing_weights(targets: Tensor) -> Tensor:
    """(N,) how likely each image is drawn, so that all classes are seen alike often.

    Args:
        targets: (N,) indices, or (N, K) bool; an image counts with the mean of its classes, one without any as the commonest.
    """
    if targets.ndim == 1:
        return 1.0 / torch.bincount(targets)[targets].double()
    share = 1.0 / targets.sum(0).clamp(min=1).double()
    weight = (targets * share).sum(1) / targets.sum(1).clamp(min=1)
    return torch.where(targets.any(1), weight, share.min())
