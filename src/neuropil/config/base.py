"""What all settings share: frozen, and an unknown key is an error."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, PositiveInt

Offset = tuple[int, int, int]
#: Voxels along z, y, x, at least one of each.
Extent = tuple[PositiveInt, PositiveInt, PositiveInt]


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
