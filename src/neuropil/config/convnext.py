"""Settings of the convolutional encoder that may come from a 2-D file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from neuropil.config.base import Settings

_Fold = Annotated[int, Field(ge=1, le=4)]


class ConvNeXtConfig(Settings):
    """The encoder `convnext`, and the decoder that the network of this name puts on it."""

    dims: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = Field(
        (40, 80, 160, 320), description="channels of the four stages"
    )
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = Field(
        (2, 2, 6, 2), description="blocks of the four stages"
    )
    sections: int = Field(3, ge=1, description="sections that a block sees: its kernels are so many x 7 x 7, odd")
    stem_stride: Literal[2, 4] = Field(
        4, description="voxels of the plane that the stem, 4 x 4, moves on by; 2 keeps twice the resolution"
    )
    fold: tuple[_Fold, _Fold, _Fold, _Fold] | None = Field(
        None,
        description="sections that the stem, then each of the three steps down puts together; chosen from the voxel "
        "size when empty",
    )
    layer_scale: float | None = Field(1e-6, gt=0, description="first value of a learned gain on every branch")
    eps: float = Field(1e-6, gt=0, description="added to variances in the norms")
    drop_path: float = Field(0.0, ge=0, lt=1, description="chance to skip the last block; falls to 0 at the first")
    decoder: tuple[PositiveInt, ...] = Field(
        (16, 32, 64, 96, 128), description="channels of the decoder, finest first, one for each level above the last"
    )

    @model_validator(mode="after")
    def _odd(self) -> ConvNeXtConfig:
        if self.sections % 2 == 0:
            raise ValueError(f"sections ({self.sections}) must be odd, so that one is the middle")
        return self
