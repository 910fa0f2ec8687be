"""Settings of organelles: what a network learns of them, and how its answer becomes objects."""

from __future__ import annotations

from pydantic import Field

from neuropil.config.base import Settings


class OrganelleConfig(Settings):
    """What is learned of organelles (tasks mitochondria and semantic)."""

    components: bool = Field(
        False, description="objects are the connected pieces of equal labels: for masks, and for ids that are reused"
    )
    sigma_nm: float = Field(50.0, gt=0, description="scale of the signed distance tanh(d / sigma)")
    reach: float = Field(2.0, gt=0, description="distances end at so many sigma, so that a crop knows all of its own")
    affinities: bool = Field(False, description="nearest affinities are learned beside, and stored, but not decoded")
    dice: float = Field(1.0, ge=0, description="weight of the Dice loss of the foreground beside its cross entropy")
    contour: float = Field(1.0, ge=0, description="weight of the contour's cross entropy")
    contour_positive: float = Field(4.0, gt=0, description="weight of a contour voxel relative to another in it")
    distance: float = Field(10.0, ge=0, description="weight of the distance's smooth absolute error")


class InstancesConfig(Settings):
    """From the prediction of organelles to objects; the run's calibrated values go before these."""

    foreground: float = Field(0.5, gt=0, lt=1, description="foreground of at least this belongs to an object")
    seed_foreground: float = Field(0.9, gt=0, lt=1, description="a seed has at least this foreground,")
    seed_contour: float = Field(0.8, gt=0, le=1, description="less than this contour,")
    seed_distance: float = Field(0.5, gt=-1, lt=1, description="and at least this signed distance, -1 to 1")
    min_size_um3: float = Field(0.0, ge=0, description="smaller objects vanish; cubic micrometres")
    components: bool = Field(False, description="semantic: every connected piece is an object; else all is object 1")
    calibrate: bool = Field(True, description="choose the thresholds on what a run holds back")
