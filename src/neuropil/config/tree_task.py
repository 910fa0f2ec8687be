"""Settings of learning to see single neurons, whose truth is trees."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from neuropil.config.base import Settings
from neuropil.config.tree_targets import TreeTargetConfig


class TreeTaskConfig(Settings):
    """What is learned of single neurons in light microscopy (task trees)."""

    units: Literal["nm", "um", "voxel"] | None = Field(
        None, description="lengths of SWC files that do not state their own"
    )
    targets: TreeTargetConfig = TreeTargetConfig()
    dice: float = Field(1.0, ge=0, description="weight of the Dice losses beside the cross entropies")
    centreline: float = Field(0.5, ge=0, description="weight of the losses of the centreline's own channel")
    enough: int = Field(
        1000, ge=0, description="foreground voxels of the slabs to calibrate on; with fewer, on all that is labelled"
    )
    recall: float = Field(
        1.0, ge=0, description="weight of the share of the centreline that the foreground misses; 0 switches it off"
    )
