"""Losses on logits, masked by validity; everything is summed in fp32."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def balance_weights(target_BCZYX: Tensor, valid_BCZYX: Tensor) -> Tensor:
    """Weight of each edge so that cut and joined edges count alike in every channel.

    The share of joined edges is clipped to [0.05, 0.95]: a crop inside one object must not make its few cut edges (or
    their absence) dominate a step. Mean weight is about one.
    """
    valid = valid_BCZYX.float()
    joined = (target_BCZYX.float() * valid).sum((0, 2, 3, 4)) / valid.sum((0, 2, 3, 4)).clamp(min=1)
    joined = joined.clamp(0.05, 0.95)[None, :, None, None, None]
    return torch.where(target_BCZYX > 0, 0.5 / joined, 0.5 / (1 - joined)) * valid


class _BinaryCrossEntropy(torch.autograd.Function):
    """Weighted BCE with its closed-form gradient: one pass each way instead of autograd's eight."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(logits, target, weight)
        x = logits.float()
        total = weight.sum().clamp(min=1)
        ctx.total = total
        return ((F.softplus(x) - x * target) * weight).sum() / total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        logits, target, weight = ctx.saved_tensors
        slope = (torch.sigmoid(logits.float()) - target) * weight
        return (slope * (gradients[0] / ctx.total)).to(logits.dtype), None, None


def bce(logits_BCZYX: Tensor, target_BCZYX: Tensor, weight_BCZYX: Tensor) -> Tensor:
    """Binary cross entropy of logits, weighted; a scalar."""
    loss: Tensor = _BinaryCrossEntropy.apply(logits_BCZYX, target_BCZYX.float(), weight_BCZYX)  # type: ignore[no-untyped-call]
    return loss


def mse(logits_BCZYX: Tensor, target_BCZYX: Tensor, weight_BCZYX: Tensor) -> Tensor:
    """Squared error of probabilities, weighted; a scalar."""
    error = (torch.sigmoid(logits_BCZYX.float()) - target_BCZYX.float()) ** 2
    return (error * weight_BCZYX).sum() / weight_BCZYX.sum().clamp(min=1)


def dice(logits_BCZYX: Tensor, target_BCZYX: Tensor, valid_BCZYX: Tensor) -> Tensor:
    """One minus the Dice overlap of *cut* edges (the rare class), averaged over channels; a scalar."""
    valid = valid_BCZYX.float()
    cut = torch.sigmoid(-logits_BCZYX.float()) * valid
    truth = (1 - target_BCZYX.float()) * valid
    axes = (0, 2, 3, 4)
    overlap = 2 * (cut * truth).sum(axes) + 1
    return (1 - overlap / (cut.sum(axes) + truth.sum(axes) + 1)).mean()


def affinity_loss(
    logits_BCZYX: Tensor, target_BCZYX: Tensor, valid_BCZYX: Tensor, *, kind: str, balance: bool, dice_weight: float
) -> Tensor:
    """The training loss: `kind` ("bce" or "mse"), optionally balanced, plus `dice_weight` times the Dice loss."""
    weight = balance_weights(target_BCZYX, valid_BCZYX) if balance else valid_BCZYX.float()
    loss = (bce if kind == "bce" else mse)(logits_BCZYX, target_BCZYX, weight)
    if dice_weight:
        loss = loss + dice_weight * dice(logits_BCZYX, target_BCZYX, valid_BCZYX)
    return loss


def foreground_loss(logits_BCZYX: Tensor, target_BCZYX: Tensor, valid_BCZYX: Tensor, *, dice_weight: float) -> Tensor:
    """Cross entropy plus `dice_weight` times one minus the Dice overlap of what is foreground; a scalar."""
    loss = bce(logits_BCZYX, target_BCZYX, valid_BCZYX.float())
    if dice_weight:
        # `dice` is about what is 0, here what is 1 is the rare class
        loss = loss + dice_weight * dice(-logits_BCZYX, 1 - target_BCZYX.float(), valid_BCZYX)
    return loss


def contour_loss(logits_BCZYX: Tensor, target_BCZYX: Tensor, valid_BCZYX: Tensor, *, positive: float) -> Tensor:
    """Cross entropy in which a voxel of the contour weighs `positive`; a scalar."""
    return bce(logits_BCZYX, target_BCZYX, torch.where(target_BCZYX > 0, positive, 1.0) * valid_BCZYX.float())


def distance_loss(logits_BCZYX: Tensor, target_BCZYX: Tensor, valid_BCZYX: Tensor) -> Tensor:
    """Smooth absolute error of 2·sigmoid(logit) - 1 against a distance in -1 .. 1; a scalar."""
    valid = valid_BCZYX.float()
    error = F.smooth_l1_loss(torch.tanh(logits_BCZYX.float() / 2), target_BCZYX.float(), reduction="none")
    return (error * valid).sum() / valid.sum().clamp(min=1)


def centreline_recall_loss(logits_BCZYX: Tensor, line_BCZYX: Tensor, valid_BCZYX: Tensor) -> Tensor:
    """The share of the centreline that is not predicted, 1 - Σ S·p / ΣS; a scalar, 0 where there is no centreline.

    The recall of Kirchhoff et al. (ECCV 2024, arXiv 2404.03010) with a centreline that is drawn from the tree itself.
    """
    line = line_BCZYX.float() * valid_BCZYX.float()
    return (torch.sigmoid(-logits_BCZYX.float()) * line).sum() / line.sum().clamp(min=1)
