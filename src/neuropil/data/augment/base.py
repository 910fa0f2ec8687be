"""What an augmentation is made of: a frame to draw for, and three kinds of change.

*Orientation* is exact (flips, exchanged axes); a *Warp* moves voxels and joins one coordinate map, resampled once; an
*ImageChange* alters grey values only. All are plain frozen data, so a plan can be stored, compared and replayed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from neuropil.geometry import Float3, Int3

Image = npt.NDArray[np.float32]
#: Voxels before and after, for each of z, y, x.
Halo = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
NO_HALO: Halo = ((0, 0), (0, 0), (0, 0))

#: From this ratio of section thickness to pixel size, sections are treated as separate images.
_SECTIONED_RATIO = 2.0

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile by numba: cached on disk, and without the GIL so that a prefetch thread costs the training nothing."""
    # of fast math only fused multiply-add: reciprocals could put a voxel into the neighbouring cell of a lattice
    return cast(F, numba.njit(cache=True, nogil=True, fastmath={"contract"})(function))


class Crop(NamedTuple):
    """The frame that changes are drawn for: extent in voxels, voxel size in nm, and label context around it."""

    shape: Int3
    voxel_size: Float3
    context: Halo = NO_HALO


def sectioned(voxel_size: Float3) -> bool:
    """Whether z is so much coarser than the plane that sections are images of their own (never blended)."""
    return voxel_size[0] >= _SECTIONED_RATIO * max(voxel_size[1:])


@dataclass(frozen=True)
class Orientation:
    """Axis i of the result is axis `axes[i]` of the source, reversed where `flips[i]`."""

    axes: Int3 = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)
    defect: ClassVar[bool] = False

    def view(self, array_ZYX: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array in its new orientation, without a copy."""
        steps = tuple(slice(None, None, -1 if f else 1) for f in self.flips)
        return array_ZYX.transpose(self.axes)[steps]

    def source_halo(self, halo: Halo) -> Halo:
        """Where voxels around the result lie around the source."""
        sides: list[tuple[int, int]] = [(0, 0)] * 3
        for axis, flip, (before, after) in zip(self.axes, self.flips, halo, strict=True):
            sides[axis] = (after, before) if flip else (before, after)
        return sides[0], sides[1], sides[2]


@dataclass(frozen=True)
class Warp:
    """A change of place: the result at voxel p shows the source at ``centre + M (p - centre) + shift(z) + field(p)``.

    Places are voxels of the crop (its first voxel is 0); `defect` marks the kinds of which a crop gets at most one.
    """

    defect: ClassVar[bool] = False

    def matrix(self) -> npt.NDArray[np.float64]:
        """(3, 3), about the centre of the crop."""
        return np.eye(3)

    def shifts(self, sections_Z: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(Z, 2): in-plane step y, x of each given section."""
        return np.zeros((len(sections_Z), 2))

    def lattice(self, low: Int3, high: Int3) -> Lattice | None:
        """Control points over the voxels ``low <= p < high``; at most one warp of a plan has them."""
        return None


class Lattice(NamedTuple):
    """Control points of a uniform cubic B-spline field; `points_GGG3` holds steps z, y, x in voxels."""

    points_GGG3: npt.NDArray[np.float32]
    spacing: npt.NDArray[np.float64]


@dataclass(frozen=True)
class ImageChange(ABC):
    """A change of grey values."""

    defect: ClassVar[bool] = False

    @abstractmethod
    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""


Op = Orientation | Warp | ImageChange
