"""Pictures of masked modelling: what was hidden, what was answered, and how often each patch is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neuropil.config import Config
from neuropil.pretrain.mae import MaskedModelling, view_of
from neuropil.pretrain.targets import from_patches, patches, taken

Section = npt.NDArray[np.float32]
#: Masks that are drawn to see how often a patch is hidden.
_DRAWS = 48
#: The same, for the record that is kept of every validation.
_RECORDED_DRAWS = 24


@dataclass(frozen=True)
class Look:
    """One section (Y, X) of a held-back crop, grey values 0..1.

    Parameters
    ----------
    image
        As it is.
    hidden
        With the hidden patches blanked.
    answer
        With the hidden patches as the network answers, in the brightness and contrast that they really have (those are
        not asked for).
    often
        How often each patch was hidden over many draws, 0..1.
    """

    image: Section
    hidden: Section
    answer: Section
    often: Section
    lead: ClassVar[str] = (
        "The middle sections of crops that were not learned from. Brightness and contrast of a hidden patch are "
        "shown as they really are: they are not asked for. Maps of how often are bright where much is "
        "hidden: by the finished run in the last picture, and as it was at each validation in the row below."
    )

    @property
    def pictures(self) -> tuple[tuple[str, Section], ...]:
        """By name, in the order in which they are shown."""
        names = ("image", "hidden", "answer", "hidden how often")
        return tuple(zip(names, (self.image, self.hidden, self.answer, self.often), strict=True))


@torch.no_grad()
def look(objective: MaskedModelling, crop: dict[str, Tensor], config: Config) -> Look:
    """Look at the middle section of one crop (image, voxel_size, index; a batch of one), masked as the run would."""
    network, target = objective.kept, config.pretrain.target
    view = view_of(crop, network.patch, target, (config.train.seed, objective.steps))
    mask = objective.chooser.preview(view, objective.teacher)
    answers = network.predict(view.image_BCZYX, mask, view.voxel_size)["voxels"].float()
    parts = patches(view.image_BCZYX, network.patch)
    mean, spread = (taken(x, mask.masked_BM)[..., None] for x in (view.mean_BN, view.variance_BN))
    filled = answers * (spread + target.variance_floor).sqrt() + mean
    index = mask.masked_BM[:, :, None].expand(-1, -1, parts.shape[2])
    often_BN = _often(objective, crop, config, _DRAWS)
    volumes = (
        parts,
        parts.scatter(1, index, 0.5),
        parts.scatter(1, index, filled.to(parts.dtype)),
        often_BN[:, :, None].expand_as(parts),
    )
    whole = [from_patches(v, view.grid, view.patch)[0, 0] for v in volumes]
    middle = whole[0].shape[0] // 2
    image, hidden, answer, often = (np.asarray(v[middle].clamp(0, 1), np.float32) for v in whole)
    return Look(image, hidden, answer, often)


@torch.no_grad()
def hidden_shares(objective: MaskedModelling, crop: dict[str, Tensor], config: Config) -> list[list[float]]:
    """How often each patch of the middle section of one crop (a batch of one) is hidden just now: (Y, X) patches.

    Small enough to be logged at every validation, so that a run remembers how its masks came about.
    """
    device = next(objective.kept.parameters()).device
    placed = {name: tensor.to(device) for name, tensor in crop.items()}
    patch = objective.kept.patch
    z, y, x = (n // p for n, p in zip(crop["image"].shape[2:], patch, strict=True))
    often_ZYX = _often(objective, placed, config, _RECORDED_DRAWS)[0].reshape(z, y, x)
    return [[round(float(share), 3) for share in row] for row in often_ZYX[z // 2]]


def _often(objective: MaskedModelling, crop: dict[str, Tensor], config: Config, draws: int) -> Tensor:
    found = []
    for draw in range(draws):
        other = {**crop, "index": crop["index"] + 1000 + draw}
        view = view_of(other, objective.kept.patch, config.pretrain.target, (config.train.seed, objective.steps))
        mask = objective.chooser.preview(view, objective.teacher)
        found.append(torch.zeros_like(view.mean_BN).scatter_(1, mask.masked_BM, 1.0))
    return torch.stack(found).mean(0)
