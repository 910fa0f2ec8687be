"""A network that restores crops through its narrowest place: skips are left out while it is pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuropil.config import Config
from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.models import build_model

#: Maps (B, C, Z, Y, X) with their strides in voxels, z, y, x.
Pyramid = list[tuple[Tensor, Int3]]


class Restorer(nn.Module):
    """Image (B, 1, Z, Y, X) → pyramid of maps, coarsest first, and the restored image.

    The pyramid begins with the encoder's coarsest features; the maps of the way up follow. With skips a decoder could
    copy the image past all that is to be learned.

    Parameters
    ----------
    network
        A network of the table NETWORKS with `climb` and `skip_names`.
    restores
        Whether the head learns to restore; otherwise it neither learns nor is handed on.

    Attributes
    ----------
    patch
        What extents of crops must be multiples of, voxels z, y, x.
    channels
        Of each level of the pyramid, coarsest first.
    """

    def __init__(self, network: Any, *, restores: bool) -> None:
        super().__init__()
        self.network = network
        z, y, x = network.stride
        self.patch: Int3 = (int(z), int(y), int(x))
        self._restores = restores
        self.channels: tuple[int, ...] = (int(getattr(network, "encoder", network).dim), *network.climb_channels)
        head = set() if restores else {n for n in network.state_dict() if n.partition(".")[0] == "head"}
        self._idle = frozenset(network.skip_names() | head)
        # affinities begin at one half everywhere; from there restoring would hardly be felt below the head while views,
        # which are compared by cosines, never make features grow
        nn.init.normal_(network.head.weight, std=network.head.weight[0].numel() ** -0.5)
        for name, parameter in network.named_parameters():
            if name in self._idle:
                parameter.requires_grad = False

    def forward(self, image_BCZYX: Tensor, voxel_size: Float3) -> tuple[Pyramid, Tensor | None]:
        """Maps with strides, coarsest first, and grey values 0..1 where the head restores."""
        extent = image_BCZYX.shape[2:]
        y = self.coarsest(image_BCZYX, voxel_size)
        maps = [y]
        maps.extend(self.network.climb(y, []))
        pyramid: Pyramid = []
        for m in maps:
            sz, sy, sx = (int(n // k) for n, k in zip(extent, m.shape[2:], strict=True))
            pyramid.append((m, (sz, sy, sx)))
        return pyramid, torch.sigmoid(self.network.head(maps[-1]).float()) if self._restores else None

    def coarsest(self, image_BCZYX: Tensor, voxel_size: Float3) -> Tensor:
        """The encoder's coarsest features (B, C, Z, Y, X) of crops with voxels of so many nm, z, y, x."""
        encoder = getattr(self.network, "encoder", self.network)
        if not hasattr(encoder, "encode"):
            coarsest: Tensor = encoder.pyramid(image_BCZYX)[-1][0]
            return coarsest
        z, y, x = (int(n) for n in image_BCZYX.shape[2:])
        tokens_BND: Tensor = encoder.encode(image_BCZYX, voxel_size=voxel_size)
        return tokens_BND.view(len(tokens_BND), *encoder.grid((z, y, x)), -1).movedim(-1, 1)

    def features(self, image_BCZYX: Tensor, voxel_size: Float3) -> Tensor:
        """One vector for each `patch` of the crop, (B, N, C): what a probe reads."""
        z, y, x = (int(n // p) for n, p in zip(image_BCZYX.shape[2:], self.patch, strict=True))
        coarsest = self.coarsest(image_BCZYX, voxel_size).float()
        return F.adaptive_avg_pool3d(coarsest, (z, y, x)).flatten(2).transpose(1, 2)

    def no_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch."""
        return {f"network.{name}" for name in self.network.no_decay()}

    def exported(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by the names that networks know them by; what has not learned stays behind."""
        named = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
        return {name: tensor for name, tensor in named.items() if name not in self._idle}


def build_restorer(config: Config, voxel_size: Float3) -> Restorer:
    """The network that settings name, without skips and with one output.

    Raises
    ------
    ConfigError
        If the network cannot do without skips.
    """
    network = build_model(config.model, voxel_size, 1)
    if not hasattr(network, "climb"):
        raise ConfigError(
            f"multiscale pretraining of '{config.model.name}'",
            "a network with `climb`, `climb_channels` and `skip_names`, as resunet has",
            "--set model.name=resunet or unetr",
        )
    return Restorer(network, restores=config.pretrain.multiscale.reconstruction > 0)
