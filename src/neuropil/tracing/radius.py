"""Radii: the anisotropic distance to what is no neurite, and, in images, where grey values fall by half."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import edt
import numba
import numpy as np
import numpy.typing as npt

from neuropil.config.trace import TraceConfig
from neuropil.geometry import Box, Float3, Int3
from neuropil.progress import shown, written
from neuropil.tracing.background import Survey
from neuropil.tracing.voxels import Voxels, finest_nm
from neuropil.volume import Volume

Floats = npt.NDArray[np.float64]

#: Share of a shell's voxels that are less than half as bright as the middle: there the neurite ends.
_SHARE_OUTSIDE = 0.3


def with_depth(voxels: Voxels, config: TraceConfig) -> Voxels:
    """The voxels with their distance to the nearest voxel that is none, tile by tile; at most `max_radius`."""
    cap = config.max_radius * voxels.edge_nm
    rim = whole_voxels(cap, voxels.spacing_nm)
    whole = Box((0, 0, 0), voxels.shape, voxels.spacing_nm)
    z, y = np.divmod(voxels.row, voxels.shape[1])
    zyx = (z, y, voxels.x)
    depth = np.zeros(len(voxels), np.float32)
    for block in written("depths", whole.blocks(tile_shape(config, whole)), whole.size):
        read = block.write.grown(rim).intersected(whole)
        near = _inside(voxels, read, zyx)
        inner = near[_within(block.write, zyx, near)]
        if inner.size:
            mask = np.zeros(read.shape, np.uint8)
            mask[_relative(zyx, near, read.start)] = 1
            depth[inner] = distance_nm(mask, voxels.spacing_nm, voxels.edge_nm)[_relative(zyx, inner, read.start)]
    return replace(voxels, depth_nm=np.minimum(depth, np.float32(cap)))


def distance_nm(mask_ZYX: npt.NDArray[np.uint8], spacing_nm: Float3, edge_nm: float) -> npt.NDArray[np.float32]:
    """Distance in nm from the centre of each voxel to the nearest face of one that is 0, never below half an edge.

    (Measured between centres, less half of the finest edge.)
    """
    if mask_ZYX.shape[0] == 1:
        away = edt.edt(mask_ZYX[0], anisotropy=spacing_nm[1:])[None]
    else:
        away = edt.edt(mask_ZYX, anisotropy=spacing_nm)
    half = np.float32(edge_nm / 2)
    return np.maximum(np.asarray(away) - half, half)


def grey_radii(volume: Volume, found: Survey, nodes_nm: Floats, near_nm: Floats, config: TraceConfig) -> Floats:
    """(N,) radius at which a third of the voxels of a shell are less than half as bright as the node.

    Parameters
    ----------
    nodes_nm
        (N, 3) places in the volume's own place.
    near_nm
        (N,) radii by depth; those of grey values are looked for up to three times as far, at most `max_radius`.
    """
    edge, radii = finest_nm(volume.box.shape, volume.voxel_size), near_nm.copy()
    most = np.minimum(3 * near_nm / edge + 3, config.max_radius)
    place = np.floor(nodes_nm / np.asarray(volume.voxel_size)).astype(np.int64)
    place = np.clip(place, volume.box.start, np.asarray(volume.box.stop) - 1)
    shape = np.asarray(tile_shape(config, volume.box))
    tiles, owner = np.unique(place // shape, axis=0, return_inverse=True)
    for number in shown("radii", range(len(tiles)), len(tiles), volume.box.size, "tile"):
        mine = np.flatnonzero(owner.reshape(-1) == number)
        rim = whole_voxels(float(most[mine].max() + 1) * edge, volume.voxel_size)
        lo, hi = place[mine].min(axis=0), place[mine].max(axis=0) + 1
        box = Box(tuple(lo), tuple(hi), volume.voxel_size).grown(rim).intersected(volume.box)
        image = volume.read(box).astype(np.float32) * np.float32(found.sign)
        image -= found.background(box, volume.box.start)
        spacing = np.asarray(volume.voxel_size) / edge
        at = nodes_nm[mine] / np.asarray(volume.voxel_size) - np.asarray(box.start) - 0.5
        radii[mine] = edge * _shells(image, at, spacing, most[mine], _SHARE_OUTSIDE)
    return radii


def tile_shape(config: TraceConfig, whole: Box) -> Int3:
    """Voxels of a tile of a volume, z, y, x."""
    return whole_voxels(config.tile * finest_nm(whole.shape, whole.voxel_size), whole.voxel_size)


def whole_voxels(length_nm: float, spacing_nm: Float3) -> Int3:
    """Voxels z, y, x that reach at least so far."""
    z, y, x = (int(np.ceil(length_nm / step)) for step in spacing_nm)
    return z, y, x


def _within(box: Box, zyx: tuple[Any, ...], index: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    limits = zip(zyx, box.start, box.stop, strict=True)
    return np.asarray(np.logical_and.reduce([(a[index] >= lo) & (a[index] < hi) for a, lo, hi in limits]))


def _inside(voxels: Voxels, box: Box, zyx: tuple[Any, ...]) -> npt.NDArray[np.int64]:
    """Voxels inside a box: sections are runs of voxels, so only those are looked through."""
    Y = voxels.shape[1]
    run = np.arange(voxels.starts[box.start[0] * Y], voxels.starts[box.stop[0] * Y])
    return run[_within(box, zyx, run)]


def _relative(zyx: tuple[Any, ...], index: npt.NDArray[np.int64], start: Int3) -> tuple[Any, ...]:
    return tuple(a[index] - s for a, s in zip(zyx, start, strict=True))


@numba.njit(cache=True, nogil=True)
def _outside(image, node, spacing, shell, half):  # type: ignore[no-untyped-def]
    """The share of a shell's voxels that are darker than `half`; nothing beyond the image counts."""
    Z, Y, X = image.shape
    z, y, x = node
    high, tall, wide = (shell + 0.5) / spacing[0], (shell + 0.5) / spacing[1], (shell + 0.5) / spacing[2]
    dark, count = 0, 0
    for i in range(max(0, int(np.ceil(z - high))), min(Z - 1, int(z + high)) + 1):
        for j in range(max(0, int(np.ceil(y - tall))), min(Y - 1, int(y + tall)) + 1):
            plane = ((i - z) * spacing[0]) ** 2 + ((j - y) * spacing[1]) ** 2
            for k in range(max(0, int(np.ceil(x - wide))), min(X - 1, int(x + wide)) + 1):
                away = np.sqrt(plane + ((k - x) * spacing[2]) ** 2)
                if shell - 0.5 < away <= shell + 0.5:
                    count += 1
                    dark += image[i, j, k] < half
    return dark / count if count else 0.0


@numba.njit(cache=True, nogil=True)
def _between(image, node):  # type: ignore[no-untyped-def]
    """The grey value at a place between voxels, linear."""
    total = 0.0
    first = np.floor(node)
    for corner in range(8):
        weight, at = 1.0, np.empty(3, np.int64)
        for axis in range(3):
            up = (corner >> axis) & 1
            share = node[axis] - first[axis]
            weight *= share if up else 1 - share
            at[axis] = min(max(int(first[axis]) + up, 0), image.shape[axis] - 1)
        total += weight * image[at[0], at[1], at[2]]
    return total


@numba.njit(cache=True, nogil=True)
def _shells(image, nodes, spacing, most, limit):  # type: ignore[no-untyped-def]
    """Radii in finest edges; nodes are places in voxels, whole numbers at centres."""
    out = np.empty(len(nodes), np.float64)
    for i in range(len(nodes)):
        half = 0.5 * _between(image, nodes[i])
        shell, before, share = 0.0, 0.0, 0.0
        while shell < most[i]:
            shell += 1.0
            before, share = share, _outside(image, nodes[i], spacing, shell, half)
            if share >= limit:
                shell -= 1.0 - (limit - before) / (share - before)
                break
        out[i] = max(0.5, shell)
    return out
