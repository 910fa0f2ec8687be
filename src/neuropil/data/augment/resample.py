"""All changes of place in one pass: linear for the image, nearest for labels and validity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from neuropil.data.augment.base import Halo, Image, Lattice, Warp, compiled
from neuropil.errors import ConfigError
from neuropil.geometry import Int3


class Arrays(NamedTuple):
    """What is resampled together; labels and validity may be larger than the image."""

    image: Image
    labels: npt.NDArray[np.uint32]
    valid: npt.NDArray[np.bool_]


class CoordinateMap(NamedTuple):
    """The sum of all warps of a plan over the voxels from `low`; see `Warp` for the formula."""

    matrix: npt.NDArray[np.float64]
    centre: npt.NDArray[np.float64]
    shifts_Z2: npt.NDArray[np.float64]
    lattice: Lattice
    low: npt.NDArray[np.int64]


_NO_LATTICE = Lattice(np.zeros((0, 0, 0, 3), np.float32), np.ones(3))


def coordinate_map(warps: Sequence[Warp], shape: Int3, context: Halo) -> CoordinateMap:
    """Join warps into one map over a crop and the context around it.

    Raises
    ------
    ConfigError
        If two warps have a lattice.
    """
    low, high = _ends(shape, context)
    matrix, lattice = np.eye(3), None
    sections = np.arange(low[0], high[0])
    shifts = np.zeros((len(sections), 2))
    for warp in warps:
        matrix = matrix @ warp.matrix()
        shifts = shifts + warp.shifts(sections)
        added = warp.lattice(low, high)
        if added is not None and lattice is not None:
            raise ConfigError("two elastic augmentations in one plan", "at most one warp with a lattice")
        lattice = lattice if added is None else added
    centre = np.array([(n - 1) / 2 for n in shape])
    return CoordinateMap(matrix, centre, shifts, _NO_LATTICE if lattice is None else lattice, np.array(low, np.int64))


def reach(coordinates: CoordinateMap, shape: Int3, context: Halo) -> Int3:
    """Voxels beyond the crop and its context that the map can ask for, on either side of z, y, x."""
    low, high = _ends(shape, context)
    corners = np.array([[a, b - 1] for a, b in zip(low, high, strict=True)], np.float64) - coordinates.centre[:, None]
    farthest = np.abs(coordinates.matrix - np.eye(3)) @ np.abs(corners).max(axis=1)
    farthest[1:] += np.abs(coordinates.shifts_Z2).max(axis=0)
    farthest += _field_bound(coordinates.lattice)
    # a rotation by a rounded angle must not ask for a voxel more than it moves
    z, y, x = (math.ceil(v - 1e-9) for v in farthest)
    return z, y, x


def _field_bound(lattice: Lattice) -> npt.NDArray[np.float64]:
    """Largest step of the field, sampled at the lattice points and half way between them."""
    field = lattice.points_GGG3.astype(np.float64)
    if not field.size:
        return np.zeros(3)
    for axis in range(3):
        a, b, c, d = (np.moveaxis(field, axis, 0)[i : field.shape[axis] - 3 + i] for i in range(4))
        samples = [(a + 4 * b + c) / 6, (a + 23 * b + 23 * c + d) / 48, (b + 4 * c + d) / 6]
        field = np.moveaxis(np.concatenate(samples), 0, axis)
    bound: npt.NDArray[np.float64] = np.abs(field).max(axis=(0, 1, 2))
    return bound


def _ends(shape: Int3, context: Halo) -> tuple[Int3, Int3]:
    (z0, z1), (y0, y1), (x0, x1) = context
    return (-z0, -y0, -x0), (shape[0] + z1, shape[1] + y1, shape[2] + x1)


def resample(source: Arrays, margins: tuple[Int3, Int3], coordinates: CoordinateMap, shape: Int3) -> Arrays:
    """Read the source through the map.

    Parameters
    ----------
    source
        Image grown by ``margins[0]`` around the crop; labels and validity grown by ``margins[1]`` around crop and
        context.
    coordinates
        The map; the extent of the context follows from its `low` and the shape of the labels.
    shape
        The crop.
    """
    grown = [n - 2 * m for n, m in zip(source.labels.shape, margins[1], strict=True)]
    target = Arrays(np.empty(shape, np.float32), np.empty(grown, np.uint32), np.empty(grown, np.bool_))
    image_low = np.array([-m for m in margins[0]], np.int64)
    label_low = coordinates.low - np.array(margins[1], np.int64)
    _resample(source, target, coordinates, image_low, label_low)
    return target


@compiled
def _weights(t: float) -> tuple[int, float, float, float, float]:
    """Cell and the four cubic B-spline weights at a place of the lattice."""
    cell = int(t)
    u = np.float32(t - cell)
    v = np.float32(1) - u
    a = v * v * v / np.float32(6)
    d = u * u * u / np.float32(6)
    b = np.float32(2 / 3) - u * u * (np.float32(1) - u * np.float32(0.5))
    return cell, a, b, np.float32(1) - a - b - d, d


@compiled
def _row_points(lattice: Lattice, z: int, y: int, row_G3: npt.NDArray[np.float32]) -> None:
    """The lattice, evaluated at one z and y: control points along x."""
    cell_z, az, bz, cz, dz = _weights(z / lattice.spacing[0])
    cell_y, ay, by, cy, dy = _weights(y / lattice.spacing[1])
    row_G3[:] = 0
    for i, wz in enumerate((az, bz, cz, dz)):
        for j, wy in enumerate((ay, by, cy, dy)):
            points_G3 = lattice.points_GGG3[cell_z + i, cell_y + j]
            for g in range(row_G3.shape[0]):
                for k in range(3):
                    row_G3[g, k] += wz * wy * points_G3[g, k]


@compiled
def _row_field(row_G3: npt.NDArray[np.float32], spacing: float, field_X3: npt.NDArray[np.float32]) -> None:
    for x in range(field_X3.shape[0]):
        cell, a, b, c, d = _weights(x / spacing)
        for k in range(3):
            field_X3[x, k] = (
                a * row_G3[cell, k] + b * row_G3[cell + 1, k] + c * row_G3[cell + 2, k] + d * row_G3[cell + 3, k]
            )


@compiled
def _linear(image: Image, z: float, y: float, x: float) -> float:
    """Trilinear, clamped to the edge; bilinear where z falls on a section."""
    depth, height, width = image.shape
    z = min(max(z, 0.0), depth - 1.0)
    y = min(max(y, 0.0), height - 1.0)
    x = min(max(x, 0.0), width - 1.0)
    iz, iy, ix = int(z), int(y), int(x)
    jy, jx = min(iy + 1, height - 1), min(ix + 1, width - 1)
    fz, fy, fx = np.float32(z - iz), np.float32(y - iy), np.float32(x - ix)
    near = image[iz, iy, ix] + fx * (image[iz, iy, jx] - image[iz, iy, ix])
    far = image[iz, jy, ix] + fx * (image[iz, jy, jx] - image[iz, jy, ix])
    first = near + fy * (far - near)
    if fz == 0:
        return first
    jz = min(iz + 1, depth - 1)
    near = image[jz, iy, ix] + fx * (image[jz, iy, jx] - image[jz, iy, ix])
    far = image[jz, jy, ix] + fx * (image[jz, jy, jx] - image[jz, jy, ix])
    return first + fz * (near + fy * (far - near) - first)


@compiled
def _nearest(place: float, size: int) -> int:
    return min(max(int(np.floor(place + 0.5)), 0), size - 1)


@compiled
def _resample(
    source: Arrays,
    target: Arrays,
    coordinates: CoordinateMap,
    image_low: npt.NDArray[np.int64],
    label_low: npt.NDArray[np.int64],
) -> None:
    matrix, centre, low = coordinates.matrix, coordinates.centre, coordinates.low
    lattice = coordinates.lattice
    row = np.zeros((lattice.points_GGG3.shape[2], 3), np.float32)
    field = np.zeros((target.labels.shape[2], 3), np.float32)
    depth, height, width = source.labels.shape
    for z in range(target.labels.shape[0]):
        pz = z + low[0]
        for y in range(target.labels.shape[1]):
            py = y + low[1]
            if row.size:
                _row_points(lattice, z, y, row)
                _row_field(row, lattice.spacing[2], field)
            start = np.zeros(3)
            for k in range(3):
                start[k] = centre[k] + matrix[k, 0] * (pz - centre[0]) + matrix[k, 1] * (py - centre[1])
            start[1] += coordinates.shifts_Z2[z, 0]
            start[2] += coordinates.shifts_Z2[z, 1]
            in_rows = 0 <= pz < target.image.shape[0] and 0 <= py < target.image.shape[1]
            for x in range(target.labels.shape[2]):
                px = x + low[2]
                step = px - centre[2]
                qz = start[0] + matrix[0, 2] * step + field[x, 0]
                qy = start[1] + matrix[1, 2] * step + field[x, 1]
                qx = start[2] + matrix[2, 2] * step + field[x, 2]
                iz = _nearest(qz - label_low[0], depth)
                iy = _nearest(qy - label_low[1], height)
                ix = _nearest(qx - label_low[2], width)
                target.labels[z, y, x] = source.labels[iz, iy, ix]
                target.valid[z, y, x] = source.valid[iz, iy, ix]
                if in_rows and 0 <= px < target.image.shape[2]:
                    target.image[pz, py, px] = _linear(
                        source.image, qz - image_low[0], qy - image_low[1], qx - image_low[2]
                    )
