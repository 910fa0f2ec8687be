"""One block of a large volume: its own fragments and contacts, and what joins them to those of other blocks.

A block works on the voxels that it writes and on a margin, as wide as its longest edge, in which every link is that of
the whole volume. The fragments found there are pieces of the whole's: two pieces that share a voxel of a margin belong
together (`neuropil.post.stitch`). Each edge is counted once, by the later of the blocks that write its ends, so the
integer contacts of all blocks add up to those of the whole, **whatever the blocks**.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets, as_offsets
from neuropil.config import SegmentConfig
from neuropil.errors import ConfigError
from neuropil.geometry import Box, Float3, Int3
from neuropil.post import ascent
from neuropil.post.filters import biased
from neuropil.post.fragments import as_bytes, halo, join_rule, links, nearest_edges
from neuropil.post.graph import Channel, RegionGraph, contacts, is_near

Slabs: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Pieces:
    """What one block knows of what its voxels belong to.

    Parameters
    ----------
    labels_ZYX
        int32 pieces 1 .. n of the voxels that the block writes (some pieces lie in the margin only); 0 = background.
    first
        (n,) int64: flat index in the volume of the first voxel of every piece.
    margins
        Pieces of the voxels around the block that earlier blocks write: below z, below y, below x; see `margin_boxes`.
    rims
        Pieces at the block's own upper ends, as deep as a margin is wide: what later blocks compare theirs with.
    """

    labels_ZYX: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]
    margins: Slabs
    rims: Slabs


@dataclass(frozen=True)
class BlockPart:
    """Pieces of fragments, and their contacts.

    Parameters
    ----------
    pieces
        See `Pieces`.
    near, far
        Contacts by nearest edges (with the sizes of the pieces inside the block), and by longer ones.
    """

    pieces: Pieces
    near: RegionGraph
    far: RegionGraph


@dataclass(frozen=True)
class Cutting:
    """How far a block must see.

    Parameters
    ----------
    channels
        Indices of the affinity channels that are used, and their steps as stored.
    margin
        Voxels z, y, x by which the pieces reach beyond the block.
    read
        Voxels z, y, x by which a block must be grown (and clipped to the volume) for reading.
    """

    channels: tuple[int, ...]
    offsets: Offsets
    margin: Int3
    read: Int3


def cutting(offsets: Sequence[Sequence[int]], voxel_size: Float3, config: SegmentConfig) -> Cutting:
    """What blocks of a volume need under these settings.

    Raises
    ------
    ConfigError
        If the fragments would depend on the block.
    """
    if config.fragments.method != "ascent":
        raise ConfigError(
            f"segment.fragments.method = {config.fragments.method} in blocks",
            "'ascent': flooding depends on where the blocks end",
            "drop the setting, or allow enough --memory to segment the volume as one",
        )
    steps = as_offsets(offsets)
    used = [c for c, step in enumerate(steps) if is_near(step) or config.long_range]
    z, y, x = (max(1, *(abs(steps[c][axis]) for c in used)) for axis in range(3))
    hz, hy, hx = halo(voxel_size, config.fragments)
    return Cutting(tuple(used), tuple(steps[c] for c in used), (z, y, x), (z + hz, y + hy, x + hx))


def block_part(
    aff_CZYX: npt.NDArray[Any], cut: Cutting, config: SegmentConfig, *, write: Box, volume: Box
) -> BlockPart:
    """Pieces and contacts of one block.

    Parameters
    ----------
    aff_CZYX
        The channels `cut.channels` of the voxels of `read_box(cut, write, volume)`, uint8 or float 0..1.
    cut
        See `cutting`.
    config
        With a bias for each channel of the volume, or none.
    write, volume
        The voxels of the block, and all there are.

    Raises
    ------
    InputError
        If the affinities cannot be used.
    """
    bias = [config.bias[c] for c in cut.channels] if config.bias else []
    aff = biased(as_bytes(aff_CZYX, cut.offsets), bias)
    read, wide = read_box(cut, write, volume), write.grown(cut.margin).intersected(volume)
    z, y, x = wide.slices(read.start)
    edges = nearest_edges(aff, cut.offsets)
    found = links(edges, volume.voxel_size, config.fragments, (z, y, x))
    pieces = np.empty(wide.shape, np.int32)
    rule = join_rule(volume.voxel_size, config.fragments)
    _close(found.code_ZYX)
    n = ascent.join_links(found.code_ZYX, found.core_ZYX, np.ascontiguousarray(edges[:, z, y, x]), rule, pieces)
    own = shared(pieces, int(n), cut, write=write, volume=volume)
    sizes = sizes_of(own)
    near, far = _channels(pieces, aff[:, z, y, x], cut, write, volume)
    histograms = config.score == "quantile"
    return BlockPart(
        own,
        contacts(near, [], sizes, histograms=histograms),
        contacts(far, [], np.zeros(0, np.int64), histograms=histograms),
    )


def shared(pieces_ZYX: npt.NDArray[np.int32], n: int, cut: Cutting, *, write: Box, volume: Box) -> Pieces:
    """What a block tells others of its pieces.

    Parameters
    ----------
    pieces_ZYX
        1 .. n in order of first voxel, of the voxels of the block and its margin on all sides. Those that lie beyond
        what earlier blocks and this one write become background, and the others are renumbered, **in place**.
    """
    wide = write.grown(cut.margin).intersected(volume)
    boxes = (write, *margin_boxes(cut, write, volume))
    n = _drop_unshared(pieces_ZYX, [pieces_ZYX[box.slices(wide.start)] for box in boxes], n)
    first = np.empty(n, np.int64)
    _first_places(pieces_ZYX, np.subtract(wide.start, volume.start), np.array(volume.shape), first)
    own, *margins = (np.ascontiguousarray(pieces_ZYX[box.slices(wide.start)]) for box in boxes)
    rims = (np.ascontiguousarray(pieces_ZYX[box.slices(wide.start)]) for box in rim_boxes(cut, write))
    return Pieces(own, first, tuple(margins), tuple(rims))  # type: ignore[arg-type]


def sizes_of(pieces: Pieces) -> npt.NDArray[np.int64]:
    """(n + 1,) voxels of every piece inside the block; entry 0 is background."""
    return np.bincount(pieces.labels_ZYX.ravel(), minlength=len(pieces.first) + 1).astype(np.int64)


def read_box(cut: Cutting, write: Box, volume: Box) -> Box:
    """The voxels that a block must be given."""
    return write.grown(cut.read).intersected(volume)


def margin_boxes(cut: Cutting, write: Box, volume: Box) -> tuple[Box, Box, Box]:
    """The margin of a block as far as earlier blocks (in z, y, x order) write it: below in z, in y, and in x."""
    wide = write.grown(cut.margin).intersected(volume)
    (z, y, x), (_, ty, tx) = wide.start, wide.stop
    (wz, wy, wx), (sz, sy, _) = write.start, write.stop
    size = write.voxel_size
    return Box((z, y, x), (wz, ty, tx), size), Box((wz, y, x), (sz, wy, tx), size), Box((wz, wy, x), (sz, sy, wx), size)


def rim_boxes(cut: Cutting, write: Box) -> tuple[Box, Box, Box]:
    """The upper ends of a block, as deep as margins are wide: all that a later block's margins can share with it."""
    z, y, x = (max(a, b - m) for a, b, m in zip(write.start, write.stop, cut.margin, strict=True))
    (wz, wy, wx), size = write.start, write.voxel_size
    return (
        Box((z, wy, wx), write.stop, size),
        Box((wz, y, wx), write.stop, size),
        Box((wz, wy, x), write.stop, size),
    )


def _drop_unshared(pieces: npt.NDArray[np.int32], parts: Sequence[npt.NDArray[np.int32]], n: int) -> int:
    """Make background of the pieces that lie in none of the parts, which later blocks know; how many are left."""
    known = np.zeros(n + 1, np.bool_)
    for part in parts:
        known[part.ravel()] = True
    known[0] = False
    numbers = np.where(known, np.cumsum(known), 0).astype(np.int32)
    np.take(numbers, pieces, out=pieces)
    return int(known.sum())


def _close(code_ZYX: npt.NDArray[np.uint8]) -> None:
    """Let what points out of the array point to itself: another block follows that link."""
    step = np.indices((3, 3, 3)).reshape(3, 27) - 1
    for axis in range(3):
        for way, at in ((-1, 0), (1, -1)):
            outward = np.zeros(256, np.bool_)
            outward[np.flatnonzero(step[axis] == way)] = True
            face = np.moveaxis(code_ZYX, axis, 0)[at]
            face[outward[face]] = ascent.SELF


def _channels(
    pieces: npt.NDArray[np.int32], aff_CZYX: npt.NDArray[np.uint8], cut: Cutting, write: Box, volume: Box
) -> tuple[list[Channel], list[Channel]]:
    """The edges that this block counts, by nearest channels and by longer ones.

    An edge is counted by the block that writes its ends, or by the later one of the two that do.
    """
    wide, margins = write.grown(cut.margin).intersected(volume), margin_boxes(cut, write, volume)
    known = np.zeros_like(pieces)
    for box in (write, *margins):
        at = box.slices(wide.start)
        known[at] = pieces[at]
    near: list[Channel] = []
    far: list[Channel] = []
    for channel, step in zip(aff_CZYX, cut.offsets, strict=True):
        before = write.shifted((-step[0], -step[1], -step[2]))
        for start in (write, *(box.intersected(before) for box in margins)):
            low = tuple(a + min(0, o) for a, o in zip(start.start, step, strict=True))
            high = tuple(b + max(0, o) for b, o in zip(start.stop, step, strict=True))
            part = Box(low, high, write.voxel_size).intersected(wide)  # type: ignore[arg-type]
            if start.size and part.size:
                at = part.slices(wide.start)
                edges = (np.ascontiguousarray(known[at]), np.ascontiguousarray(channel[at]), step)
                (near if is_near(step) else far).append(edges)
    return near, far


@numba.njit(cache=True, nogil=True)
def _first_places(pieces, start, extent, first):  # type: ignore[no-untyped-def]
    """Flat index in the volume of the first voxel of every piece; pieces are numbered in order of first voxel."""
    Z, Y, X = pieces.shape
    seen = 0
    for z in range(Z):
        for y in range(Y):
            row = ((start[0] + z) * extent[1] + start[1] + y) * extent[2] + start[2]
            for x in range(X):
                if pieces[z, y, x] > seen:
                    first[seen] = row + x
                    seen += 1
