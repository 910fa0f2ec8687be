"""Networks, which turn a crop of image into affinities, and their encoders, which pretraining makes without labels.

A **network** is built by a function ``build(config, voxel_size, outputs)`` in the table NETWORKS. It maps
(B, 1, Z, Y, X) to logits (B, outputs, Z, Y, X) for extents that are multiples of its `stride`, and has

- `no_decay()`: names of parameters that weight decay must not touch;
- `encoder_names()`: names of the state that comes from a pretrained encoder;
- `head`: its last layer, whose `bias` has a value for each output;
- `layers` and `layer_of(name)`: number of the last layer, and that of a parameter's, for rates that differ by layer.

An **encoder** is built by a function ``build_encoder(config, voxel_size)`` in the table ENCODERS. It has all these, and

- `dim`, `voxel_size`, `stride`: width and extent in voxels of its coarsest features, for voxels of so many nm;
- `pyramid(x_BCZYX)`: features (B, D, Z, Y, X) with their strides, finest first;
- `key_prefix`: what the network around it puts before the names of its state.

Masked and multiscale pretraining of a network whose encoder has no `encode` ask it for `pyramid` and `dim` too, and for
`climb`, `climb_channels` and `skip_names` (see `neuropil.models.layers.Climbing`).

Transformers have besides `patch`, `grid`, `encode`, `taps` and `positions`; see `neuropil.models.vit3d.ViT3d`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from neuropil.config import ModelConfig
from neuropil.geometry import Float3, Int3
from neuropil.registry import ENCODERS, NETWORKS

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
        If `config.name` is no known network, or its settings do not fit together.
    """
    model: nn.Module = NETWORKS.resolve(config.name)(config, config.seen(voxel_size), outputs)
    return model


def build_encoder(config: ModelConfig, voxel_size: Float3) -> nn.Module:
    """The encoder that a configuration names, or that of its network, with fresh weights.

    Parameters
    ----------
    voxel_size
        nm, z, y, x.

    Raises
    ------
    ConfigError
        If there is no such encoder, or its settings do not fit together.
    """
    encoder: nn.Module = ENCODERS.resolve(config.encoder or config.name)(config, config.seen(voxel_size))
    return encoder


def network_stride(config: ModelConfig, voxel_size: Float3) -> Int3:
    """What extents of crops and tiles must be multiples of, z, y, x."""
    # without weights: only the plan is asked for
    with torch.device("meta"):
        z, y, x = build_model(config, voxel_size, 1).stride  # type: ignore[misc]
    return int(z), int(y), int(x)
