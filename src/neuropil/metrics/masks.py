"""Two masks of thin structures: Dice, precision, recall, HD95, and whether their topology is the same."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from skimage.measure import euler_number
from skimage.morphology import skeletonize

from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Float3, Int3
from neuropil.metrics.tree import harmonic

Mask = NDArray[np.bool_]

HIGHER_IS_BETTER = {
    "dice": True,
    "iou": True,
    "mask_precision": True,
    "mask_recall": True,
    "cldice": True,
    "skeleton_precision": True,
    "skeleton_recall": True,
    "betti0_error": False,
    "betti1_error": False,
    "betti2_error": False,
    "hd95_nm": False,
}


def mask_scores(truth_ZYX: NDArray[Any], pred_ZYX: NDArray[Any], voxel_size: Float3) -> dict[str, float]:
    """All scores of a mask against a true one, as `HIGHER_IS_BETTER` names them.

    Parameters
    ----------
    truth_ZYX, pred_ZYX
        (Z, Y, X) masks: truth values, or labels of which 0 is background.
    voxel_size
        nm, z, y, x.

    Raises
    ------
    GeometryError
        If shapes differ or do not have three axes.
    InputError
        If the masks do not hold truth values or whole numbers.
    """
    truth, pred = _as_mask(truth_ZYX, "truth"), _as_mask(pred_ZYX, "prediction")
    if truth.shape != pred.shape or truth.ndim != 3:
        raise GeometryError(
            f"masks of shape {truth.shape} and {pred.shape}",
            "one shape of three axes z, y, x",
            "crop both to one region",
        )
    both, true, found = (int(np.count_nonzero(m)) for m in (truth & pred, truth, pred))
    scores = {
        "dice": _share(2 * both, true + found),
        "iou": _share(both, true + found - both),
        "mask_precision": _share(both, found) if found else float(not true),
        "mask_recall": _share(both, true),
    }
    return scores | cldice(truth, pred) | betti_errors(truth, pred) | hausdorff95(truth, pred, voxel_size)


def cldice(truth_ZYX: Mask, pred_ZYX: Mask) -> dict[str, float]:
    """Centreline Dice (Shit et al. 2021): `skeleton_precision`, `skeleton_recall` and their harmonic mean, `cldice`.

    Precision is the share of the prediction's skeleton inside the true mask, recall the converse. Of two empty masks
    all are 1; of one, 0.
    """
    skeletons = [skeletonize(m) if m.any() else m for m in (truth_ZYX, pred_ZYX)]  # type: ignore[no-untyped-call]
    if not (truth_ZYX.any() and pred_ZYX.any()):
        alike = float(truth_ZYX.any() == pred_ZYX.any())
        return {"skeleton_precision": alike, "skeleton_recall": alike, "cldice": alike}
    recall, precision = (
        float(other[skeleton].mean()) for skeleton, other in zip(skeletons, (pred_ZYX, truth_ZYX), strict=True)
    )
    return {"skeleton_precision": precision, "skeleton_recall": recall, "cldice": harmonic(precision, recall)}


def betti_numbers(mask_ZYX: Mask) -> Int3:
    """Components, tunnels and cavities of a mask: β0, β1, β2.

    Voxels that touch at a face, edge or corner hang together, voxels of the background only at a face; what lies
    outside the volume is background. β1 follows from Euler's number, β0 - β1 + β2.
    """
    padded = np.pad(mask_ZYX, 1)
    components = _components(padded, 26)
    cavities = _components(~padded, 6) - 1
    euler = int(euler_number(padded, connectivity=3))  # type: ignore[no-untyped-call]
    return components, components + cavities - euler, cavities


def betti_errors(truth_ZYX: Mask, pred_ZYX: Mask, *, window: Int3 | None = None) -> dict[str, float]:
    """Absolute differences of Betti numbers, `betti0_error` (breaks), `betti1_error` (loops), `betti2_error` (holes).

    Parameters
    ----------
    window
        Voxels z, y, x of windows side by side, over which the mean is taken; None for the whole.
    """
    shape = truth_ZYX.shape
    size = window or (shape[0], shape[1], shape[2])
    if min(size) < 1:
        raise InputError(f"a window of {size} voxels", "at least one voxel along each axis")
    errors = []
    for start in np.ndindex(*(-(-n // w) for n, w in zip(shape, size, strict=True))):
        cut = tuple(slice(i * w, (i + 1) * w) for i, w in zip(start, size, strict=True))
        pairs = zip(betti_numbers(truth_ZYX[cut]), betti_numbers(pred_ZYX[cut]), strict=True)
        errors.append([abs(a - b) for a, b in pairs])
    return {f"betti{i}_error": float(value) for i, value in enumerate(np.mean(errors, axis=0))}


def hausdorff95(truth_ZYX: Mask, pred_ZYX: Mask, voxel_size: Float3) -> dict[str, float]:
    """`hd95_nm`: the larger of the two directions' 95th percentiles of the distance from surface to surface.

    Left out if one mask is empty, as no distance is defined; 0 if both are.
    """
    if not truth_ZYX.any() or not pred_ZYX.any():
        return {} if truth_ZYX.any() or pred_ZYX.any() else {"hd95_nm": 0.0}
    surfaces = [_surface(mask) for mask in (truth_ZYX, pred_ZYX)]
    to_truth, to_pred = (edt.edt(~surface, anisotropy=voxel_size, parallel=1) for surface in surfaces)
    ways = to_pred[surfaces[0]], to_truth[surfaces[1]]
    return {"hd95_nm": max(float(np.percentile(way, 95)) for way in ways)}


def _surface(mask_ZYX: Mask) -> Mask:
    """Voxels of a mask with a face towards the background."""
    padded = np.pad(mask_ZYX, 1)
    inner = padded.copy()
    for axis in range(3):
        for step in (1, -1):
            inner &= np.roll(padded, step, axis)
    return np.asarray((padded & ~inner)[1:-1, 1:-1, 1:-1])


def _components(mask_ZYX: Mask, connectivity: Literal[6, 26]) -> int:
    return int(cc3d.connected_components(mask_ZYX, connectivity=connectivity, return_N=True)[1])


def _as_mask(array: NDArray[Any], name: str) -> Mask:
    if array.dtype.kind not in "bui":
        raise InputError(
            f"a {name} mask of type {array.dtype}",
            "truth values, or labels of which 0 is background",
            "store it as bool or as whole numbers",
        )
    return array if array.dtype.kind == "b" else np.asarray(array != 0)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
