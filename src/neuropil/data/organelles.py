"""What a network is taught of organelles: foreground, contour and signed distance, from the labels of a crop.

Foreground, contour and distance together ("BCD") are what current mitochondria pipelines predict: the contour cuts
touching objects apart, and the distance gives each one seed (Wei et al., MICCAI 2020; Lin et al., arXiv 2107.05840).
Distances end at a reach, so that a crop with that much context has exactly the targets of the whole volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets
from neuropil.config import Config
from neuropil.data.augment.base import Halo, sectioned
from neuropil.data.targets import affinity_targets, context_for
from neuropil.geometry import Float3

Labels = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

#: Channels of `OrganelleTargets`, in their order; affinities may follow.
CHANNELS = ("foreground", "contour", "distance")
#: What is expected of every channel before anything is learned: organelles fill some percent of a tissue.
RARE = 0.05


@dataclass(frozen=True)
class ForegroundTargets:
    """Teaches what is labelled: "targets" (1, Z, Y, X) float32 and "valid" uint8."""

    context: Halo

    def __call__(self, labels_ZYX: Labels, valid_ZYX: Mask) -> dict[str, npt.NDArray[Any]]:
        """See `neuropil.data.targets.Targets`."""
        inside = _inside(labels_ZYX.shape, self.context)
        foreground = (labels_ZYX[inside] > 0).astype(np.float32)
        return {"targets": foreground[None], "valid": valid_ZYX[inside].view(np.uint8)[None].copy()}


@dataclass(frozen=True)
class OrganelleTargets:
    """Teaches `CHANNELS`, then affinities: "targets" (C, Z, Y, X) float32 and "valid" uint8.

    Parameters
    ----------
    voxel_size
        nm, z, y, x.
    sigma_nm, reach_nm
        The distance is tanh(d / sigma); d ends at the reach.
    offsets
        Voxel steps of the affinities.
    """

    voxel_size: Float3
    sigma_nm: float
    reach_nm: float
    offsets: Offsets

    @classmethod
    def of(cls, config: Config, voxel_size: Float3, offsets: Offsets) -> OrganelleTargets:
        """As the settings say, at a voxel size (nm)."""
        settings = config.organelles
        # of a single section nothing is known before and behind: there, distances and contours are those in the plane
        size = config.model.seen(voxel_size)
        return cls(size, settings.sigma_nm, settings.sigma_nm * settings.reach, offsets)

    @property
    def context(self) -> Halo:
        """Voxels within the reach, and those that affinities end in."""
        z, y, x = (max(1, math.ceil(self.reach_nm / size)) for size in self.voxel_size)
        steps = context_for(self.offsets, (0, 0, 0))
        sides = [(max(n, a), max(n, b)) for n, (a, b) in zip((z, y, x), steps, strict=True)]
        return sides[0], sides[1], sides[2]

    def __call__(self, labels_ZYX: Labels, valid_ZYX: Mask) -> dict[str, npt.NDArray[Any]]:
        """See `neuropil.data.targets.Targets`."""
        inside = _inside(labels_ZYX.shape, self.context)
        edges, edges_known = contour(labels_ZYX, valid_ZYX, across=not sectioned(self.voxel_size))
        distance_nm, distance_known = signed_distance_nm(labels_ZYX, valid_ZYX, self.voxel_size, self.reach_nm)
        distance = np.tanh(distance_nm / np.float32(self.sigma_nm))
        targets = [a[inside].astype(np.float32, copy=False) for a in (labels_ZYX > 0, edges, distance)]
        known = [a[inside] for a in (valid_ZYX, edges_known, distance_known)]
        if self.offsets:
            affinities, ends_known = affinity_targets(labels_ZYX, valid_ZYX, self.offsets, self.context)
            targets += [a.astype(np.float32) for a in affinities]
            known += list(ends_known)
        return {"targets": np.stack(targets), "valid": np.stack(known).view(np.uint8)}


def contour(labels_ZYX: Labels, valid_ZYX: Mask, *, across: bool) -> tuple[Mask, Mask]:
    """Voxels at the border of objects, and where that is known.

    In the section both voxels that meet belong to the contour, so that it is two thick; along z only the one inside an
    object does. Unannotated voxels and the end of the array are no border.

    Parameters
    ----------
    labels_ZYX, valid_ZYX
        Ids, 0 = background, and what was annotated.
    across
        Whether borders across z count; where sections are far apart they would fill thin objects.

    Returns
    -------
    contour, known
        (Z, Y, X). A voxel without a border in sight is known where all its neighbours are annotated.
    """
    found, known = np.zeros(labels_ZYX.shape, np.bool_), valid_ZYX.copy()
    for axis in (0, 1, 2) if across else (1, 2):
        one: list[slice] = [slice(None)] * 3
        other: list[slice] = [slice(None)] * 3
        one[axis], other[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(one), tuple(other)
        meet = (labels_ZYX[a] != labels_ZYX[b]) & valid_ZYX[a] & valid_ZYX[b]
        found[a] |= meet if axis else meet & (labels_ZYX[a] > 0)
        found[b] |= meet if axis else meet & (labels_ZYX[b] > 0)
        known[a] &= valid_ZYX[b]
        known[b] &= valid_ZYX[a]
    return found, (known | found) & valid_ZYX


def signed_distance_nm(
    labels_ZYX: Labels, valid_ZYX: Mask, voxel_size: Float3, reach_nm: float
) -> tuple[npt.NDArray[np.float32], Mask]:
    """Distance to the nearest voxel of anything else: above 0 inside objects, below 0 outside; and where it is known.

    Parameters
    ----------
    labels_ZYX, valid_ZYX
        Ids, 0 = background, and what was annotated.
    voxel_size
        nm, z, y, x.
    reach_nm
        Larger distances become this one.

    Returns
    -------
    distance_nm, known
        (Z, Y, X). A distance is known where nothing unannotated lies as near; the end of the array is no border.
    """
    inside = edt.edt(labels_ZYX, anisotropy=voxel_size, black_border=False, parallel=1)
    outside = edt.edt(labels_ZYX == 0, anisotropy=voxel_size, black_border=False, parallel=1)
    distance = np.where(labels_ZYX > 0, np.minimum(inside, reach_nm), -np.minimum(outside, reach_nm))
    distance = distance.astype(np.float32, copy=False)
    if valid_ZYX.all():
        return distance, valid_ZYX
    gap = edt.edt(valid_ZYX, anisotropy=voxel_size, black_border=False, parallel=1)
    return distance, valid_ZYX & ((gap > np.abs(distance)) | (gap >= reach_nm))


def _inside(shape: tuple[int, ...], context: Halo) -> tuple[slice, ...]:
    return tuple(slice(a, n - b) for n, (a, b) in zip(shape, context, strict=True))
