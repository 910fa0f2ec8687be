"""Meshes of labels, made one by one when they are asked for, at a scale of bounded size."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import fastremap
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from neuropil.geometry import Int3
from neuropil.io.meshes import INFO, encoded_mesh, mesh_files
from neuropil.post.cell import Cell
from neuropil.post.meshes import joined, surfaces
from neuropil.view.scales import Scale, scales_of, stored_scales
from neuropil.volume import IGNORED_IDS, Volume

#: Triangles are thinned to one in so many, as far as a voxel's edge allows.
_THINNED = 20
#: Most voxels that are read for one that is meshed: reading for meshes should not take minutes.
_CELL = 8
_BLOCK: Int3 = (128, 128, 128)
_ALONE = (False, False, False)


class Meshes:
    """Meshes of the objects of a label volume, in the legacy single-resolution format.

    Parameters
    ----------
    scale
        What is meshed; it is read whole when the first mesh is asked for.
    """

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self._lock = threading.Lock()
        self._read: tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], list[Any]] | None = None

    def get(self, path: str) -> bytes | None:
        """The info, a manifest `ID:0`, or the mesh `ID.mesh` (vertices in nm)."""
        if path == "info":
            return json.dumps(INFO).encode()
        if path.endswith(":0") and path[:-2].isdecimal():
            return mesh_files(int(path[:-2]), b"").get(path)
        name = path.removesuffix(".mesh")
        return self.mesh(int(name)) if path.endswith(".mesh") and name.isdecimal() else None

    def mesh(self, label: int) -> bytes | None:
        """The surface of one object, closed where the volume ends; None if there is no such object."""
        if not 0 < label < min(IGNORED_IDS):
            return None
        ids, index_ZYX, places = self._objects()
        at = int(np.searchsorted(ids, np.uint64(label)))
        if at >= len(ids) or int(ids[at]) != label:
            return None
        place, box = places[at - 1], self.scale.box
        z, y, x = (p.start + s for p, s in zip(place, box.start, strict=True))
        # all of the object is in this cell: nothing goes on beside it
        cell = Cell((z, y, x), _ALONE, _ALONE, box.voxel_size)
        body = (index_ZYX[place] == at).astype(np.uint32)
        found = surfaces(body, cell, thinned=_THINNED, error_nm=max(box.voxel_size))
        pieces = [(cell.start, piece) for piece in found.values()]
        return encoded_mesh(*joined(pieces, voxel_size=box.voxel_size, corner_nm=(0, 0, 0))) if pieces else None

    def largest(self, count: int) -> list[int]:
        """The ids of the objects of most voxels, largest first."""
        ids, index_ZYX, _ = self._objects()
        sizes = np.bincount(index_ZYX.ravel(), minlength=len(ids))[1:]
        order = np.argsort(-sizes, kind="stable")[:count]
        return [int(ids[i + 1]) for i in order]

    def _objects(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], list[Any]]:
        """Sorted ids beginning with 0, the place of each voxel's id among them, and the slices around each object."""
        with self._lock:
            if self._read is None:
                labels_ZYX = _whole(self.scale)
                labels_ZYX[labels_ZYX >= min(IGNORED_IDS)] = 0
                ids = np.union1d(np.zeros(1, np.uint64), fastremap.unique(labels_ZYX))
                table = {int(label): number for number, label in enumerate(ids)}
                index_ZYX = fastremap.remap(labels_ZYX, table).astype(np.int32)
                self._read = ids, index_ZYX, ndimage.find_objects(index_ZYX, len(ids) - 1)
            return self._read


def meshes_of(labels: Volume, most: int) -> Meshes | None:
    """Meshes of a label volume at its finest scale of at most `most` voxels, if it has one that small."""
    for scale in scales_of(labels, stored_scales(labels)):
        if scale.box.size <= most and math.prod(scale.cell) <= _CELL:
            return Meshes(scale)
    return None


def _whole(scale: Scale) -> npt.NDArray[np.uint64]:
    """All of a scale, read piece by piece."""
    labels_ZYX = np.zeros(scale.box.shape, np.uint64)
    for block in scale.box.blocks(_BLOCK):
        labels_ZYX[block.write.slices(scale.box.start)] = scale.read(block.write)
    return labels_ZYX
