"""From foreground, contour and signed distance to objects: seeds, watershed, size."""

from __future__ import annotations

import math
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt
from skimage.segmentation import watershed

from neuropil.config import InstancesConfig
from neuropil.geometry import Float3
from neuropil.post.filters import relabelled


def instances(
    stored_CZYX: npt.NDArray[np.uint8], voxel_size: Float3, config: InstancesConfig
) -> npt.NDArray[np.uint64]:
    """Segment a prediction of organelles.

    Seeds are the connected pieces of what is surely inside: near the middle (distance), not at a border (contour), and
    foreground. Each grows over the foreground from high distance to low, and meets its neighbours in the valleys
    (marker-based watershed; after the decoding of BC and BCD models, Wei et al., MICCAI 2020; Lin et al., 2021).
    Foreground without a seed is no object.

    Parameters
    ----------
    stored_CZYX
        uint8 0..255: foreground, contour, and signed distance (0 = -1, 255 = 1); further channels are not looked at.
    voxel_size
        nm, z, y, x.
    config
        Thresholds and the least size.

    Returns
    -------
    labels
        (Z, Y, X) objects 1 .. n in order of first voxel, 0 = background.
    """
    foreground, contour, distance = stored_CZYX[:3]
    seeds = foreground >= 255 * config.seed_foreground
    seeds &= contour < 255 * config.seed_contour
    seeds &= distance >= 255 * (config.seed_distance + 1) / 2
    # only voxels with a common face join: touching objects are often parted by a diagonal wall of contour
    pieces = cc3d.connected_components(seeds, connectivity=6, out_dtype=np.uint32).astype(np.int32)
    mask = foreground >= 255 * config.foreground
    labels = watershed(255 - distance, pieces, mask=mask, connectivity=1)  # type: ignore[no-untyped-call]
    return relabelled(large_enough(labels, least_voxels(config.min_size_um3, voxel_size)))


def components(stored_CZYX: npt.NDArray[np.uint8], voxel_size: Float3, config: InstancesConfig) -> npt.NDArray[Any]:
    """Segment a prediction of foreground alone: everything is object 1, or, if asked, every connected piece is one.

    Parameters and result are those of `instances`; pieces join over faces, edges and corners.
    """
    mask = stored_CZYX[0] >= 255 * config.foreground
    pieces = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32)
    kept = large_enough(pieces, least_voxels(config.min_size_um3, voxel_size))
    return relabelled(kept) if config.components else (kept > 0).astype(np.uint64)


def least_voxels(size_um3: float, voxel_size: Float3) -> int:
    """The fewest voxels (nm, z, y, x) that fill a volume in cubic micrometres."""
    return math.ceil(size_um3 * 1e9 / math.prod(voxel_size))


def large_enough(labels_ZYX: npt.NDArray[Any], least: int) -> npt.NDArray[Any]:
    """The labels without objects of fewer voxels; ids stay as they are."""
    if least <= 1:
        return labels_ZYX
    small = np.bincount(labels_ZYX.reshape(-1)) < least
    return np.where(small[labels_ZYX], 0, labels_ZYX)
