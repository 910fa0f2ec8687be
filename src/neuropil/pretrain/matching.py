"""How two views are matched over the pyramid; its weights serve pretraining alone and are not handed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuropil.config import Config
from neuropil.pretrain.consistency import Comparison, comparisons, contrast, published
from neuropil.pretrain.restorer import Pyramid
from neuropil.pretrain.tokens import ChannelTokens, PlaceTokens


class Matching(nn.Module):
    """Terms that compare the pyramids of two views; those of weight 0 have no parameters and are not computed.

    Parameters
    ----------
    channels
        Of each level of the pyramid, coarsest first.
    config
        Which terms, tokens and loss.

    Notes
    -----
    The attention has neither position codes nor a shortcut: what it returns for a token is made of the other view's
    tokens alone, and only their content says where to look. Both directions share it, as in the paper.

    The paper looks for the answer among the places that asked. But an answer is also a function of its question: views
    that have nothing in common pass that test. By default the answer must be found among the places that were asked.
    """

    def __init__(self, channels: Sequence[int], config: Config) -> None:
        super().__init__()
        own = config.pretrain.multiscale
        self._own = own
        self._compares = own.contrast > 0 or own.cross > 0
        self.tokens: nn.Module | None = None
        self.attention: nn.MultiheadAttention | None = None
        if own.token == "channel":
            self.tokens = ChannelTokens(own.channel_grid)
        elif self._compares:
            self.tokens = PlaceTokens(channels, own.dim, own.grid, centre=own.centre)
        if own.cross > 0:
            self.attention = nn.MultiheadAttention(cast(PlaceTokens, self.tokens).dim, own.heads, batch_first=True)
        self._known: dict[tuple[object, ...], list[Comparison]] = {}

    def forward(self, first: Pyramid, second: Pyramid) -> dict[str, Tensor]:
        """Each term before its weight, by name."""
        found: dict[str, Tensor] = {}
        with torch.autocast(first[0][0].device.type, enabled=False):
            if self._own.feature_mse > 0:
                found["feature_mse"] = self._distance(first, second)
            if not self._compares:
                return found
            tokens = cast(PlaceTokens, self.tokens)
            a_BTD, b_BTD = tokens(first), tokens(second)
            sets = self._sets(first)
            if self._own.contrast > 0:
                found["contrast"] = self._loss(a_BTD, b_BTD, sets)
            if self.attention is not None:
                asked_a = self.attention(a_BTD, b_BTD, b_BTD, need_weights=False)[0]
                asked_b = self.attention(b_BTD, a_BTD, a_BTD, need_weights=False)[0]
                wanted_a, wanted_b = (a_BTD, b_BTD) if self._own.cross_target == "own" else (b_BTD, a_BTD)
                found["cross"] = (self._loss(wanted_a, asked_a, sets) + self._loss(wanted_b, asked_b, sets)) / 2
        return found

    def _loss(self, a_BTD: Tensor, b_BTD: Tensor, sets: list[Comparison]) -> Tensor:
        if self._own.loss == "published":
            return published(a_BTD, b_BTD, self._own.temperature)
        return contrast(a_BTD, b_BTD, sets, self._own.temperature)

    def _sets(self, maps: Pyramid) -> list[Comparison]:
        """The same for all batches of one shape, so made once."""
        if self._own.loss == "published":
            return []
        device = maps[0][0].device
        key = (device, *(tuple(m.shape) for m, _ in maps))
        if key not in self._known:
            layout = cast(PlaceTokens, self.tokens).layout(maps).to(device)
            self._known[key] = comparisons(layout, len(maps[0][0]), self._own.negatives)
        return self._known[key]

    def _distance(self, first: Pyramid, second: Pyramid) -> Tensor:
        grid = self._own.channel_grid
        pairs = [
            (F.adaptive_avg_pool3d(a.float(), grid), F.adaptive_avg_pool3d(b.float(), grid))
            for (a, _), (b, _) in zip(first, second, strict=True)
        ]
        squares = [(a - b).square().flatten(1) for a, b in pairs]
        return torch.cat(squares, dim=1).mean()
