"""Settings of networks that were trained elsewhere."""

from __future__ import annotations

from pydantic import Field, field_validator

from neuropil.config.base import Offset, Settings


class ForeignConfig(Settings):
    """What a bioimage.io model does not say of its affinities, or says otherwise than we do."""

    offsets: tuple[Offset, ...] | None = Field(
        None, description="voxel step z, y, x of each channel: whether v and v + step are one object; as the model says"
    )
    boundaries: bool | None = Field(
        None, description="whether 1 means apart (a boundary), not together; as the model says, which must say it"
    )

    @field_validator("offsets")
    @classmethod
    def _steps(cls, value: tuple[Offset, ...] | None) -> tuple[Offset, ...] | None:
        if value is not None and (not value or not all(any(step) for step in value) or len(set(value)) < len(value)):
            raise ValueError("steps that differ and are not zero, for example [[-1,0,0],[0,-1,0],[0,0,-1]]")
        return value
