"""Settings of weights that come from a 2-D vision transformer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from neuropil.config.base import Settings

Rgb = tuple[float, float, float]


class InflatedConfig(Settings):
    """What the encoder `vit_inflated` has that `vit3d` has not; `neuropil inflate` writes these."""

    positions: Literal["table", "rope"] = Field(
        "table", description="learned table in the plane, or rotary angles; depth is a learned table with both"
    )
    table: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (4, 14, 14), description="places of the tables along z, y, x; they are stretched to the crop's grid"
    )
    rope_theta: float = Field(100.0, gt=0, description="base of the rotary wavelengths, where no file brings them")
    even_prefix: bool = Field(
        True, description="weigh tokens without a place by the grid's depth: equal sections then answer as one"
    )


class InflateConfig(Settings):
    """How a 2-D transformer is made 3-D."""

    depth: Literal["center", "average", "gaussian"] = Field(
        "center", description="how a kernel is spread over the sections of a patch"
    )
    sigma: float | None = Field(None, gt=0, description="of gaussian, in sections; a quarter of the patch when empty")
    mode: Literal["slab", "cube"] = Field(
        "slab", description="a patch is as deep as the crop, or crops hold several patches along z"
    )
    slab: int = Field(5, ge=1, description="sections of a patch in mode slab, where no patch is given")
    levels: int = Field(8, ge=1, description="places of the depth table in mode cube")
    heads: int | None = Field(None, ge=1, description="heads of the file; read from it or from its family when empty")
    sections: int = Field(3, ge=1, description="sections of the depthwise kernels of a ConvNeXt, odd")
    stem_stride: Literal[2, 4] = Field(
        4, description="voxels that the stem of a ConvNeXt moves on by; 2 keeps more resolution than its source had"
    )
    mean: Rgb = Field((0.485, 0.456, 0.406), description="of the colours that the file was trained on, 0..1")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (0.229, 0.224, 0.225), description="spread of the colours that the file was trained on"
    )
    floor: Annotated[float, Field(ge=0, le=1)] = Field(
        0.95, description="least share of the encoder's weights that must come from the file"
    )

    @field_validator("slab", "sections")
    @classmethod
    def _odd(cls, slab: int) -> int:
        if slab % 2 == 0:
            raise ValueError("an odd number of sections, so that one is the middle")
        return slab
