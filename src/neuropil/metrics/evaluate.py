"""Score a segmentation against the truth, from arrays or, block by block, from volumes of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Box, Float3, Int3, same_voxel_size
from neuropil.metrics.border import border_mask
from neuropil.metrics.overlap import Contingency, PairCounter, contingency
from neuropil.metrics.partition import convention_named, scores
from neuropil.metrics.skeletal import erl, sample_volume
from neuropil.registry import METRICS
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume, require_kind

#: Voxels z, y, x of a cell whose nodes are looked up together.
_BLOCK: Int3 = (64, 64, 64)


def evaluate_arrays(
    truth_ZYX: NDArray[Any],
    pred_ZYX: NDArray[Any],
    voxel_size: Float3,
    *,
    ignore_border_nm: float | None,
    convention: str,
) -> dict[str, float | int]:
    """All partition scores of two label arrays; the keys are those of `neuropil.metrics.partition.scores`.

    Parameters
    ----------
    truth_ZYX, pred_ZYX
        (Z, Y, X) integer labels.
    voxel_size
        nm, z, y, x.
    ignore_border_nm
        Leave out voxels at most this far from a truth border, in the section (`border_mask`); None or 0 for all voxels.
    convention
        One of `neuropil.metrics.partition.CONVENTIONS`.

    Raises
    ------
    InputError
        If an array does not hold labels, or nothing is left to compare.
    GeometryError
        If shapes do not fit.
    ConfigError
        If the convention is unknown.
    """
    convention_named(convention)
    valid = ~border_mask(truth_ZYX, voxel_size, ignore_border_nm) if ignore_border_nm else None
    return scores(contingency(truth_ZYX, pred_ZYX, valid=valid), convention=convention)


def evaluate_volumes(
    truth: Volume, pred: Volume, *, ignore_border_nm: float | None, convention: str, block_shape: Int3
) -> dict[str, float | int]:
    """All partition scores of two label volumes, read by blocks, and those of plugins; see `volume_contingency`."""
    convention_named(convention)
    table = volume_contingency(truth, pred, ignore_border_nm=ignore_border_nm, block_shape=block_shape)
    return scores(table, convention=convention) | _of_plugins(table)


def _of_plugins(table: Contingency) -> dict[str, float | int]:
    """Scores of metrics that installed packages add; see `neuropil.registry.plugins`."""
    found: dict[str, float | int] = {}
    for name in METRICS:
        if name not in METRICS.own:
            found |= METRICS.resolve(name)(table)
    return found


def volume_contingency(
    truth: Volume, pred: Volume, *, ignore_border_nm: float | None, block_shape: Int3
) -> Contingency:
    """The contingency table of two volumes over the truth's box; the memory is that of one block and of the table.

    The prediction may reach beyond a truth that says by its offset where it lies (CREMI's padded volumes); otherwise
    both must fill the same box.

    Parameters
    ----------
    ignore_border_nm
        See `evaluate_arrays`; blocks are read with enough margin that the mask is that of the whole volume.
    block_shape
        Voxels z, y, x read at a time.

    Raises
    ------
    GeometryError
        If voxel sizes differ, or the prediction does not cover the truth.
    InputError
        If a volume does not hold labels.
    """
    box = _common_box(truth, pred)
    counter = PairCounter()
    for block in box.blocks(block_shape, _margin(ignore_border_nm, truth.voxel_size)):
        read = block.read.intersected(box)
        labels = truth.read(read)
        inner = block.write.slices(read.start)
        valid = None
        if ignore_border_nm:
            valid = ~border_mask(labels, truth.voxel_size, ignore_border_nm)[inner]
        counter.add(labels[inner], pred.read(block.write), valid)
    return counter.table()


def evaluate_skeletons(
    pred: Volume, skeletons: Sequence[Skeleton], *, merge_tolerance_nm: float
) -> dict[str, float | int]:
    """Expected run length of true skeletons through a segmentation; the keys are those of `ERLResult.scores`.

    See `neuropil.metrics.skeletal.erl`. Only the blocks that hold nodes are read.

    Raises
    ------
    InputError
        If it is no segmentation, or no skeleton has cable in it.
    """
    segments = sample_volume(pred, skeletons, block_shape=_BLOCK)
    return erl(skeletons, segments, merge_tolerance_nm=merge_tolerance_nm).scores()


def _margin(ignore_border_nm: float | None, voxel_size: Float3) -> Int3:
    if not ignore_border_nm:
        return 0, 0, 0
    if not (math.isfinite(ignore_border_nm) and ignore_border_nm > 0):
        raise InputError(
            f"a border distance of {ignore_border_nm} nm", "0 or more", "leave --ignore-border-nm out for all voxels"
        )
    y, x = (int(ignore_border_nm / nm) + 2 for nm in voxel_size[1:])
    return 0, y, x


def _common_box(truth: Volume, pred: Volume) -> Box:
    truth, pred = (require_kind(volume, "labels") for volume in (truth, pred))
    for volume in (truth, pred):
        if volume.ndim != 3:
            raise GeometryError(
                f"{volume.name}: labels of shape {volume.shape}", "three axes z, y, x", "choose one channel of it"
            )
    if not same_voxel_size(truth.voxel_size, pred.voxel_size):
        raise GeometryError(
            f"truth '{truth.name}' with voxel size {truth.voxel_size} nm and prediction '{pred.name}' with "
            f"{pred.voxel_size} nm",
            "one voxel size",
            "resample one of them, or give --voxel-size if the metadata is wrong",
        )
    placed = any(truth.offset) or any(pred.offset)
    same = (truth.box.start, truth.box.stop) == (pred.box.start, pred.box.stop)
    if not same and not (placed and pred.box.contains(truth.box)):
        raise GeometryError(
            f"truth '{truth.name}' at {truth.box.start}..{truth.box.stop} and prediction '{pred.name}' at "
            f"{pred.box.start}..{pred.box.stop} (voxels)",
            "a prediction of the truth's box, or of one that holds it",
            "name the part that is to be compared, as in seg.zarr[0:24,0:80,0:80], or set the attribute 'offset' (nm)",
        )
    return truth.box
