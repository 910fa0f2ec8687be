"""Settings of what is made of single objects, for proofreading: skeletons and meshes beside labels."""

from __future__ import annotations

from pydantic import Field

from neuropil.config.base import Settings


class ObjectsConfig(Settings):
    """Skeletons and meshes of objects, made in cells of a fixed grid: they do not depend on `jobs.block`."""

    skeletons: bool = Field(False, description="write skeletons, as Neuroglancer reads them and as SWC")
    meshes: bool = Field(False, description="write meshes, as Neuroglancer reads them")
    min_voxels: int = Field(1000, ge=1, description="smaller objects get neither; voxels of the labels")
    voxel_nm: float = Field(
        16.0, gt=0, description="both are made at the coarsest level of the labels whose finest voxel edge is no longer"
    )
    cell: int = Field(
        256, ge=8, description="edge of a cell along the finest axis, in voxels of that level; results depend on it"
    )
    branch_radii: float = Field(1.5, ge=0, description="skeletons: a path covers this many radii around itself ...")
    branch_nm: float = Field(100.0, ge=0, description="... and this much more")
    spur_nm: float = Field(200.0, ge=0, description="skeletons: shorter branches are cut")
    smooth: float = Field(
        3.0, ge=0, description="skeletons: standard deviation of the smoothing along branches, in nodes a voxel apart"
    )
    step_nm: float = Field(100.0, gt=0, description="skeletons: most cable between nodes")
    thinned: int = Field(10, ge=1, description="meshes: triangles are thinned to one in so many, at the most")
    error_nm: float | None = Field(
        None, ge=0, description="meshes: how far vertices may move for it; the longest voxel edge when empty"
    )
