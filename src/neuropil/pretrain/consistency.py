"""Losses that hold two views of a crop together: restoring it, and finding each place of one view in the other.

The contrast is InfoNCE (van den Oord et al. 2018, arXiv 1807.03748), the full matrix of similarities with its diagonal
as truth, which is what the figure of the multiscale paper (arXiv 2308.09917) shows. Its released code sums something
else; `published` repeats that, so that it can be audited.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from neuropil.errors import ConfigError
from neuropil.pretrain.tokens import Layout

Negatives = Literal["same_level", "same_sample", "batch"]
#: Places whose distance is a cell but for rounding are neighbours.
_SLACK = 1 + 1e-5


@dataclass(frozen=True)
class Comparison:
    """Tokens that are told from one another.

    Parameters
    ----------
    index_N
        Their numbers among the tokens of all crops, ``crop * T + token``.
    apart_NN
        Which pairs count: a token with itself in the other view (the answer), and with those that are not its
        neighbours.
    """

    index_N: Tensor
    apart_NN: Tensor


def comparisons(layout: Layout, crops: int, negatives: Negatives) -> list[Comparison]:
    """Which tokens of a batch are compared with which.

    Parameters
    ----------
    crops
        How many there are in the batch.
    negatives
        "same_level": tokens of one level in all crops; "same_sample": of all levels in one crop; "batch": all.
        Neighbours in the same crop, of any level, whose centres lie within one cell (the larger of the two) are never
        compared: they show the same tissue.

    Raises
    ------
    ConfigError
        If some token has nothing that it could be told from.
    """
    tokens = len(layout.level_T)
    near_TT = _near(layout)
    number = torch.arange(crops * tokens, device=layout.level_T.device)
    crop, token = number // tokens, number % tokens
    if negatives == "same_sample":
        sets = [number[crop == n] for n in range(crops)]
    elif negatives == "same_level":
        sets = [number[layout.level_T[token] == level] for level in range(int(layout.level_T.max()) + 1)]
    else:
        sets = [number]
    found = []
    for index_N in sets:
        same_crop_NN = crop[index_N][:, None] == crop[index_N]
        near_NN = near_TT[token[index_N]][:, token[index_N]] & same_crop_NN
        apart_NN = ~near_NN
        if not bool(apart_NN.any(1).all()):
            raise ConfigError(
                "a place with nothing that it could be told from: all others are its neighbours",
                "at least two cells between some places, or several crops",
                "set a larger data.crop or train.batch, or pretrain.multiscale.negatives=batch",
            )
        apart_NN.fill_diagonal_(True)  # noqa: FBT003 (its only form)
        found.append(Comparison(index_N, apart_NN))
    return found


def _near(layout: Layout) -> Tensor:
    """(T, T): a token and its neighbours; where tokens have no place, a token alone."""
    tokens = len(layout.level_T)
    if layout.places_T3 is None or layout.cells_T3 is None:
        return torch.eye(tokens, dtype=torch.bool, device=layout.level_T.device)
    away_TT3 = (layout.places_T3[:, None] - layout.places_T3).abs()
    cell_TT3 = torch.maximum(layout.cells_T3[:, None], layout.cells_T3)
    return (away_TT3 <= cell_TT3 * _SLACK).all(-1)


def info_nce(a_ND: Tensor, b_ND: Tensor, apart_NN: Tensor, temperature: float) -> Tensor:
    """How badly row i of one view is found among the rows of the other by its cosine, both ways; (N,), nats.

    ``½ [CE(S/τ, diagonal) + CE(Sᵀ/τ, diagonal)]`` with S the matrix of cosines, over the pairs in `apart_NN`.
    """
    similar_NN = F.normalize(a_ND.float(), dim=-1) @ F.normalize(b_ND.float(), dim=-1).T / temperature
    # neighbours are mutual, so one matrix of pairs serves both ways
    logits_NN = similar_NN.masked_fill(~apart_NN, -torch.inf)
    return (torch.logsumexp(logits_NN, 1) + torch.logsumexp(logits_NN, 0)) / 2 - similar_NN.diagonal()


def contrast(a_BTD: Tensor, b_BTD: Tensor, sets: list[Comparison], temperature: float) -> Tensor:
    """`info_nce` over all sets of a batch: the mean over tokens."""
    a_ND, b_ND = a_BTD.flatten(0, 1), b_BTD.flatten(0, 1)
    parts = [info_nce(a_ND[s.index_N], b_ND[s.index_N], s.apart_NN, temperature) for s in sets]
    return torch.cat(parts).mean()


def published(a_BTD: Tensor, b_BTD: Tensor, temperature: float) -> Tensor:
    """The released formula: for cosines c of the pairs that belong together, mean of ``-c_i/τ + logsumexp_j(c_j/τ)``.

    The sum runs over other pairs that belong together, not over pairs that do not: a constant added to all c changes
    nothing, so nothing is ever pulled together or pushed apart on average; c only becomes even. For audit.
    """
    similar_N = F.cosine_similarity(a_BTD.float(), b_BTD.float(), dim=-1).flatten() / temperature
    return torch.logsumexp(similar_N, 0) - similar_N.mean()


def restoration(
    restored_BCZYX: Tensor, clean_BCZYX: Tensor, kind: Literal["relative", "mse", "l1"], variance: Tensor | float
) -> Tensor:
    """Mean error of grey values 0..1; what the clean crop has beyond 0..1 cannot be asked for.

    "relative" is the squared error over the `variance` of clean crops: 1 is to answer with their mean, and the weight
    against other terms does not hang on the contrast of a volume.
    """
    clean = clean_BCZYX.float().clamp(0, 1)
    error = restored_BCZYX.float() - clean
    if kind == "l1":
        return error.abs().mean()
    squared = error.square().mean()
    return squared / variance if kind == "relative" else squared
