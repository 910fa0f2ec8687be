"""The scales of a volume as they are served: its own, those stored beside it, and coarser ones made on the way."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import NeuropilError
from neuropil.geometry import Box, Int3
from neuropil.io.base import read_json
from neuropil.io.ome import multiscales_of, read_node
from neuropil.io.precomputed import PrecomputedArray
from neuropil.io.pyramid import downsampled, level_factors
from neuropil.io.zarr_array import ZarrArray
from neuropil.lazy import Arranged, Array
from neuropil.remote import Place
from neuropil.volume import Volume, open_volume

#: Voxels along the edge of the pieces that are served.
CHUNK: Int3 = (64, 64, 64)
#: Most voxels that are read for one voxel of a coarser scale; beyond, a scale has to be stored.
_MOST = 64


@dataclass(frozen=True)
class Scale:
    """One scale, `factor` times as coarse as the volume: read from `source` and made coarser by `steps`, in turn."""

    factor: Int3
    box: Box
    source: Volume
    steps: tuple[Int3, ...] = ()

    @property
    def cell(self) -> Int3:
        """How many voxels of the source make one of this scale."""
        z, y, x = (math.prod(step[axis] for step in self.steps) for axis in range(3))
        return z, y, x

    def read(self, box: Box) -> npt.NDArray[Any]:
        """The voxels of `box`, on the grid of this scale: (Z, Y, X) or (C, Z, Y, X)."""
        if not self.steps:
            return self.source.read(box)
        start = [s * f for s, f in zip(box.start, self.cell, strict=True)]
        stop = [s * f for s, f in zip(box.stop, self.cell, strict=True)]
        fine = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), self.source.voxel_size)
        fine = fine.intersected(self.source.box)
        data = self.source.read(fine)
        # cells lie on the grid of the world, so the first one may be cut
        front = [(low - s, 0) for low, s in zip(fine.start, start, strict=True)]
        data = np.pad(data, [(0, 0)] * (data.ndim - 3) + front, mode="edge")
        for step in self.steps:
            data = downsampled(data, step, self.source.kind)
        return data


class Locked:
    """An array that is read by one thread at a time: files and their caches are not made for more."""

    writable = False

    def __init__(self, source: Array) -> None:
        self.source, self.shape, self.dtype = source, tuple(source.shape), np.dtype(source.dtype)
        self._lock = threading.Lock()

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        with self._lock:
            return self.source[key]

    def close(self) -> None:
        """Let go of the file."""
        getattr(self.source, "close", lambda: None)()


def locked(volume: Volume) -> Volume:
    """The same volume, to be read from several threads."""
    kind = volume.kind if volume.kind_stated else None
    size, offset = volume.voxel_size, volume.offset
    return Volume(Locked(volume.array), size, offset, volume.axes, kind, attrs=volume.attrs, name=volume.name)


def stored_scales(volume: Volume) -> list[Volume]:
    """The coarser scales that lie beside a volume on disk, finest first: none for what has none, or is a part."""
    array = volume.array
    while isinstance(array, Locked | Arranged):
        array = array.source
    names: list[str] = []
    if isinstance(array, PrecomputedArray):
        names = _keys(array)
    elif isinstance(array, ZarrArray):
        names = _datasets(array)
    found = []
    for name in names:
        try:
            found.append(open_volume(name, kind=volume.kind))
        except NeuropilError:
            return []  # without their pyramid volumes are shown all the same, only not from afar
    return [v for v in found if v.axes == volume.axes and v.shape[:-3] == volume.shape[:-3]]


def scales_of(volume: Volume, stored: list[Volume]) -> list[Scale]:
    """All scales from the finest: stored ones that fit, then such as can be made of the last one while being read."""
    scales = [Scale((1, 1, 1), volume.box, volume)]
    for level in stored:
        factor = _factor(volume, level)
        if factor is not None and factor > scales[-1].factor:
            scales.append(Scale(factor, level.box, locked(level)))
    last, steps = scales[-1], tuple[Int3, ...]()
    for step in level_factors(last.box.shape, last.box.voxel_size, CHUNK):
        steps = (*steps, step)
        coarse = Scale(last.factor, last.box, last.source, steps)
        if math.prod(coarse.cell) > _MOST:
            break
        z, y, x = (a * b for a, b in zip(last.factor, coarse.cell, strict=True))
        scales.append(Scale((z, y, x), coarse_box(last.box, coarse.cell), last.source, steps))
    return scales


def coarse_box(box: Box, cell: Int3) -> Box:
    """The cells of `cell` voxels, on the grid of the world, that a box has a part of."""
    z, y, x = (a * b for a, b in zip(box.voxel_size, cell, strict=True))
    start = [s // f for s, f in zip(box.start, cell, strict=True)]
    stop = [-(-s // f) for s, f in zip(box.stop, cell, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), (z, y, x))


def _factor(volume: Volume, level: Volume) -> Int3 | None:
    """How many times as coarse a stored scale is, if its voxels are whole cells of the world's grid."""
    z, y, x = (round(b / a) for a, b in zip(volume.voxel_size, level.voxel_size, strict=True))
    if min(z, y, x) < 1:
        return None
    cells = coarse_box(volume.box, (z, y, x))
    exact = np.allclose(cells.voxel_size, level.voxel_size, rtol=1e-3)
    same = (cells.start, cells.stop) == (level.box.start, level.box.stop)
    aligned = all(s % f == 0 for s, f in zip(volume.box.start, (z, y, x), strict=True))
    return (z, y, x) if exact and same and aligned else None


def _keys(array: PrecomputedArray) -> list[str]:
    """Names of the further scales of a precomputed volume, if this is its first."""
    keys = [str(scale["key"]) for scale in read_json(array.path / "info", "precomputed")["scales"]]
    return [f"{array.path}:{key}" for key in keys[1:]] if array.name == f"{array.path}:{keys[0]}" else []


def _datasets(array: ZarrArray) -> list[str]:
    """Names of the further levels of the OME-Zarr group that begins with this array."""
    above: Place = array.path.absolute().parents[0]
    group = read_node(above)
    multiscales = multiscales_of(group.attrs) if group is not None and not group.array else None
    paths = [str(level["path"]) for level in multiscales["datasets"]] if multiscales else []
    return [f"{above}:{path}" for path in paths[1:]] if paths and paths[0] == array.path.name else []
