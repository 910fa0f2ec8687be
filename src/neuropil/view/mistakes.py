"""Where labels and the truth differ, voxel by voxel, worked out where somebody looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import GeometryError
from neuropil.geometry import Box, Int3
from neuropil.metrics.evaluate import volume_contingency
from neuropil.metrics.overlap import Contingency
from neuropil.report.mistakes import BORDER, MERGE, MISSED, SPLIT, error_classes, matched
from neuropil.view.scales import locked
from neuropil.volume import IGNORED_IDS, Volume

#: What the classes that are mistakes are called, in the order of the legend.
NAMES = {SPLIT: "split", MERGE: "merge", BORDER: "border", MISSED: "missed"}
_BLOCK: Int3 = (64, 256, 256)


class Mistakes:
    """The class of every voxel of `box` (see `neuropil.report.mistakes.error_classes`), a lazy array (Z, Y, X)."""

    writable = False
    dtype = np.dtype(np.uint8)

    def __init__(self, truth: Volume, labels: Volume, box: Box, table: Contingency) -> None:
        self.truth, self.labels, self.box, self.shape = truth, labels, box, box.shape
        self._truth_ids, self._pred_ids = _ids(table.truth), _ids(table.pred)
        t, p = numbered(table.truth, self._truth_ids), numbered(table.pred, self._pred_ids)
        small = Contingency(t.astype(np.uint64), p.astype(np.uint64), table.voxels, table.excluded)
        self._found = matched(small, len(self._truth_ids) - 1, len(self._pred_ids) - 1)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[np.uint8]:
        start = [k.start + s for k, s in zip(key, self.box.start, strict=True)]
        stop = [k.stop + s for k, s in zip(key, self.box.start, strict=True)]
        place = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), self.box.voxel_size)
        truth, pred = (
            numbered(self.truth.read(place), self._truth_ids),
            numbered(self.labels.read(place), self._pred_ids),
        )
        return error_classes(truth, pred, self._found)


def mistakes(truth: Volume, labels: Volume) -> Volume:
    """A volume of the classes of all voxels that both hold; both are read once, block by block, to match objects.

    Raises
    ------
    GeometryError
        If their voxel sizes differ, or they do not meet.
    """
    box = truth.box.intersected(labels.box)
    if box.size == 0:
        raise GeometryError(
            f"labels '{labels.name}' and truth '{truth.name}' do not meet: {labels.box.start}..{labels.box.stop} and "
            f"{truth.box.start}..{truth.box.stop} (voxels)",
            "volumes of one place",
            "set the attribute 'offset' (nm) of the one that lies elsewhere",
        )
    here = [locked(volume.crop(box)) for volume in (truth, labels)]
    table = volume_contingency(here[0], here[1], ignore_border_nm=None, block_shape=_BLOCK)
    array = Mistakes(here[0], here[1], box, table)
    # of a mask the coarser scales show the most frequent class, where an image would mix them
    return Volume(array, box.voxel_size, box.offset_nm, "zyx", "mask", name=f"mistakes of {labels.name}")


def numbered(labels: npt.NDArray[Any], ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The place of every label among sorted `ids`, of which the first is 0; 0 for what is none of them."""
    wide = labels.astype(np.uint64)
    at = np.minimum(np.searchsorted(ids, wide), len(ids) - 1)
    return np.where(ids[at] == wide, at, 0)


def _ids(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Sorted ids of objects, beginning with 0; what means background is none."""
    return np.union1d(np.zeros(1, np.uint64), values[values < min(IGNORED_IDS)])
