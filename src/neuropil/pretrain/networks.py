"""Networks that answer for hidden patches: a masked autoencoder on a transformer, and a U-Net that restores.

What both have in common is all that the pretext needs: answers for hidden patches, features of every patch, and places.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuropil.config import Config, ViTConfig
from neuropil.config.pretrain import TargetConfig
from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.models import build_encoder, build_model
from neuropil.models.positions import position_codes
from neuropil.models.transformer import Block, init_linear
from neuropil.models.vit3d import plan_patch
from neuropil.pretrain.masking import Mask
from neuropil.pretrain.targets import from_patches, grid_of, hog_cell, patches, taken

#: Width of the position codes that agents see where the encoder has none of its own.
_PLACE_DIM = 48


class MaskedNetwork(nn.Module, ABC):
    """What is pretrained: an encoder, and whatever answers for hidden patches.

    Attributes
    ----------
    patch
        Voxels of a patch, z, y, x.
    feature_dim
        Width of `features`.
    export_prefix
        What is taken from the names of tensors when weights are written, so that networks find their encoder's.
    """

    patch: Int3
    feature_dim: int
    export_prefix = ""

    @abstractmethod
    def predict(self, image_BCZYX: Tensor, mask: Mask, voxel_size: Float3) -> dict[str, Tensor]:
        """Answers for the hidden patches (B, M, ·), by the name of the target."""

    @abstractmethod
    def features(self, image_BCZYX: Tensor, voxel_size: Float3, depth: int) -> Tensor:
        """What the first `depth` blocks (or all levels) make of every patch of the whole image, (B, N, D)."""

    @abstractmethod
    def places(self, grid: Int3, voxel_size: Float3) -> Tensor:
        """Position codes (N, E) of the patches."""

    def exported(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by the names that networks know them by."""
        return {name.removeprefix(self.export_prefix): tensor for name, tensor in tensors.items()}

    def imported(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `exported`."""
        return {self.export_prefix + name: tensor for name, tensor in tensors.items()}


class MaskedTransformer(MaskedNetwork):
    """A masked autoencoder (He et al. 2022, arXiv 2111.06377): the encoder sees visible patches only.

    Parameters
    ----------
    encoder
        A `ViT3d`.
    config
        Width and depth of the decoder, and which targets there are.
    """

    def __init__(self, encoder: Any, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.patch, self.feature_dim = encoder.patch, encoder.dim
        own = config.pretrain
        dim = own.decoder_dim
        blocks = ViTConfig(dim=dim, depth=own.decoder_depth, heads=own.decoder_heads)
        sizes = target_sizes(self.patch, own.target)
        decoder: dict[str, nn.Module] = {
            "enter": nn.Linear(encoder.dim, dim),
            "place": nn.Linear(encoder.dim, dim, bias=False),
            "blocks": nn.ModuleList(Block(blocks, drop_path=0.0) for _ in range(own.decoder_depth)),
            "norm": nn.LayerNorm(dim, eps=1e-6),
            "heads": nn.ModuleDict({name: nn.Linear(dim, size) for name, size in sizes.items()}),
        }
        self.decoder = nn.ModuleDict(decoder)
        self.decoder.apply(init_linear)
        self.hidden = nn.Parameter(torch.zeros(dim))
        nn.init.trunc_normal_(self.hidden, std=0.02)

    def predict(self, image_BCZYX: Tensor, mask: Mask, voxel_size: Float3) -> dict[str, Tensor]:
        """See `MaskedNetwork.predict`."""
        tokens_BKD = self.encoder.encode(image_BCZYX, mask.keep_BK, voxel_size=voxel_size)
        seen_BKD = self.decoder["enter"](tokens_BKD)
        grid = grid_of(_extent(image_BCZYX), self.patch)
        n, d = math.prod(grid), seen_BKD.shape[-1]
        x_BND = self.hidden.to(seen_BKD.dtype).expand(len(seen_BKD), n, d)
        x_BND = x_BND.scatter(1, mask.keep_BK[:, :, None].expand(-1, -1, d), seen_BKD)
        x_BND = x_BND + self.decoder["place"](self.encoder.positions(grid, voxel_size))
        for block in cast(nn.ModuleList, self.decoder["blocks"]):
            x_BND = block(x_BND)
        asked_BMD = self.decoder["norm"](taken(x_BND, mask.masked_BM))
        return {name: head(asked_BMD) for name, head in cast(nn.ModuleDict, self.decoder["heads"]).items()}

    def features(self, image_BCZYX: Tensor, voxel_size: Float3, depth: int) -> Tensor:
        """Tokens after the first `depth` blocks."""
        out: Tensor = self.encoder.shallow(image_BCZYX, depth, voxel_size=voxel_size)
        return out

    def places(self, grid: Int3, voxel_size: Float3) -> Tensor:
        """The encoder's own codes."""
        out: Tensor = self.encoder.positions(grid, voxel_size)
        return out


class MaskedUNet(MaskedNetwork):
    """A convolutional network that fills in what is hidden: hidden voxels become the mean of the visible ones.

    Its histograms of gradients are maps at full resolution, averaged over cells. In a convolution hidden voxels cannot
    be left out, so masks save no time here.

    Parameters
    ----------
    network
        Image → 1 + orientations channels, with a `pyramid`.
    voxel_size
        nm, z, y, x; decides the patch where the settings leave it empty.
    config
        Which targets there are.
    """

    export_prefix = "network."

    def __init__(self, network: Any, voxel_size: Float3, config: Config) -> None:
        super().__init__()
        self.network = network
        self.patch = config.pretrain.patch or plan_patch(voxel_size)
        self.feature_dim = network.dim
        self._target = config.pretrain.target
        self._wavelengths_nm = config.model.vit.wavelengths_nm

    def predict(self, image_BCZYX: Tensor, mask: Mask, voxel_size: Float3) -> dict[str, Tensor]:
        """See `MaskedNetwork.predict`."""
        maps = self.network(self.blanked(image_BCZYX, mask))
        found = {"voxels": patches(maps[:, :1], self.patch)}
        if self._target.hog > 0:
            cell = hog_cell(self.patch, self._target)
            pooled = F.avg_pool3d(maps[:, 1:], (1, *cell))
            cells = (self.patch[0], self.patch[1] // cell[0], self.patch[2] // cell[1])
            found["hog"] = patches(pooled, cells)
        return {name: taken(answer, mask.masked_BM) for name, answer in found.items()}

    def blanked(self, image_BCZYX: Tensor, mask: Mask) -> Tensor:
        """The image with its hidden patches at the mean of the visible ones."""
        grid = grid_of(_extent(image_BCZYX), self.patch)
        parts_BNP = patches(image_BCZYX, self.patch)
        mean_B11 = taken(parts_BNP, mask.keep_BK).mean((1, 2), keepdim=True)
        index = mask.masked_BM[:, :, None].expand(-1, -1, parts_BNP.shape[2])
        hidden = mean_B11.expand(-1, index.shape[1], index.shape[2])
        return from_patches(parts_BNP.scatter(1, index, hidden), grid, self.patch)

    def features(self, image_BCZYX: Tensor, voxel_size: Float3, depth: int) -> Tensor:
        """The coarsest level of the way down, averaged or repeated to one vector for each patch."""
        coarse: Tensor = self.network.pyramid(image_BCZYX)[-1][0]
        grid = grid_of(_extent(image_BCZYX), self.patch)
        return F.adaptive_avg_pool3d(coarse, grid).flatten(2).transpose(1, 2)

    def places(self, grid: Int3, voxel_size: Float3) -> Tensor:
        """Codes for the agents alone: a U-Net has none of its own."""
        z, y, x = (p * s for p, s in zip(self.patch, voxel_size, strict=True))
        return position_codes(grid, (z, y, x), _PLACE_DIM, self._wavelengths_nm, next(self.parameters()).device)


def target_sizes(patch: Int3, config: TargetConfig) -> dict[str, int]:
    """Numbers that are asked for in a hidden patch, by the name of the target."""
    sizes = {"voxels": math.prod(patch)}
    if config.hog > 0:
        cell = hog_cell(patch, config)
        sizes["hog"] = patch[0] * (patch[1] // cell[0]) * (patch[2] // cell[1]) * config.orientations
    return sizes


def build_masked(config: Config, voxel_size: Float3) -> MaskedNetwork:
    """The masked network around the encoder that settings name.

    Raises
    ------
    ConfigError
        If the encoder can neither leave out patches nor restore them.
    """
    encoder = build_encoder(config.model, voxel_size)
    if hasattr(encoder, "encode"):
        return MaskedTransformer(encoder, config)
    outputs = 1 + (config.pretrain.target.orientations if config.pretrain.target.hog > 0 else 0)
    network = build_model(config.model, voxel_size, outputs)
    if not hasattr(network, "pyramid"):
        raise ConfigError(
            f"masked pretraining of '{config.model.name}'",
            "an encoder with `encode`, or a network with `pyramid`",
            "--set model.name=unetr or resunet",
        )
    return MaskedUNet(network, voxel_size, config)


def _extent(x_BCZYX: Tensor) -> Int3:
    z, y, x = x_BCZYX.shape[2:]
    return int(z), int(y), int(x)
