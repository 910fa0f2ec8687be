"""Settings of the networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from neuropil.config.base import Offset, Settings


class ModelConfig(Settings):
    """The network."""

    name: str = "resunet"
    channels: tuple[int, ...] = (16, 32, 64, 96)
    blocks: int = Field(1, ge=1, description="residual blocks a level")
    norm: Literal["group", "instance", "standardised", "none"] = "group"
    offsets: tuple[Offset, ...] | None = Field(
        None, description="affinity steps; chosen from the voxel size when empty"
    )
