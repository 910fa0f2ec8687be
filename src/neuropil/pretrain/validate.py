"""Validation of masked modelling: held-back crops, the same ones under the same random masks each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuropil.config import Config
from neuropil.pretrain.mae import reconstruction_losses, view_of
from neuropil.pretrain.masking import MaskContext, budget, random
from neuropil.pretrain.networks import MaskedNetwork
from neuropil.pretrain.probe import probe_score


@dataclass(frozen=True)
class MaskedValidator:
    """Scores a masked network.

    Parameters
    ----------
    crops
        Batches of one crop as the sampler makes them: image, voxel_size, index.
    probe
        Labelled crops in addition: image, voxel_size, index, and cut (1, N), the share of cut edges in each patch.
    config
        Mask ratio (random masks, whatever the run's policy) and targets.
    masks
        How often the run's own policy hides each patch of some section, (Y, X) patches; recorded, never scored.
    """

    crops: Sequence[dict[str, Tensor]]
    probe: Sequence[dict[str, Tensor]]
    config: Config
    masks: Callable[[], list[list[float]]] | None = None

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Mean error of hidden patches by target; "score" is that on voxels; "probe" where there are labels."""
        assert isinstance(model, MaskedNetwork)
        device = next(model.parameters()).device
        sums: dict[str, list[float]] = {}
        for number, crop in enumerate(self.crops):
            for name, loss in self._losses(model, crop, number, device).items():
                sums.setdefault(name, []).append(float(loss.mean()))
        means = {f"masked_{name}": round(sum(v) / len(v), 6) for name, v in sums.items()}
        score = means["masked_voxels"]
        found = {"score": score, **means, "calibration": {}, "crops": len(self.crops)}
        found |= {"masks": self.masks()} if self.masks else {}
        return found | ({"probe": self._probed(model, device)} if self.probe else {})

    def _losses(
        self, model: MaskedNetwork, crop: dict[str, Tensor], number: int, device: torch.device
    ) -> dict[str, Tensor]:
        own = self.config.pretrain
        placed = {name: tensor.to(device) for name, tensor in crop.items()}
        view = view_of({**placed, "index": torch.tensor([number])}, model.patch, own.target, (0, 0))
        count = budget(view.edges_BN.shape[1], own.mask.ratio)
        mask = random(MaskContext(view.grid, view.patch, view.edges_BN), count, view.generator, own.mask)
        answers = model.predict(view.image_BCZYX, mask, view.voxel_size)
        return reconstruction_losses(answers, view.image_BCZYX, model.patch, mask, own.target)

    def _probed(self, model: MaskedNetwork, device: torch.device) -> float:
        features = []
        for crop in self.probe:
            z, y, x = (float(s) for s in crop["voxel_size"][0])
            features.append(model.features(crop["image"].float().to(device), (z, y, x), 10**6).cpu())
        return round(probe_score(torch.cat(features), torch.cat([crop["cut"] for crop in self.probe])), 6)
