"""Networks whose answer is known, and the settings and volumes to use them with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from neuropil.affinities import NEAREST, Offsets, edge_slices
from neuropil.infer.predict import PredictSettings
from neuropil.volume import Volume

SURE = 200.0  # the sigmoid is exactly 0 or 1 in float32

SETTINGS = PredictSettings(
    tile=(8, 12, 12),
    overlap=(2, 4, 4),
    multiple_of=(2, 4, 4),
    block=(4, 8, 8),
    memory_bytes=2**30,
    tta="none",
    batch=1,
    precision="fp32",
    device="cpu",
)


def settings(**changes: Any) -> PredictSettings:
    return replace(SETTINGS, **changes)


def as_given(raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return raw.astype(np.float32)


def image_of(array: npt.NDArray[Any], voxel_size=(40.0, 4.0, 4.0), start=(0, 0, 0)) -> Volume:
    offset = [s * v for s, v in zip(start, voxel_size, strict=True)]
    return Volume(array, voxel_size, offset, "zyx", "image")


def output_for(image: Volume, channels: int) -> Volume:
    array = np.full((channels, *image.shape), 77, np.uint8)
    return Volume(array, image.voxel_size, image.offset, "czyx", "affinities", attrs={"offsets": list(NEAREST)})


class Identity(nn.Module):
    """The probability of every channel is the image / 255, in every tile alike."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels, self.calls = channels, 0

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        self.calls += 1
        p = x_BCZYX.double() / 255
        return torch.logit(p, eps=1e-9).float().expand(-1, self.channels, -1, -1, -1)


class TrueAffinities(nn.Module):
    """Reads labels out of the image; where an edge leaves the tile it is wrong with all confidence."""

    def __init__(self, offsets: Offsets, *, beyond: float = SURE) -> None:
        super().__init__()
        self.offsets, self.beyond = offsets, beyond

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        out = x_BCZYX.new_full((x_BCZYX.shape[0], len(self.offsets), *x_BCZYX.shape[2:]), self.beyond)
        for c, offset in enumerate(self.offsets):
            near, far = edge_slices(tuple(x_BCZYX.shape[2:]), offset)
            a, b = x_BCZYX[:, 0][(slice(None), *near)], x_BCZYX[:, 0][(slice(None), *far)]
            out[:, c][(slice(None), *near)] = torch.where((a == b) & (a > 0), SURE, -SURE)
        return out


class SmallNet(nn.Module):
    """A real network in miniature: its answer depends on the context, and so on where the tiles lie."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv3d(1, 8, 3, padding=1),
            nn.GroupNorm(2, 8),
            nn.ReLU(),
            nn.Conv3d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(8, channels, 1),
        )

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        out: Tensor = self.body(x_BCZYX / 128 - 1) * 4
        return out
