"""A downstream proxy: how much of the membranes a straight line reads from an encoder's features.

What chooses the mask ratio. It needs a few labelled crops, and takes milliseconds: ridge regression in closed form.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Weight of the squared slopes, relative to the features' variance.
_RIDGE = 1e-2


@torch.no_grad()
def probe_score(features_BND: Tensor, cut_BN: Tensor) -> float:
    """Share of the variance of `cut_BN` in the second half of the crops that the first half teaches (R²).

    Parameters
    ----------
    features_BND
        Features of every patch; at least two crops.
    cut_BN
        Share of cut edges in every patch.
    """
    half = len(features_BND) // 2
    known, asked = (part.double().flatten(0, 1) for part in (features_BND[:half], features_BND[half:]))
    answer, truth = (part.double().flatten() for part in (cut_BN[:half], cut_BN[half:]))
    mean, scale = known.mean(0), known.std(0).clamp(min=1e-6)
    known, asked = (known - mean) / scale, (asked - mean) / scale
    level = answer.mean()
    gram = known.T @ known / len(known) + _RIDGE * torch.eye(known.shape[1], dtype=known.dtype, device=known.device)
    slope = torch.linalg.solve(gram, known.T @ (answer - level) / len(known))
    error = (asked @ slope + level - truth).square().mean()
    return float(1 - error / truth.var(correction=0).clamp(min=1e-12))
