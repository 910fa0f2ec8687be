"""Networks: what turns a crop of image into affinities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuropil.config import ModelConfig
from neuropil.geometry import Float3, Int3
from neuropil.registry import ENCODERS

if TYPE_CHECKING:
    from torch import nn


def build_model(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """The network that a configuration names, with fresh weights.

    Parameters
    ----------
    voxel_size
        nm, z, y, x.
    outputs
        Number of output channels.

    Raises
    ------
    ConfigError
        If `config.name` is no known backbone.
    """
    model: nn.Module = ENCODERS.resolve(config.name)(
        voxel_size, outputs, config.channels, blocks=config.blocks, norm_kind=config.norm
    )
    return model


def network_stride(config: ModelConfig, voxel_size: Float3) -> Int3:
    """What extents of crops and tiles must be multiples of, z, y, x."""
    z, y, x = build_model(config, voxel_size, 1).stride  # type: ignore[misc]
    return int(z), int(y), int(x)
