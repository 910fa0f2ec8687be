"""A tree's nodes on an image: where a placing puts them, and how they stand out there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuropil.errors import InputError
from neuropil.geometry import Box, Float3
from neuropil.io.swc import placement
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Nodes and voxels of the image that are looked at.
_NODES, _VOXELS = 3000, 40_000
#: Images up to this many voxels are held in memory; of larger ones the blocks with nodes in them are read.
_HELD = 2**28
_BLOCK = (32, 256, 256)
#: Share by which nodes must more often be above than below what is around them (more, where these are few voxels), and
#: how far around, in voxels.
_STANDS_OUT, _FEW, _AROUND = 0.2, 3.0, (8.0, 24.0)
#: A tree that covers fewer voxels fits into any bright spot.
APART = 100


@dataclass(frozen=True)
class Placing:
    """A way to put a tree on an image: which of the file's z, y, x is which axis, what is mirrored, voxels of shift."""

    unit: str
    order: tuple[int, int, int] = (0, 1, 2)
    mirrored: tuple[bool, bool, bool] = (False, False, False)
    shift: tuple[int, int, int] = (0, 0, 0)

    def __str__(self) -> str:
        words = [f"unit {self.unit}"]
        if self.order != (0, 1, 2):
            words.append("columns in the order " + ", ".join("zyx"[i] for i in self.order[::-1]))
        words += [f"{'zyx'[i]} mirrored" for i in range(3) if self.mirrored[i]]
        if any(self.shift):
            words.append("shifted by {:+d}, {:+d}, {:+d} voxels (z, y, x)".format(*self.shift))
        return ", ".join(words)


class TreeOnImage:
    """The nodes of a file as they are written, and the grey values of an image under them.

    Parameters
    ----------
    raw
        The file's numbers in no unit, z, y, x.
    stated
        The unit that is stated, and the origin in nm that goes with it.
    """

    def __init__(self, raw: Skeleton, image: Volume, stated: tuple[str | None, Float3 | None]) -> None:
        if image.ndim != 3:
            raise InputError(f"{image.name} has {image.shape[0]} channels", "an image of one channel")
        self.raw, self.image, self.stated = raw, image, stated
        rng = np.random.default_rng(0)
        nodes = raw.nodes_nm if len(raw.nodes_nm) > _NODES // 10 else _filled(raw)
        self.nodes = nodes[np.sort(rng.permutation(len(nodes))[:_NODES])]
        self.held = image.read(image.box) if image.box.size <= _HELD else None
        self.background = np.sort(self.grey(_spread(image.box, rng))[0])
        self.sign = 1.0
        aside = rng.normal(size=(len(self.nodes), 3)) * (np.array(image.box.shape) > 1)
        length = np.maximum(np.linalg.norm(aside, axis=1), 1e-12)
        self._aside = np.round(aside * (rng.uniform(*_AROUND, len(aside)) / length)[:, None]).astype(np.int64)

    def place(self, nodes: Floats, how: Placing) -> Floats:
        """Positions in nm of nodes as they are written."""
        origin = self.stated[1] if how.unit == self.stated[0] else None
        scale, origin_nm = placement(how.unit, self.image.voxel_size, origin, self.image.name)
        placed = nodes[:, list(how.order)] * scale + origin_nm
        size = np.array(self.image.voxel_size)
        ends = (np.array(self.image.box.start) + self.image.box.stop) * size
        found: Floats = np.where(how.mirrored, ends - placed, placed) + np.array(how.shift) * size
        return found

    def voxels(self, how: Placing) -> Ints:
        """(N, 3) voxels of the nodes; the only section of a projection takes all."""
        found = np.floor(np.clip(self.place(self.nodes, how) / self.image.voxel_size, -1e9, 1e9) + 1e-6)
        if self.image.box.shape[0] == 1:
            found[:, 0] = self.image.box.start[0]
        return found.astype(np.int64)

    def grey(self, voxels: Ints) -> tuple[Floats, Bools]:
        """Grey values, 0 outside of the image, and which are inside."""
        box = self.image.box
        inside: Bools = np.all((voxels >= box.start) & (voxels < box.stop), axis=1)
        found: Floats = np.zeros(len(voxels))
        at = voxels[inside] - box.start
        if self.held is not None:
            found[inside] = self.held[tuple(at.T)]
            return found, inside
        blocks, which = np.unique(at // _BLOCK, axis=0, return_inverse=True)
        values = np.empty(len(at))
        for i in range(len(blocks)):
            mine = np.flatnonzero(which.ravel() == i)
            low, high = at[mine].min(axis=0), at[mine].max(axis=0) + 1
            part = self.image.read(_box(low + box.start, high + box.start, box.voxel_size))
            values[mine] = part[tuple((at[mine] - low).T)]
        found[inside] = values
        return found, inside

    def ranks(self, voxels: Ints) -> Floats:
        """2 rank - 1 of grey values among those of the image, 0 outside of it."""
        grey, inside = self.grey(voxels)
        low, high = (np.searchsorted(self.background, grey, side=side) for side in ("left", "right"))
        return np.where(inside, (low + high) / len(self.background) - 1, 0.0)

    def witness(self, how: Placing) -> tuple[float, float]:
        """Mean of 2 rank - 1 over the nodes, and how far chance could take it from 0."""
        voxels = self.voxels(how)
        # nodes crowded into few voxels, as by a wrong unit, are few witnesses
        return float(self.ranks(voxels).mean()), 2 / math.sqrt(3 * _distinct(voxels))

    def score(self, how: Placing) -> float:
        """How well the nodes stand out from the image, up to 1, on the side of `sign`: 1 bright, -1 dark."""
        mean, chance = self.witness(how)
        return self.sign * mean - chance

    def stands_out(self, how: Placing) -> bool:
        """Whether the nodes stand out from what is around them, too."""
        voxels = self.voxels(how)
        (grey, inside), (around, also) = self.grey(voxels), self.grey(voxels + self._aside)
        more = np.where(inside & also, np.sign(grey - around), 0.0)
        apart = _distinct(voxels)
        enough = _STANDS_OUT + _FEW / math.sqrt(apart)
        return apart >= min(APART, len(voxels) // 4) and bool(self.sign * more.mean() >= enough)


def _filled(raw: Skeleton) -> Floats:
    """Nodes of a sparse tree, with points between them."""
    length = raw.length_nm()
    return raw.resampled(length / _NODES).nodes_nm if length > 0 else raw.nodes_nm


def _spread(box: Box, rng: np.random.Generator) -> Ints:
    """Voxels all over an image; of one that is not held in memory, in a few pieces."""
    shape = np.array(box.shape)
    if box.size <= _HELD:
        flat = rng.integers(0, box.size, _VOXELS)
        return np.stack(np.unravel_index(flat, box.shape), 1) + box.start
    corner = rng.integers(0, np.maximum(1, shape - 32), (_VOXELS // 1000, 3)).repeat(1000, axis=0)
    voxels: Ints = np.minimum(corner + rng.integers(0, 32, (len(corner), 3)), shape - 1) + box.start
    return voxels


def _distinct(voxels: Ints) -> int:
    """How many different voxels these are."""
    near = np.clip(voxels - voxels.min(axis=0), 0, 2**21 - 1)
    return len(np.unique((near[:, 0] << 42) | (near[:, 1] << 21) | near[:, 2]))


def _box(low: Ints, high: Ints, voxel_size: Float3) -> Box:
    return Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])), voxel_size)
