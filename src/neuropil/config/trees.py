"""Settings of tree scores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, field_validator

from neuropil.config.base import Settings

TreeConvention = Literal["vaa3d", "niend", "pyneval"]


class TreeScoreConfig(Settings):
    """How a traced tree is compared with a true one; lengths are in steps (voxels, for trees in voxels)."""

    convention: TreeConvention = Field("vaa3d", description="whose ESA, DSA and PDS")
    tolerance: float = Field(2.0, gt=0, description="steps from which cable counts as apart")
    sweep: tuple[PositiveFloat, ...] = Field(
        tuple(float(t) for t in range(1, 11)), min_length=1, description="tolerances of the mean precision, recall, F1"
    )
    piece: float = Field(0.5, gt=0, description="steps of cable that one sample of precision and recall stands for")
    path_error: float = Field(0.05, gt=0, lt=1, description="relative length by which DIADEM's paths may differ")
    path_slack: float = Field(2.0, ge=0, description="steps by which they may differ in any case")
    length_error: float = Field(0.2, gt=0, lt=1, description="the same for single edges, in PyNeval's length score")

    @field_validator("sweep")
    @classmethod
    def _rising(cls, tolerances: tuple[float, ...]) -> tuple[float, ...]:
        if list(tolerances) != sorted(set(tolerances)):
            raise ValueError("rising tolerances, each once")
        return tolerances


class MorphologyConfig(Settings):
    """How a tree is described."""

    sholl_step: float | None = Field(
        None, gt=0, description="distance of Sholl's spheres in the unit of the table; empty: about 20 of them"
    )
