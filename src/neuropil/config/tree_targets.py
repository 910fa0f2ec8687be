"""Settings of the voxels that stand for trees."""

from __future__ import annotations

from pydantic import Field

from neuropil.config.base import Settings


class TreeTargetConfig(Settings):
    """How trees become voxels; lengths are multiples of the smallest extent of a voxel."""

    least_radius: float = Field(0.75, ge=0, description="thinner neurites are drawn with this radius")
    ignore_shell: float = Field(1.5, ge=0, description="voxels this near to a neurite's surface are not scored")
    centreline_dilation: int = Field(1, ge=0, description="voxels by which the centreline is widened")
