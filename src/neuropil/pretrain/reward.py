"""What hiding a patch was worth.

Hard patches are worth hiding, but not those that are hard because they are noise. Two things tell them apart: what loss
is usual for patches as varied as this one, and whether the loss falls with practice; noise stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from neuropil.config.pretrain import AgentsConfig

#: Mask ratios closer than half of one over this are judged together.
_RATIO_BINS = 20


class NoiseBaseline:
    """The loss that is usual for a patch of some grey-value variance at some mask ratio: a running mean in bins.

    Kept on the processor in fp64 and filled in a fixed order, so that a resumed run goes on bit by bit.
    """

    def __init__(self, config: AgentsConfig) -> None:
        self._bins, self._decay = config.variance_bins, config.noise_decay
        self._low, self._high = (math.log(v) for v in config.variance_range)
        self._total = torch.zeros(_RATIO_BINS + 1, self._bins, dtype=torch.float64)
        self._count = torch.zeros_like(self._total)

    def observe(self, loss_BM: Tensor, variance_BM: Tensor, ratio: float) -> None:
        """Take in losses of hidden patches. A bin forgets only when it learns something new."""
        row = round(ratio * _RATIO_BINS)
        where = self._bin(variance_BM).flatten()
        loss = loss_BM.detach().to("cpu", torch.float64).flatten()
        count = torch.bincount(where, minlength=self._bins).double()
        total = torch.bincount(where, weights=loss, minlength=self._bins)
        kept = torch.where(count > 0, self._decay, 1.0)
        self._count[row] = self._count[row] * kept + count
        self._total[row] = self._total[row] * kept + total

    def residual(self, loss_BM: Tensor, variance_BM: Tensor, ratio: float) -> Tensor:
        """Loss beyond the usual, (B, M), fp32; beyond the mean of all bins where nothing like it was seen."""
        row = round(ratio * _RATIO_BINS)
        overall = self._total.sum() / self._count.sum().clamp(min=1)
        usual = torch.where(self._count[row] > 0, self._total[row] / self._count[row].clamp(min=1e-300), overall)
        expected_BM = usual[self._bin(variance_BM)].to(loss_BM.device, torch.float32)
        return loss_BM.detach().float() - expected_BM

    def _bin(self, variance_BM: Tensor) -> Tensor:
        logs = variance_BM.detach().to("cpu", torch.float64).clamp(min=1e-300).log()
        place = (logs - self._low) / (self._high - self._low) * self._bins
        return place.floor().clamp(0, self._bins - 1).long()

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors."""
        return {"total": self._total.clone(), "count": self._count.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self._total, self._count = state["total"].clone(), state["count"].clone()


def rank_normal(x: Tensor) -> Tensor:
    """Replace values by the normal quantiles of their ranks; equal values get equal ranks. Any shape, fp32.

    The result has mean 0 and about variance 1 whatever the scale and tails of the values were, and is all 0 where they
    are all equal.
    """
    if x.numel() == 0:
        return x.float()
    _, which, count = torch.unique(x.flatten(), sorted=True, return_inverse=True, return_counts=True)
    middle = count.cumsum(0).double() - (count - 1) / 2
    normal: Tensor = torch.special.ndtri((middle - 0.5) / x.numel())
    return normal[which].reshape(x.shape).float()


def rewards(residual: Tensor, progress: Tensor, weight: float) -> Tensor:
    """Rewards of the hidden patches of a whole buffer; same shape, fp32. Patches that were seen have none.

    Parameters
    ----------
    residual
        Loss beyond the usual; see `NoiseBaseline`.
    progress
        Loss of an earlier network minus the loss now, of the same patches under the same masks.
    weight
        How much progress counts against the residual. Both are ranked before they are added: progress is smaller by
        orders of magnitude, and ever smaller as training goes on, but tells noise from structure best.
    """
    return rank_normal(rank_normal(residual) + weight * rank_normal(progress))
