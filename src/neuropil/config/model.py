"""Settings of the networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from neuropil.config.base import Offset, Settings
from neuropil.config.convnext import ConvNeXtConfig
from neuropil.config.inflate import InflatedConfig


class ViTConfig(Settings):
    """The vision transformers `vit3d` and `vit_inflated`, and the decoder that `unetr` puts on them."""

    dim: int = Field(192, ge=12, description="width of a token")
    depth: int = Field(6, ge=1, description="blocks")
    heads: int = Field(6, ge=1)
    mlp_ratio: float = Field(4.0, gt=0, description="width of the hidden layer of a block, relative to dim")
    mlp: Literal["gelu", "swiglu"] = Field("gelu", description="hidden layer of a block: plain, or gated")
    eps: float = Field(1e-6, gt=0, description="added to variances in the norms")
    patch: Offset | None = Field(None, description="voxels of a token; chosen from the voxel size when empty")
    wavelengths_nm: tuple[PositiveFloat, PositiveFloat] = Field(
        (320.0, 20480.0), description="shortest and longest wave of the position codes"
    )
    drop_path: float = Field(0.0, ge=0, lt=1, description="chance to skip the last block; falls to 0 at the first")
    layer_scale: float | None = Field(None, gt=0, description="first value of a learned gain on every branch")
    prefix_tokens: int = Field(0, ge=0, description="tokens without a place (class token, registers)")
    checkpointing: bool = Field(False, description="compute blocks twice in training, to hold less memory")
    taps: tuple[PositiveInt, ...] | None = Field(
        None, description="blocks after which unetr reads tokens, the last included; evenly spaced when empty"
    )
    decoder: tuple[PositiveInt, ...] = Field(
        (16, 32, 64, 96),
        description="channels of the decoder of unetr, finest first, one for each level above the tokens",
    )
    inflated: InflatedConfig = InflatedConfig()

    @field_validator("patch")
    @classmethod
    def _positive(cls, patch: Offset | None) -> Offset | None:
        if patch is not None and min(patch) < 1:
            raise ValueError("voxels along z, y, x, each at least 1, for example [4, 16, 16]")
        return patch

    @field_validator("wavelengths_nm")
    @classmethod
    def _ordered(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if ends[0] >= ends[1]:
            raise ValueError("the shorter wave first, then the longer")
        return ends

    @model_validator(mode="after")
    def _fits(self) -> ViTConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        if self.inflated.positions == "rope" and self.dim // self.heads % 4:
            raise ValueError(f"rotary positions need dim / heads ({self.dim} / {self.heads}) in fours")
        taps = self.taps
        if taps is not None and (not taps or list(taps) != sorted(set(taps)) or taps[-1] != self.depth):
            raise ValueError(f"taps {list(taps)} must ascend and end with depth ({self.depth})")
        return self


#: Along z a voxel of a flat network is this many times larger than in the plane: too far for any kernel or distance.
_APART = 1000.0


class ModelConfig(Settings):
    """The network."""

    name: str = Field("resunet", description="resunet, unetr, convnext, or package.module:build")
    encoder: str | None = Field(
        None,
        description="what pretraining trains and unetr reads (vit3d, vit_inflated, resunet, convnext, "
        "package.module:build); that of the network when empty",
    )
    channels: tuple[int, ...] = Field((16, 32, 64, 96), description="channels of each level of resunet, finest first")
    blocks: int = Field(1, ge=1, description="residual blocks a level")
    norm: Literal["group", "instance", "standardised", "none"] = Field(
        "group", description="of convolutions; standardised is the fastest on CPUs"
    )
    vit: ViTConfig = ViTConfig()
    convnext: ConvNeXtConfig = ConvNeXtConfig()
    flat: bool = Field(
        False, description="nothing is pooled or joined along z: set by training where all images are one voxel deep"
    )
    offsets: tuple[Offset, ...] | None = Field(
        None, description="affinity steps; chosen from the voxel size when empty"
    )

    def seen(self, voxel_size: tuple[float, float, float]) -> tuple[float, float, float]:
        """The voxel size (nm, z, y, x) to plan network and targets for: if flat, sections are far apart."""
        _, y, x = voxel_size
        return (_APART * max(y, x), y, x) if self.flat else voxel_size
