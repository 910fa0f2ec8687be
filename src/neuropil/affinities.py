"""The one place that knows the edge convention.

Channel *c* at voxel *v* is the evidence that *v* and *v + offsets[c]* belong to one object. An edge whose far end
lies outside the volume has no truth and is not valid. Label 0 is background: it has no affinity, not even to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import InputError
from neuropil.geometry import Int3

if TYPE_CHECKING:
    from neuropil.volume import Volume

Offsets = tuple[Int3, ...]

#: Nearest neighbours, one edge per axis, towards lower indices.
NEAREST: Offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


@dataclass(frozen=True)
class Affinities:
    """A volume of affinities (axes "czyx") with the voxel step of each channel."""

    volume: Volume
    offsets: Offsets

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", as_offsets(self.offsets))
        channels = self.volume.shape[0]
        if self.volume.axes != "czyx" or channels != len(self.offsets):
            raise InputError(
                f"affinities with axes '{self.volume.axes}', shape {self.volume.shape} and {len(self.offsets)} offsets",
                "axes 'czyx' and one offset for each channel",
                "give the offsets of all channels in their order, or store channels along the first axis",
            )

    def _repr_html_(self) -> str:
        from neuropil.notebook import volume_html

        return volume_html(self.volume, {"offsets": ", ".join(str(offset) for offset in self.offsets)})


def as_offsets(values: Sequence[Sequence[int]] | npt.NDArray[Any]) -> Offsets:
    """Check and freeze a list of z, y, x voxel steps.

    Raises
    ------
    InputError
        If a step is not three integers, is zero, or stands twice.
    """
    steps = []
    for value in values:
        if len(value) != 3 or any(int(v) != v for v in value) or not any(value):
            raise InputError(f"affinity offset {list(value)}", "three integers z, y, x that are not all zero")
        steps.append((int(value[0]), int(value[1]), int(value[2])))
    if len(set(steps)) != len(steps):
        raise InputError(f"affinity offsets {steps}", "each step once")
    return tuple(steps)


def edge_slices(shape: Int3, offset: Int3) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices (near, far) such that ``array[near]`` and ``array[far]`` are the two ends of every edge inside."""
    near, far = [], []
    for n, o in zip(shape, offset, strict=True):
        inside = max(0, n - abs(o))
        near.append(slice(max(0, -o), max(0, -o) + inside))
        far.append(slice(max(0, o), max(0, o) + inside))
    return tuple(near), tuple(far)


def affinities_from_labels(
    labels_ZYX: npt.NDArray[Any], offsets: Offsets
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """True affinities of a label volume.

    Parameters
    ----------
    labels_ZYX
        Integer object ids, 0 = background.
    offsets
        Voxel steps z, y, x.

    Returns
    -------
    affinities, valid
        Both (C, Z, Y, X): 1 where both ends carry the same id > 0; valid where both ends lie inside.
    """
    shape = (len(offsets), *labels_ZYX.shape)
    affinities, valid = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
    for c, offset in enumerate(offsets):
        near, far = edge_slices(labels_ZYX.shape, offset)  # type: ignore[arg-type]
        a, b = labels_ZYX[near], labels_ZYX[far]
        affinities[c][near] = (a == b) & (a > 0)
        valid[c][near] = True
    return affinities, valid


def reanchored(channel_ZYX: npt.NDArray[Any], offset: Int3, fill: float = 0) -> npt.NDArray[Any]:
    """Store the same edges at their other end: edge (v, v+o) at v becomes edge (u, u-o) at u = v+o.

    Voxels whose edge leaves the volume get `fill`.
    """
    out = np.full_like(channel_ZYX, fill)
    near, far = edge_slices(channel_ZYX.shape, offset)  # type: ignore[arg-type]
    out[far] = channel_ZYX[near]
    return out


def transformed_offset(offset: Int3, flips: tuple[bool, bool, bool], *, transpose: bool) -> Int3:
    """Where a step points after mirroring the flagged axes and then, if asked, swapping y and x."""
    z, y, x = (-o if f else o for o, f in zip(offset, flips, strict=True))
    return (z, x, y) if transpose else (z, y, x)


def with_offsets(affinities_CZYX: npt.NDArray[Any], have: Offsets, want: Offsets) -> npt.NDArray[Any]:
    """Reorder channels, and re-anchor those that are wanted with the opposite sign.

    Raises
    ------
    InputError
        If a wanted step is there in neither direction.
    """
    index = {o: c for c, o in enumerate(have)}
    channels = []
    for o in want:
        opposite = (-o[0], -o[1], -o[2])
        if o in index:
            channels.append(affinities_CZYX[index[o]])
        elif opposite in index:
            channels.append(reanchored(affinities_CZYX[index[opposite]], opposite))
        else:
            raise InputError(f"affinities with offsets {list(have)}", f"a channel for the step {o} or {opposite}")
    return np.stack(channels)


def from_inverse(cut_probability_CZYX: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert affinities stored as 1 = cut (torch-em) to 1 = same object; integers are taken as 0..max."""
    top = np.iinfo(cut_probability_CZYX.dtype).max if cut_probability_CZYX.dtype.kind in "ui" else 1
    return np.asarray(top - cut_probability_CZYX, dtype=cut_probability_CZYX.dtype)
