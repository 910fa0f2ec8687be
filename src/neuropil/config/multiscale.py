"""Settings of multiscale consistency."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from neuropil.config.base import Settings


class MultiscaleConfig(Settings):
    """Two views of a crop restore the crop and find each other; see the methods page on multiscale consistency.

    A weight of 0 leaves its term out: it is not computed and has no parameters. The controls are reconstruction alone
    (contrast = cross = 0), with contrast (cross = 0), and with attention (contrast = 0).
    """

    reconstruction: float = Field(1.0, ge=0, description="weight of restoring the clean crop from either view")
    contrast: float = Field(0.1, ge=0, description="weight of telling each place from the others across views")
    cross: float = Field(1.0, ge=0, description="weight of the same after each view has asked the other (attention)")
    cross_target: Literal["other", "own"] = Field(
        "other",
        description="the view among whose places an answer must be found: the one that was asked, or the one that "
        "asked, as in the paper, which needs no likeness of the views",
    )
    feature_mse: float = Field(0.0, ge=0, description="weight of the squared distance of pooled features")
    restore: Literal["relative", "mse", "l1"] = Field(
        "relative", description="error of the restored crop; relative is the mse over the variance of the clean crops"
    )
    weak: Literal["standard", "weak", "strong"] = Field("weak", description="augmentation set of the first view")
    strong: Literal["standard", "weak", "strong"] = Field("strong", description="augmentation set of the second view")
    token: Literal["position", "channel"] = Field(
        "position", description="what is matched: places of each level, or whole channels as in the paper"
    )
    loss: Literal["infonce", "published"] = Field(
        "infonce", description="published is the released formula, which does not contrast: for audit only"
    )
    negatives: Literal["same_level", "same_sample", "batch"] = Field(
        "same_level",
        description="what a token is told from: its level in all crops, all levels of its crop, or everything",
    )
    centre: bool = Field(
        True, description="take from a place what all crops of the batch share there: position codes give no answer"
    )
    temperature: float = Field(0.1, gt=0)
    dim: int = Field(128, ge=4, description="width of a place's token")
    heads: int = Field(4, ge=1, description="of the attention between views")
    grid: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (4, 8, 8), description="places of a level along z, y, x, at most"
    )
    channel_grid: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (16, 16, 16), description="values of a channel's token along z, y, x"
    )

    @model_validator(mode="after")
    def _fits(self) -> MultiscaleConfig:
        if not (self.reconstruction or self.contrast or self.cross or self.feature_mse):
            raise ValueError("at least one of reconstruction, contrast, cross and feature_mse above 0")
        width = self.dim if self.token == "position" else math.prod(self.channel_grid)
        if width % self.heads:
            raise ValueError(f"the width of a token ({width}) must be a multiple of heads ({self.heads})")
        return self
