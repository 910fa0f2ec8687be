"""One segmentation that is cut into tasks: everything a worker must know, and where everything lies.

::

    seg.zarr                  the labels, there when they are whole
    seg.blocks/               all that made them; delete it when thresholds need no more changing
      affinities.zarr         what was predicted, when a run was given
      pieces.zarr             fragments in pieces, numbered block by block
      parts/ faces/ pairs/    contacts of pieces; pieces at the faces; which pieces are one
      graph/                  fragment of every piece; contacts of fragments; merge tree with its scores
      objects/                object of every piece, at the threshold
      labels.zarr             until they are whole
      plan.json done/ ...     see `neuropil.infer.ledger`
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.affinities import Offsets
from neuropil.config import SegmentConfig
from neuropil.errors import VolumeError
from neuropil.geometry import Block, Box, Int3
from neuropil.infer.ledger import Ledger
from neuropil.io.pyramid import level_factors
from neuropil.post.blocks import Cutting, cutting
from neuropil.urls import split_url
from neuropil.volume import Volume

AFFINITIES, PIECES, LABELS = "affinities.zarr", "pieces.zarr", "labels.zarr"
_CHUNK = 64
_FLAT_CHUNK = (16, 128, 128)


@dataclass(frozen=True)
class FromRun:
    """What the affinities are predicted with: a run directory, the image, and settings over the run's."""

    run: str
    image: Volume
    words: tuple[str, ...]
    steps: tuple[Int3, ...]


@dataclass(frozen=True)
class Job:
    """A segmentation in blocks, as it is sent to workers.

    Parameters
    ----------
    out
        Where the labels go.
    like
        A volume with the grid and place of the result: the affinities, or the image that they are predicted from.
    offsets
        Of the affinities.
    config
        How to segment; the threshold is set.
    block
        Voxels z, y, x.
    key
        Digest of all that decides the result and its parts.
    predict
        Where the affinities come from, if they are not there yet.
    graph_of
        Another job's folder, whose pieces and graph are cut at this job's threshold.
    threads
        That a worker may use for a network.
    """

    out: Path
    like: Volume
    offsets: Offsets
    config: SegmentConfig
    block: Int3
    key: str
    predict: FromRun | None = None
    graph_of: Path | None = None
    threads: int | None = field(default=None, compare=False)

    @property
    def folder(self) -> Path:
        """Where the work is kept."""
        return folder_of(self.out)

    @property
    def ledger(self) -> Ledger:
        """What is done."""
        return Ledger(self.folder, self.key, ((LABELS, self.out),))

    @property
    def volume(self) -> Box:
        """All voxels."""
        return self.like.box

    @property
    def cut(self) -> Cutting:
        """How far blocks see."""
        return cutting(self.offsets, self.like.voxel_size, self.config)

    @property
    def source(self) -> Volume:
        """The affinities."""
        from neuropil.io.zarr import open_level

        return self.like if self.predict is None else open_level(self.folder / AFFINITIES)

    @property
    def pieces(self) -> Path:
        """Folder that holds pieces and graph: this job's own, or the other's."""
        return self.graph_of or self.folder

    def grid(self) -> Int3:
        """Blocks along z, y, x."""
        z, y, x = (-(-n // b) for n, b in zip(self.volume.shape, self.block, strict=True))
        return z, y, x

    def numbered_block(self, number: int) -> Block:
        """A block by its number in z, y, x order."""
        z, y, x = (int(i) for i in np.unravel_index(number, self.grid()))
        return self.block_at((z, y, x))

    def block_at(self, index: Int3) -> Block:
        """A block by its place in the grid, which begins at the volume's first voxel."""
        z, y, x = (a + i * b for a, i, b in zip(self.volume.start, index, self.block, strict=True))
        tz, ty, tx = (min(s + b, e) for s, b, e in zip((z, y, x), self.block, self.volume.stop, strict=True))
        write = Box((z, y, x), (tz, ty, tx), self.volume.voxel_size)
        return Block(index, write, write)

    def number_of(self, index: Int3) -> int:
        """The number of the block at a place in the grid."""
        return int(np.ravel_multi_index(index, self.grid()))

    def stages(self) -> list[tuple[str, int]]:
        """Stages in their order, with the number of their tasks."""
        count = math.prod(self.grid())
        first = [] if self.predict is None else [("predict", count)]
        if self.graph_of is None:
            first += [("fragments", count), ("faces", count), ("graph", 1)]
        return [*first, ("objects", 1), ("labels", count), *self.levels()]

    def levels(self) -> list[tuple[str, int]]:
        """Coarser levels of the labels, with the number of their shards."""
        from neuropil.io.zarr_array import default_layout

        shape, voxel = list(self.volume.shape), self.volume.voxel_size
        found = []
        for number, factor in enumerate(level_factors(shape, voxel, self.chunk()), start=1):
            shape = [-(-n // f) for n, f in zip(shape, factor, strict=True)]
            voxel = (voxel[0] * factor[0], voxel[1] * factor[1], voxel[2] * factor[2])
            _, shard = default_layout(shape, voxel)
            found.append((f"s{number}", math.prod(-(-n // s) for n, s in zip(shape, shard, strict=True))))
        return found

    def chunk(self) -> Int3:
        """Chunks of what is written in whole blocks: of the usual shape where that divides the block."""
        wide = self.volume.voxel_size[0] >= 3 * max(self.volume.voxel_size[1:])
        usual = _FLAT_CHUNK if wide else (_CHUNK,) * 3
        z, y, x = (c if b % c == 0 else b for b, c in zip(self.block, usual, strict=True))
        return z, y, x


def folder_of(out: str | os.PathLike[str]) -> Path:
    """The folder of work beside an output (or itself, if that is what was given)."""
    path = Path(out)
    return path if path.suffix == ".blocks" else path.with_suffix(".blocks")


def _place(name: str) -> str:
    """The name of a volume, the same from whatever folder its file was named."""
    try:
        split_url(name)
    except VolumeError:
        return name  # of no file: it is in memory, or on a server
    return os.path.abspath(name)


def identity(volume: Volume) -> dict[str, Any]:
    """What tells a volume from another: its name, grid and type, and the bytes at its two ends and its middle."""
    import hashlib

    box, state = volume.box, hashlib.blake2b(digest_size=16)
    for share in (0.0, 0.5, 1.0):
        z, y, x = (a + round(share * max(0, n - 8)) for a, n in zip(box.start, box.shape, strict=True))
        probe = Box((z, y, x), (z + 8, y + 8, x + 8), box.voxel_size).intersected(box)
        state.update(np.ascontiguousarray(volume.read(probe)).tobytes())
    return {
        "name": _place(volume.name),
        "shape": list(volume.shape),
        "dtype": str(volume.dtype),
        "voxel_size": list(volume.voxel_size),
        "start": list(box.start),
        "probes": state.hexdigest(),
    }
