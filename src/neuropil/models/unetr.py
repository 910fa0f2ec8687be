"""Affinities from a vision transformer: tokens of several depths, brought up into a thin convolutional pyramid.

The idea is UNETR's (Hatamizadeh et al. 2022, arXiv 2103.10504). Ours is several times cheaper: a token becomes the
voxels of its neighbourhood by one matrix product, in place of a chain of convolutions; features are added, not
concatenated; and fine detail comes from a few thin convolutions on the image itself.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from neuropil.config import ModelConfig, ViTConfig
from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.models.decoder import OnEncoder, fine_stem, ratio
from neuropil.models.layers import Down, ResBlock, Up
from neuropil.models.levels import plan_to
from neuropil.models.vit3d import ViT3d
from neuropil.registry import ENCODERS

#: Tokens are read after so many depths where the settings leave it open and there are levels enough.
TAPS = 4


def build(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """The network (nm; z, y, x) that settings ask for; see `neuropil.models.build_model`."""
    return UNETR(config, voxel_size, outputs)


def plan_taps(config: ViTConfig, levels: int) -> tuple[int, ...]:
    """After which blocks tokens are read, for a decoder of so many levels above the tokens.

    Raises
    ------
    ConfigError
        If there are more taps than levels.

    Examples
    --------
    >>> plan_taps(ViTConfig(depth=12), 4)
    (3, 6, 9, 12)
    """
    if config.taps is None:
        count = min(TAPS, levels)
        return tuple(sorted({math.ceil(config.depth * n / count) for n in range(1, count + 1)}))
    if len(config.taps) > levels:
        raise ConfigError(
            f"model.vit.taps = {list(config.taps)}",
            f"at most {levels}, one for each level above the tokens",
            "leave model.vit.taps out for evenly spaced ones",
        )
    return config.taps


class UNETR(OnEncoder):
    """Image to logits: (B, 1, Z, Y, X) → (B, outputs, Z, Y, X); extents must be multiples of `stride`.

    Parameters
    ----------
    config
        Settings of the network: `encoder`, `vit`, `blocks`, `norm`.
    voxel_size
        nm, z, y, x; decides the patch, and where pooling and kernels are (1, ·, ·).
    outputs
        Number of output channels, one for each affinity offset.

    Attributes
    ----------
    encoder
        The transformer.
    stride
        The patch, z, y, x.

    Raises
    ------
    ConfigError
        If the encoder is no transformer, or decoder or taps do not fit the patch.
    """

    def __init__(self, config: ModelConfig, voxel_size: Float3, outputs: int) -> None:
        super().__init__()
        kind = config.norm
        self.encoder = _encoder(config, voxel_size)
        self.stride: Int3 = self.encoder.patch
        # the tokens are the last level; their width is the transformer's
        levels = plan_to(voxel_size, self.stride)[:-1]
        widths = config.vit.decoder[: len(levels)]
        if len(widths) < len(levels) or not levels:
            raise ConfigError(
                f"model.vit.decoder = {list(config.vit.decoder)} with patches of {self.stride}",
                f"channels for {len(levels)} levels" if levels else "patches of more than one voxel",
                "give one channel count for each level, finest first",
            )
        self.taps = plan_taps(config.vit, len(levels))
        dim, early = self.encoder.dim, len(self.taps) - 1
        # the last tokens are where the decoder begins; what is read earlier joins it a level higher: deep is coarse
        self.places = tuple(range(len(levels) - early, len(levels)))
        self.tap_norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for _ in self.places)
        self.tap_ups = nn.ModuleList(
            Up(dim, widths[n], ratio(self.stride, levels[n].stride), kind) for n in self.places
        )
        self.stem = fine_stem(widths[0], levels[0].kernel, kind)
        self.half_res = nn.Sequential()
        if len(levels) > 1:
            kernel = levels[1].kernel
            self.half_res.append(Down(widths[0], widths[1], levels[1].factor, kind))
            self.half_res.append(ResBlock(widths[1], widths[1], (kernel, kernel), kind))
        self.way_up(levels, widths, outputs, config.blocks, kind)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        *early, y = self._tapped(x_BCZYX)
        skips: list[list[Tensor]] = [[] for _ in self.decoders]
        for tokens, tap_norm, up, n in zip(early, self.tap_norms, self.tap_ups, self.places, strict=True):
            skips[n].append(up(tap_norm(tokens.movedim(1, -1)).movedim(-1, 1)))
        skips[0].append(self.stem(x_BCZYX))
        if len(skips) > 1:
            skips[1].append(self.half_res(skips[0][-1]))
        return self.answer(y, skips)

    def skip_names(self) -> set[str]:
        """Names of the state that only skips use: early tokens, and the convolutions on the image itself."""
        parts = {"tap_norms", "tap_ups", "stem", "half_res"}
        return {name for name in self.state_dict() if name.partition(".")[0] in parts}

    def _tapped(self, x_BCZYX: Tensor) -> list[Tensor]:
        """Tokens of all taps as maps (B, D, Z, Y, X)."""
        z, y, x = x_BCZYX.shape[2:]
        grid = self.encoder.grid((z, y, x))
        found = self.encoder.taps(x_BCZYX, self.taps)
        return [tokens.view(len(tokens), *grid, -1).movedim(-1, 1) for tokens in found]


def _encoder(config: ModelConfig, voxel_size: Float3) -> ViT3d:
    encoder: ViT3d = ENCODERS.resolve(config.encoder or "vit3d")(config, voxel_size)
    if not hasattr(encoder, "taps"):
        raise ConfigError(
            f"model.encoder = {config.encoder} in unetr",
            "a transformer: vit3d or vit_inflated",
            "--set model.encoder=vit3d, or --set model.name=resunet or convnext",
        )
    return encoder
