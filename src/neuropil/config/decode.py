"""Settings of prediction and of what is made of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from neuropil.config.base import Offset, Settings

Score = Literal["mean", "quantile"]


class PredictConfig(Settings):
    """Tiled prediction."""

    tile: Offset | None = Field(None, description="voxels z, y, x; chosen from voxel size and network when empty")
    overlap: Offset | None = Field(None, description="voxels that neighbouring tiles share")
    block: Offset | None = Field(None, description="voxels written at once; the output's shard when empty")
    tta: Literal["none", "flips", "full"] = Field("none", description="average over mirrored and exchanged axes")
    batch: int = Field(1, ge=1)
    memory_gb: float = Field(2.0, gt=0, description="what buffers may take; wide volumes are worked in columns")


class FragmentsConfig(Settings):
    """From affinities to fragments; by ascent on a landscape of bounded distance, or by the classic flooding."""

    method: Literal["ascent", "watershed"] = Field("ascent", description="'watershed' floods and depends on the block")
    boundary: float = Field(0.3, gt=0, lt=1, description="cut evidence from which a voxel is boundary")
    worst_edge: float = Field(0.0, ge=0, le=1, description="share of the worst edge in the cut evidence; rest: mean")
    radius_nm: float = Field(128.0, gt=0, description="distances to the boundary end here; beyond, all is one core")
    sigma_nm: float = Field(6.0, ge=0, description="Gaussian that smooths the distance")
    slope_nm: float = Field(16.0, ge=0, description="distance that a wholly cut voxel counts as lower")
    link: float = Field(0.1, ge=0, lt=1, description="no link crosses an edge below this affinity")
    background: float = Field(0.002, ge=0, lt=1, description="a voxel all of whose edges are below is background")
    seed_nm: float = Field(32.0, gt=0, description="watershed: least distance of seeds along each axis")
    sectionwise: Literal["auto", "always", "never"] = "auto"
    sectionwise_ratio: float = Field(4.0, gt=1, description="z/x anisotropy from which 'auto' works per section")


class SegmentConfig(Settings):
    """From affinities to neurons."""

    method: str = "agglomerate"
    threshold: float | None = Field(
        None, gt=0, lt=1, description="merge edges of at least this affinity; calibrated by a run when empty"
    )
    score: Score = "mean"
    quantile: float = Field(0.5, gt=0, lt=1, description="which quantile of the edge's affinities is its score")
    contact: float = Field(0.0, ge=0, description="voxel edges of affinity 0 that every contact counts in addition")
    long_range: bool = Field(False, description="long-range affinities count in the scores of touching fragments")
    bias: tuple[float, ...] = Field((), description="added to channels' logits; calibrated by a run when empty")
    min_size: int = Field(0, ge=0, description="voxels; smaller objects join their best neighbour or vanish")
    strides: Offset = Field((1, 1, 1), description="mutex: use long-range edges on this grid of voxels only")
    enough_objects: int = Field(
        100,
        ge=0,
        description="objects in what a run holds back below which its threshold comes from all labelled voxels",
    )
    caution: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="raise of a threshold from all labelled voxels: whole at no object, none at enough_objects",
    )
    keep_first: int = Field(
        100,
        ge=0,
        description="fragments in what a run holds back below which it keeps the decoding of its first weights",
    )
    calibrate_bias: bool = Field(True, description="try fitted channel biases on what a run holds back")
    objective: Literal["voi", "cremi"] = Field("voi", description="score that calibration minimises")
    fragments: FragmentsConfig = FragmentsConfig()
