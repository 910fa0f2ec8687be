"""Multiscale consistency (MS-Con, arXiv 2308.09917), as its specification corrects it.

A weak and a strong view of a crop go through one network without skips. Both must restore the clean crop, and each
place of one view must be found in the other, on every level of the pyramid and again after the views have asked each
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuropil.config import AugmentConfig, Config
from neuropil.errors import ConfigError
from neuropil.geometry import Float3
from neuropil.pretrain.consistency import restoration
from neuropil.pretrain.matching import Matching
from neuropil.pretrain.restorer import Pyramid, Restorer, build_restorer
from neuropil.pretrain.two_views import TwoViews, TwoViewsValidator, look
from neuropil.pretrain.views import STRONG, WEAK, views_of

Batch = dict[str, Tensor]


def build(config: Config, voxel_size: Float3) -> Multiscale:
    """Multiscale consistency with fresh weights.

    Raises
    ------
    ConfigError
        If the network cannot do without skips, or one crop a batch leaves nothing to be centred against.
    """
    own = config.pretrain.multiscale
    compares = own.token == "position" and (own.contrast > 0 or own.cross > 0)
    if compares and own.centre and config.train.batch < 2:
        raise ConfigError(
            f"train.batch = {config.train.batch} with pretrain.multiscale.centre",
            "at least two crops, whose common part is taken away",
            "set a larger train.batch, or pretrain.multiscale.centre=false",
        )
    return Multiscale(build_restorer(config, voxel_size), config)


class Multiscale(nn.Module):
    """An objective of the training loop; see `neuropil.training.objective.Objective`.

    Parameters
    ----------
    network
        What is pretrained.
    config
        Terms and their weights.
    """

    def __init__(self, network: Restorer, config: Config) -> None:
        super().__init__()
        self.kept = network
        self._config, self._own = config, config.pretrain.multiscale
        self.matching = Matching(network.channels, config)
        self._numbers: dict[str, float] = {}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch with image, weak and strong (B, 1, Z, Y, X), and voxel_size (B, 3) in nm."""
        z, y, x = (float(s) for s in batch["voxel_size"][0])
        # both views in one pass: nothing in the network looks from one crop to another
        both = torch.cat([batch[WEAK], batch[STRONG]])
        maps, restored = self.kept(both, (z, y, x))
        terms = self.matching(_half(maps, 0), _half(maps, 1))
        if restored is not None:
            clean = batch["image"]
            variance = clean.float().clamp(0, 1).var(correction=0) + self._config.pretrain.target.variance_floor
            terms["reconstruction"] = restoration(restored, torch.cat([clean, clean]), self._own.restore, variance)
        self._numbers = {f"loss_{name}": float(term.detach()) for name, term in terms.items()}
        return {"network": torch.stack([getattr(self._own, name) * term for name, term in terms.items()]).sum()}

    def views(self) -> dict[str, AugmentConfig]:
        """The weak and the strong view."""
        return views_of(self._config)

    def validator(self, crops: Sequence[Batch], probe: Sequence[Batch]) -> TwoViewsValidator:
        """Scores on held-back crops and, where there are any, on labelled ones."""
        return TwoViewsValidator(crops, probe, self._config)

    def look(self, crop: Batch) -> TwoViews:
        """Pictures of a crop (a batch of one)."""
        return look(self.kept, crop)

    def groups(self) -> dict[str, nn.Module]:
        """One group: the network, and what matches its views."""
        return {"network": self}

    def no_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch."""
        beside = {f"matching.{name}" for name, p in self.matching.named_parameters() if p.ndim == 1}
        return beside | {f"kept.{name}" for name in self.kept.no_decay()}

    def after_update(self, step: int, total: int | None) -> dict[str, float]:
        """Each term of the last step, before its weight."""
        return self._numbers

    def judged(self, result: Mapping[str, Any]) -> None:
        """Nothing follows a validation."""

    def exported(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of `kept` by the names that networks know them by."""
        return self.kept.exported(tensors)

    def extra_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Nothing: views follow from the number of a sample, and all else is parameters."""
        return {}, {}

    def load_extra_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Nothing to take back."""


def _half(maps: Pyramid, number: int) -> Pyramid:
    return [(m.chunk(2)[number], stride) for m, stride in maps]
