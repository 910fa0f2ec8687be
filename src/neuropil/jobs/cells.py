"""The fixed grid of cells in which objects are skeletonised and meshed, and tables of what each object has in a cell.

Cells lie on a level of the labels and begin at its first voxel. They depend on the labels and on `objects` alone, so
neither blocks nor workers show in what is made in them.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastremap
import numpy as np
import numpy.typing as npt

from neuropil.config.objects import ObjectsConfig
from neuropil.errors import VolumeError
from neuropil.geometry import Box, Float3, Int3
from neuropil.jobs.labels import Level
from neuropil.post.cell import Cell
from neuropil.volume import Volume

#: Arrays of one object in one cell, by name.
Row = Mapping[str, npt.NDArray[Any]]
_LEAST_CELL = 8


@dataclass(frozen=True)
class Cells:
    """A grid of cells over one level.

    Parameters
    ----------
    level
        Of the labels.
    size
        Voxels z, y, x of a cell.
    """

    level: Level
    size: Int3

    @property
    def grid(self) -> Int3:
        """Cells along z, y, x."""
        z, y, x = (-(-n // s) for n, s in zip(self.level.shape, self.size, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return math.prod(self.grid)

    def cell(self, number: int) -> Cell:
        """One cell."""
        at = [int(i) for i in np.unravel_index(number, self.grid)]
        below = (at[0] > 0, at[1] > 0, at[2] > 0)
        z, y, x = (i + 1 < n for i, n in zip(at, self.grid, strict=True))
        return Cell(self.start(number), below, (z, y, x), self.level.voxel_size)

    def start(self, number: int) -> Int3:
        """Index in the level of a cell's first voxel."""
        z, y, x = (int(i) * s for i, s in zip(np.unravel_index(number, self.grid), self.size, strict=True))
        return z, y, x

    def shape(self, number: int, *, shared: bool) -> Int3:
        """Extent of a cell, with the plane on each upper side that it shares with the next cell, if asked for."""
        z, y, x = (
            min(a + s + int(shared), n) - a
            for a, s, n in zip(self.start(number), self.size, self.level.shape, strict=True)
        )
        return z, y, x

    def read(self, labels: Volume, number: int) -> npt.NDArray[np.uint64]:
        """The voxels of a cell and of the planes that it shares with later ones."""
        start = tuple(a + b for a, b in zip(labels.box.start, self.start(number), strict=True))
        stop = tuple(a + n for a, n in zip(start, self.shape(number, shared=True), strict=True))
        return np.asarray(labels.read(Box(start, stop, labels.voxel_size)), np.uint64)  # type: ignore[arg-type]


def cells_of(found: Sequence[Level], config: ObjectsConfig) -> Cells:
    """The cells that settings ask for, on the coarsest of some levels whose voxels are fine enough."""
    fine = [level for level in found if _finest(level) <= config.voxel_nm]
    level = fine[-1] if fine else found[0]
    z, y, x = (max(_LEAST_CELL, round(config.cell * _finest(level) / v)) for v in level.voxel_size)
    return Cells(level, (z, y, x))


def _finest(level: Level) -> float:
    return min((v for v, n in zip(level.voxel_size, level.shape, strict=True) if n > 1), default=min(level.voxel_size))


def numbered(
    labels_ZYX: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64], least: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """The objects of a cell that have at least so many voxels in the volume, ascending, and their voxels as 1, 2, ...

    Parameters
    ----------
    sizes
        Voxels of every object, by its id.
    """
    ids, at = fastremap.unique(labels_ZYX, return_inverse=True)
    kept = (ids > 0) & (sizes[ids.astype(np.int64)] >= least)
    table = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)
    return ids[kept], table[at].reshape(labels_ZYX.shape)


def packed(rows: Mapping[int, Row]) -> dict[str, npt.NDArray[Any]]:
    """One table of the arrays of many objects, in order of their ids."""
    ids = sorted(rows)
    table: dict[str, npt.NDArray[Any]] = {"ids": np.array(ids, np.uint64)}
    for name in rows[ids[0]] if ids else ():
        parts = [rows[label][name] for label in ids]
        table[name] = np.concatenate(parts)
        table[f"{name}_ends"] = np.cumsum([len(part) for part in parts])
    return table


def unpacked(table: Mapping[str, npt.NDArray[Any]], labels: npt.NDArray[np.uint64]) -> Iterator[tuple[int, Row]]:
    """The arrays of those objects that are in a table."""
    ids = table["ids"]
    names = [name.removesuffix("_ends") for name in table if name.endswith("_ends")]
    for at in np.flatnonzero(np.isin(ids, labels)):
        ends = {name: table[f"{name}_ends"] for name in names}
        yield int(ids[at]), {name: table[name][ends[name][at - 1] if at else 0 : ends[name][at]] for name in names}


def owners(ids: Sequence[npt.NDArray[np.uint64]]) -> list[dict[str, npt.NDArray[Any]]]:
    """Which objects each cell is to put together, the first one that an object is in, and from which cells.

    Parameters
    ----------
    ids
        The objects of every cell.

    Returns
    -------
    list of dict
        A table (see `packed`) a cell, of `cells` for each object.
    """
    cell = np.repeat(np.arange(len(ids)), [len(i) for i in ids])
    label = np.concatenate(ids)
    order = np.lexsort((cell, label))
    label, cell = label[order], cell[order]
    starts = np.flatnonzero(np.r_[True, label[1:] != label[:-1]][: len(label)])
    tables: list[dict[int, Row]] = [{} for _ in ids]
    for low, high in zip(starts, np.r_[starts[1:], len(label)], strict=True):
        tables[cell[low]][int(label[low])] = {"cells": cell[low:high].astype(np.int64)}
    return [packed(table) for table in tables]


def as_bytes(table: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """A table as the bytes of an NPZ file, the same for the same table."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **table)  # type: ignore[arg-type]
    return buffer.getvalue()


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A table whose arrays are read when they are asked for.

    Raises
    ------
    VolumeError
        If it is not there, or damaged.
    """
    what, fix = "what an earlier task made", "run it again"
    try:
        table = np.load(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise VolumeError(f"'{path}' cannot be read ({error})", what, fix) from error
    with table:
        try:
            yield table
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:  # of arrays that are read here; no one else's
            raise VolumeError(f"'{path}' cannot be read ({error})", what, fix) from error


def read_table(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All of a table; see `opened`."""
    with opened(path) as table:
        return {name: table[name] for name in table.files}


def share(cells: Cells, number: int, voxel_size: Float3) -> int:
    """How many voxels of another size a cell holds."""
    ratio = math.prod(a / b for a, b in zip(cells.level.voxel_size, voxel_size, strict=True))
    return round(math.prod(cells.shape(number, shared=False)) * ratio)
