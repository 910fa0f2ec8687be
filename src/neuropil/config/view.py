"""Settings of looking at volumes in a browser."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from neuropil.config.base import Settings


class ViewConfig(Settings):
    """Where the viewer listens, and how much it makes of labels."""

    host: str = Field("127.0.0.1", description="address to listen at; 0.0.0.0 lets other machines look")
    port: NonNegativeInt = Field(0, le=65535, description="port to listen at; 0 takes one that is free")
    export_port: PositiveInt = Field(
        8642, le=65535, description="port that the link of an exported folder names, where none is said"
    )
    mesh_voxels: PositiveInt = Field(
        256**3, description="labels are meshed at their finest scale of at most so many voxels, which are read at once"
    )
    meshes: NonNegativeInt = Field(12, description="largest objects that are shown in 3-D from the beginning")
    exported_meshes: NonNegativeInt = Field(200, description="largest objects whose meshes an exported folder holds")
    crop_voxels: PositiveInt = Field(
        128**3, description="most voxels of a crop of the training volumes that a run is asked to predict"
    )
