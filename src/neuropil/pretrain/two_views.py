"""What multiscale consistency is judged by and looked at: held-back crops, the same views of them each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuropil.config import Config
from neuropil.geometry import Float3
from neuropil.pretrain.consistency import restoration
from neuropil.pretrain.probe import probe_score
from neuropil.pretrain.restorer import Restorer
from neuropil.pretrain.tokens import pooled
from neuropil.pretrain.views import STRONG, WEAK

Section = npt.NDArray[np.float32]
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class TwoViews:
    """One section (Y, X) of a held-back crop: clean, in both views, and restored from each; grey values 0..1.

    Parameters
    ----------
    pictures
        By name, in the order in which they are shown.
    """

    pictures: tuple[tuple[str, Section], ...]
    lead: ClassVar[str] = (
        "The middle sections of crops that were not learned from: as they are, in the two views that the network is "
        "given, and as it restores them from each. There are no skips: all detail went through the coarsest features."
    )


@torch.no_grad()
def look(network: Restorer, crop: Batch) -> TwoViews:
    """The middle section of one crop (image, weak, strong, voxel_size; a batch of one)."""
    shown = [("image", crop["image"]), ("weak view", crop[WEAK]), ("strong view", crop[STRONG])]
    for name in (WEAK, STRONG):
        restored = network(crop[name], _size(crop))[1]
        if restored is not None:
            shown.append((f"restored from {name}", restored))
    middle = crop["image"].shape[2] // 2
    sections = ((name, np.asarray(x[0, 0, middle].float().clamp(0, 1).cpu(), np.float32)) for name, x in shown)
    return TwoViews(tuple(sections))


@dataclass(frozen=True)
class TwoViewsValidator:
    """Scores a restoring network.

    Parameters
    ----------
    crops
        Batches of one crop as the sampler makes them: image, weak, strong, voxel_size.
    probe
        Labelled crops in addition: image, voxel_size, and cut (1, N), the share of cut edges in each patch.
    config
        Which error, and the cells in which views are matched.
    """

    crops: Sequence[Batch]
    probe: Sequence[Batch]
    config: Config

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Errors of restoring each view, and how many cells find themselves.

        "score" judges by what is learned: the mean of the errors where crops are restored, and in addition the share of
        cells that do not find themselves where views are compared.
        """
        assert isinstance(model, Restorer)
        device = next(model.parameters()).device
        own = self.config.pretrain.multiscale
        errors: dict[str, list[float]] = {WEAK: [], STRONG: []}
        cells: dict[str, list[list[Tensor]]] = {WEAK: [], STRONG: []}
        for crop in self.crops:
            for name in (WEAK, STRONG):
                maps, restored = model(crop[name].to(device), _size(crop))
                cells[name].append([pooled(m, own.grid).flatten(2).transpose(1, 2).cpu() for m, _ in maps])
                if restored is not None:
                    errors[name].append(float(restoration(restored.cpu(), crop["image"], own.restore, self._variance)))
        matched = matched_share(*([torch.cat(level) for level in zip(*cells[n], strict=True)] for n in (WEAK, STRONG)))
        found: dict[str, Any] = {f"restored_{n}": round(sum(e) / len(e), 6) for n, e in errors.items() if e}
        score = sum(found.values()) / len(found) if found else 0.0
        score += 1 - matched if own.contrast or own.cross or own.feature_mse else 0.0
        found |= {"score": round(score, 6), "matched": round(matched, 6), "calibration": {}, "crops": len(self.crops)}
        return found | ({"probe": self._probed(model, device)} if self.probe else {})

    @cached_property
    def _variance(self) -> float:
        """Of all crops together, so that a flat one counts no more than the others."""
        clean = torch.cat([crop["image"].flatten().float() for crop in self.crops]).clamp(0, 1)
        return float(clean.var(correction=0)) + self.config.pretrain.target.variance_floor

    def _probed(self, model: Restorer, device: torch.device) -> float:
        features = [model.features(c["image"].float().to(device), _size(c)).cpu() for c in self.probe]
        return round(probe_score(torch.cat(features), torch.cat([crop["cut"] for crop in self.probe])), 6)


def matched_share(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Share of the cells of one view whose features are nearest (by cosine) to those of the same cell in the other.

    Parameters
    ----------
    first, second
        Features (B, N, C) of each level. What all crops share at a place is taken away before, and other cells of the
        same crop and level are what could be mistaken for it.
    """
    shares = []
    for a, b in zip(first, second, strict=True):
        near = F.normalize(a - a.mean(0), dim=-1) @ F.normalize(b - b.mean(0), dim=-1).transpose(1, 2)
        shares.append((near.argmax(2) == torch.arange(near.shape[1])).float().mean())
    return float(torch.stack(shares).mean())


def _size(crop: Batch) -> Float3:
    z, y, x = (float(s) for s in crop["voxel_size"][0])
    return z, y, x
