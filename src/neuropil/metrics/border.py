"""Voxels near an object's border, which CREMI leaves out of the score: annotators do not agree on them."""

from __future__ import annotations

from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray

from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Float3


def border_mask(truth_ZYX: NDArray[Any], voxel_size: Float3, distance_nm: float) -> NDArray[np.bool_]:
    """Voxels at most `distance_nm` from a border of `truth_ZYX`, section by section, as CREMI defines it.

    A border voxel has one of its four neighbours in the section in another object; distances are Euclidean, between
    voxel centres, within the section (the z component of `voxel_size` plays no part). 0 marks border voxels only.

    Parameters
    ----------
    truth_ZYX
        (Z, Y, X) integer labels.
    voxel_size
        nm, z, y, x.

    Raises
    ------
    GeometryError
        If the labels do not have three axes.
    InputError
        If the distance is negative or not finite.
    """
    if truth_ZYX.ndim != 3:
        raise GeometryError(f"labels of shape {truth_ZYX.shape}", "three axes z, y, x")
    if not (np.isfinite(distance_nm) and distance_nm >= 0):
        raise InputError(
            f"a border distance of {distance_nm} nm", "0 or more", "leave --ignore-border-nm out for all voxels"
        )
    mask = np.zeros(truth_ZYX.shape, np.bool_)
    for section, near in zip(truth_ZYX, mask, strict=True):
        _mark(section, near, voxel_size[1:], distance_nm)
    return mask


def _mark(section: NDArray[Any], near: NDArray[np.bool_], pixel_nm: tuple[float, float], distance_nm: float) -> None:
    """Set `near` where `section` (Y, X) is close to a border."""
    for axis in (0, 1):
        here = np.moveaxis(section, axis, 0)
        line = np.moveaxis(near, axis, 0)
        change = here[1:] != here[:-1]
        line[1:] |= change
        line[:-1] |= change
    if distance_nm < min(pixel_nm) or not near.any():
        return
    distance = edt.edt(~near, anisotropy=pixel_nm, black_border=False, parallel=1)
    # the transform works in float32: a distance of just `distance_nm` must count
    near |= distance <= distance_nm * (1 + 1e-6)
