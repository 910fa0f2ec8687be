"""Settings of tracing: one set for all images; lengths are multiples of the finest voxel edge."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from neuropil.config.base import Settings

TracerName = Literal["geodesic", "thinning", "middle", "auto", "consensus"]


class EnhanceConfig(Settings):
    """From grey values to the evidence of neurites, 0 to 1 at every voxel."""

    polarity: Literal["auto", "bright", "dark"] = Field("auto", description="neurites on their background")
    radii: tuple[float, ...] = Field((1.0, 2.0, 3.0), description="tube radii looked for, in finest voxel edges")
    noise: float = Field(6.0, gt=0, description="evidence 1/2 is this many times the tubularity of background noise")
    contrast: float = Field(0.25, gt=0, lt=1, description="... or this share of that of bright neurites, if more")
    thick: float = Field(4.0, gt=0, description="grey above background that counts as much as tubularity 1")
    background: int = Field(32, ge=4, description="edge of the blocks whose median is the background, finest edges")

    @field_validator("radii")
    @classmethod
    def _rising(cls, radii: tuple[float, ...]) -> tuple[float, ...]:
        if not radii or min(radii) <= 0 or list(radii) != sorted(set(radii)):
            raise ValueError("one or more positive radii, each larger than the one before")
        return radii


class LabelsConfig(Settings):
    """What differs where segments are traced, whose surfaces are rough and whose voxels are all sure."""

    min_voxels: int = Field(100, ge=1, description="smaller segments are not traced")
    min_piece: float = Field(
        0.0, ge=0, description="shorter pieces of a segment are dropped, finest voxel edges of cable"
    )
    middle: float = Field(2.0, ge=0, description="how much paths keep to the middle: power of the depth")
    spur: float = Field(8.0, ge=0, description="shortest branch outside what others cover, in voxels of any axis")
    cover: float = Field(2.0, gt=0, description="a branch covers this many radii")


class TraceConfig(Settings):
    """From evidence, or from labels, to trees."""

    tracer: TracerName = Field(
        "geodesic",
        description="'auto' runs all and keeps the one that explains more, 'consensus' what half of them have",
    )
    agree: float = Field(
        2.0, ge=0.5, description="how near tracers' cables lie where they agree, in finest voxel edges"
    )
    source: Literal["image", "probability"] = Field("image", description="'probability' skips the enhancement")
    enhance: EnhanceConfig = EnhanceConfig()
    labels: LabelsConfig = LabelsConfig()
    strong: float = Field(0.5, gt=0, le=1, description="evidence that every piece must reach somewhere")
    weak: float = Field(0.33, gt=0, le=1, description="evidence from which a voxel can be neurite")
    min_piece: float = Field(10.0, ge=0, description="shorter pieces are dust, in finest voxel edges of cable")
    cost: float = Field(10.0, ge=0, description="how much paths avoid weak evidence")
    middle: float = Field(1.0, ge=0, description="how much paths keep to the middle: power of the depth")
    spur: float = Field(3.0, ge=0, description="shortest branch outside what others cover, in voxels of any axis")
    faint: float = Field(0.45, ge=0, le=1, description="least mean evidence of a branch outside what others cover")
    cover: float = Field(1.2, gt=0, description="a branch covers this many radii ...")
    cover_voxels: float = Field(1.0, gt=0, description="... and this many voxels around itself")
    gap: float = Field(20.0, ge=0, description="longest gap that is bridged, in finest voxel edges")
    turn: float = Field(1.0, ge=0, description="how much a bridge is held longer for leaving the branch's direction")
    min_confidence: float = Field(0.1, ge=0, le=1, description="bridges below this confidence are not built")
    keep: Literal["main", "all"] = Field("main", description="the main neuron only, or every piece")
    smooth: float = Field(1.0, ge=0, description="standard deviation of the smoothing along branches, finest edges")
    step: float = Field(2.0, gt=0, description="most cable between nodes, in finest voxel edges")
    max_radius: float = Field(32.0, gt=1, description="radii are measured up to this many finest voxel edges")
    tile: int = Field(128, ge=16, description="edge of the tiles that are enhanced at a time, finest edges")
    workers: int = Field(0, ge=0, description="threads that enhance tiles; 0: one for every processor")
    memory_gb: float = Field(4.0, gt=0, description="what the voxels of neurites may take; more is refused")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.weak > self.strong:
            raise ValueError("weak evidence must not be above strong evidence")
        return self
