"""What the descriptions of all phantoms have in common: a seed, an extent and voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3


@dataclass(frozen=True)
class PhantomConfig:
    """Where chance starts, and the region that is made.

    Parameters
    ----------
    seed
        0 to 2**62-1.
    shape
        Voxels z, y, x.
    voxel_size
        nm, z, y, x.

    Raises
    ------
    ConfigError
        If a value is impossible.
    """

    seed: int
    shape: Int3
    voxel_size: Float3

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(int(s) != s or s <= 0 for s in self.shape):
            raise ConfigError(f"a phantom of shape {self.shape}", "three positive integers z, y, x")
        if len(self.voxel_size) != 3 or not all(v > 0 and math.isfinite(v) for v in self.voxel_size):
            raise ConfigError(f"a voxel size of {self.voxel_size}", "three positive numbers z, y, x in nm")
        if not 0 <= self.seed < 2**62:
            raise ConfigError(f"seed {self.seed}", "an integer from 0 to 2**62-1")

    def _require_shares(self, *names: str) -> None:
        """Raise a ConfigError where one of these is no share of one."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)}", "0 to 1")
