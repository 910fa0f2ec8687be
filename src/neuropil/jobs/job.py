"""One segmentation that is cut into tasks: everything a worker must know, and where everything lies.

::

    seg.zarr                  the labels, there when they are whole (or seg.precomputed);
      skeletons/ swc/ meshes/   in their folder, what was asked for of their objects
    seg.blocks/               all that made them; delete it when thresholds need no more changing
      affinities.zarr         what was predicted (or prediction.zarr), when a run was given
      pieces.zarr             fragments in pieces, numbered block by block
      parts/ faces/ pairs/    what is known of pieces; pieces at the faces; which pieces are one
      numbers/                fragment of every piece
      contract/               contacts that boxes of blocks completed, their merges, and what they left
      graph/                  contacts of fragments (of neurons, those not in boxes), merge tree with its scores
      objects/                object of every piece, at the threshold; size of every object
      skeletons/ meshes/      what objects have in each cell, and which cell puts them together
      labels.zarr             until they are whole
      plan.json done/ ...     see `neuropil.infer.ledger`
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.config.objects import ObjectsConfig
from neuropil.errors import VolumeError
from neuropil.geometry import Block, Box, Int3
from neuropil.infer.ledger import Ledger
from neuropil.jobs.cells import Cells, cells_of
from neuropil.jobs.labels import Level, levels
from neuropil.jobs.objects import kinds
from neuropil.post.blocks import Cutting
from neuropil.post.decoders import Decoder, contracts
from neuropil.urls import split_url
from neuropil.volume import Volume

PIECES = "pieces.zarr"
#: What the names of the stages begin with that merge contacts in boxes of blocks; the blocks a side of a box follow.
CONTRACT = "contract_"
_CHUNK = 64
_FLAT_CHUNK = (16, 128, 128)


@dataclass(frozen=True)
class FromRun:
    """What is predicted first: with a run directory, of the image, under settings over the run's.

    Parameters
    ----------
    steps
        Of the channels.
    kind, attrs
        Of what is stored.
    """

    run: str
    image: Volume
    words: tuple[str, ...]
    steps: tuple[Int3, ...]
    kind: str
    attrs: Mapping[str, Any] = field(compare=False)

    @property
    def place(self) -> str:
        """Its name in the folder of work."""
        return predicted_name(self.kind)


@dataclass(frozen=True)
class Job:
    """A segmentation in blocks, as it is sent to workers.

    Parameters
    ----------
    out
        Where the labels go.
    like
        A volume with the grid and place of the result: the prediction, or the image that it is made of.
    decoder
        How a prediction becomes objects.
    block
        Voxels z, y, x.
    key
        Digest of all that decides the result and its parts.
    predict
        Where the prediction comes from, if it is not there yet.
    graph_of
        Another job's folder, whose pieces and graph are cut as this job's decoder says.
    threads
        That a worker may use for a network.
    objects
        What is made of the objects.
    """

    out: Path
    like: Volume
    decoder: Decoder
    block: Int3
    key: str
    predict: FromRun | None = None
    graph_of: Path | None = None
    threads: int | None = field(default=None, compare=False)
    objects: ObjectsConfig = field(default_factory=ObjectsConfig)

    @property
    def folder(self) -> Path:
        """Where the work is kept."""
        return folder_of(self.out)

    @property
    def ledger(self) -> Ledger:
        """What is done."""
        return Ledger(self.folder, self.key, ((self.labels, self.out),))

    @property
    def labels(self) -> str:
        """The name of the labels in the folder, until they are whole."""
        return f"labels{self.out.suffix}"

    @property
    def volume(self) -> Box:
        """All voxels."""
        return self.like.box

    @property
    def cut(self) -> Cutting:
        """How far blocks see."""
        return self.decoder.cut

    @property
    def source(self) -> Volume:
        """The prediction."""
        from neuropil.io.zarr import open_level

        return self.like if self.predict is None else open_level(self.folder / self.predict.place)

    @property
    def pieces(self) -> Path:
        """Folder that holds pieces and graph: this job's own, or the other's."""
        return self.graph_of or self.folder

    @property
    def sides(self) -> list[int]:
        """Blocks a side of the boxes in which contacts are merged, smallest first; none: one process merges them."""
        if not contracts(self.decoder):
            return []
        return [2**level for level in range((max(self.grid()) - 1).bit_length())]

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
            boxed = [(f"{CONTRACT}{side}", math.prod(-(-n // side) for n in self.grid())) for side in self.sides]
            first += [("fragments", count), ("faces", count), ("numbers", 1), *boxed, ("graph", 1)]
        coarser = [(level.name, level.tasks) for level in self.levels()[1:]]
        cells, last = len(self.cells()), []
        for kind in kinds(self.objects):
            last += [(f"{kind.stem}_parts", cells), (f"{kind.stem}_index", 1), (kind.name, cells)]
        return [*first, ("objects", 1), ("labels", count), *coarser, *last]

    def levels(self) -> list[Level]:
        """All levels of the labels, the same whatever the blocks."""
        return levels(self.out.suffix, self.volume, self.usual_chunk())

    def cells(self) -> Cells:
        """Where objects are skeletonised and meshed."""
        return cells_of(self.levels(), self.objects)

    def usual_chunk(self) -> Int3:
        """Chunks of a volume whose blocks may have any shape."""
        wide = self.volume.voxel_size[0] >= 3 * max(self.volume.voxel_size[1:])
        return _FLAT_CHUNK if wide else (_CHUNK, _CHUNK, _CHUNK)

    def chunk(self) -> Int3:
        """Chunks of what is written in whole blocks: of the usual shape where that divides the block."""
        z, y, x = (c if b % c == 0 else b for b, c in zip(self.block, self.usual_chunk(), strict=True))
        return z, y, x


def folder_of(out: str | os.PathLike[str]) -> Path:
    """The folder of work beside an output (or itself, if that is what was given)."""
    path = Path(out)
    return path if path.suffix == ".blocks" else path.with_suffix(".blocks")


def predicted_name(kind: str) -> str:
    """What a prediction of a kind is called in the folder of work."""
    return f"{kind}.zarr"


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
