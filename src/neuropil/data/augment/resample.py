"""All changes of place in one pass: linear for the image, nearest for labels and validity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neuropil.data.augment.base import Halo, Image, Lattice, Warp, compiled
from neuropil.errors import ConfigError
from neuropil.geometry import Int3

Cells = npt.NDArray[np.int64]


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
    field_bound: npt.NDArray[np.float64]
    low: npt.NDArray[np.int64]


#: How far a cubic spline may exceed its samples, half a lattice cell apart.
_BETWEEN_SAMPLES = 1.06
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
            raise ConfigError(
                "two elastic augmentations in one plan",
                "at most one warp with a lattice",
                "make one of them rigid, or leave one out of data.augment.extra",
            )
        lattice = lattice if added is None else added
    centre = np.array([(n - 1) / 2 for n in shape])
    lattice = _NO_LATTICE if lattice is None else lattice
    return CoordinateMap(matrix, centre, shifts, lattice, _field_bound(lattice), np.array(low, np.int64))


def reach(coordinates: CoordinateMap, shape: Int3, context: Halo) -> Int3:
    """Voxels beyond the crop and its context that the map can ask for, on either side of z, y, x."""
    low, high = _ends(shape, context)
    corners = np.array([[a, b - 1] for a, b in zip(low, high, strict=True)], np.float64) - coordinates.centre[:, None]
    farthest = np.abs(coordinates.matrix - np.eye(3)) @ np.abs(corners).max(axis=1)
    farthest[1:] += np.abs(coordinates.shifts_Z2).max(axis=0)
    farthest += coordinates.field_bound
    # a rotation by a rounded angle must not ask for a voxel more than it moves
    z, y, x = (math.ceil(v - 1e-9) for v in farthest)
    return z, y, x


def _field_bound(lattice: Lattice) -> npt.NDArray[np.float64]:
    """Largest step of the field, from samples at the lattice points and half way between them."""
    field = lattice.points_GGG3.astype(np.float64)
    if not field.size:
        return np.zeros(3)
    for axis in range(3):
        a, b, c, d = (np.moveaxis(field, axis, 0)[i : field.shape[axis] - 3 + i] for i in range(4))
        samples = [(a + 4 * b + c) / 6, (a + 23 * b + 23 * c + d) / 48, (b + 4 * c + d) / 6]
        field = np.moveaxis(np.concatenate(samples), 0, axis)
    bound: npt.NDArray[np.float64] = _BETWEEN_SAMPLES * np.abs(field).max(axis=(0, 1, 2))
    return bound


def _ends(shape: Int3, context: Halo) -> tuple[Int3, Int3]:
    (z0, z1), (y0, y1), (x0, x1) = context
    return (-z0, -y0, -x0), (shape[0] + z1, shape[1] + y1, shape[2] + x1)


def resample(
    source: Arrays, halos: tuple[Halo, Halo], coordinates: CoordinateMap, shape: Int3, context: Halo
) -> Arrays:
    """Read the source through the map.

    Parameters
    ----------
    source
        The crop's place, its image grown by ``halos[0]``, its labels and validity by ``halos[1]``.
    coordinates
        The map over crop and context.
    shape, context
        The crop, and how far around it the resulting labels reach.
    """
    low, high = _ends(shape, context)
    grown = tuple(b - a for a, b in zip(low, high, strict=True))
    target = Arrays(np.empty(shape, np.float32), np.empty(grown, np.uint32), np.empty(grown, np.bool_))
    # one memory layout, one compiled version
    image, labels, valid = source
    source = Arrays(np.ascontiguousarray(image), np.ascontiguousarray(labels), np.ascontiguousarray(valid))
    image_low, label_low = (np.array([-before for before, _ in halo], np.int64) for halo in halos)
    _resample(source, target, coordinates, image_low, label_low)
    return target


@compiled
def _spline_weights(t: Any) -> Any:
    """Cell and the four cubic B-spline weights at a place of the lattice."""
    cell = int(t)
    u = np.float32(t - cell)
    v = np.float32(1) - u
    a = v * v * v / np.float32(6)
    d = u * u * u / np.float32(6)
    b = np.float32(2 / 3) - u * u * (np.float32(1) - u * np.float32(0.5))
    return cell, a, b, np.float32(1) - a - b - d, d


@compiled
def _add_field(lattice: Lattice, place: tuple[int, int], cells_X: Cells, weights_4X: Image, places_3X: Image) -> None:
    """Add the field along one row: first the lattice at this z and y, then a spline along x, cell by cell."""
    points = lattice.points_GGG3
    row = np.zeros((3, points.shape[2]), np.float32)
    cell_z, az, bz, cz, dz = _spline_weights(place[0] / lattice.spacing[0])
    cell_y, ay, by, cy, dy = _spline_weights(place[1] / lattice.spacing[1])
    for i, wz in enumerate((az, bz, cz, dz)):
        for j, wy in enumerate((ay, by, cy, dy)):
            for g in range(points.shape[2]):
                for k in range(3):
                    row[k, g] += wz * wy * points[cell_z + i, cell_y + j, g, k]
    for k in range(3):
        x = 0
        for g in range(points.shape[2] - 3):
            end = x
            while end < len(cells_X) and cells_X[end] == g:
                end += 1
            for tap in range(4):
                point = row[k, g + tap]
                for i in range(x, end):
                    places_3X[k, i] += point * weights_4X[tap, i]
            x = end


@compiled
def _bilinear(plane: Image, y: Any, x: Any) -> Any:
    height, width = plane.shape
    y = min(max(y, np.float32(0)), np.float32(height - 1))
    x = min(max(x, np.float32(0)), np.float32(width - 1))
    iy, ix = int(y), int(x)
    fy, fx = y - np.float32(iy), x - np.float32(ix)
    jy, jx = min(iy + 1, height - 1), min(ix + 1, width - 1)
    near = plane[iy, ix] + fx * (plane[iy, jx] - plane[iy, ix])
    far = plane[jy, ix] + fx * (plane[jy, jx] - plane[jy, ix])
    return near + fy * (far - near)


@compiled
def _linear_row(image: Image, places_3X: Image, row_X: Image) -> None:
    """Trilinear, clamped to the edge; bilinear where z falls on a section."""
    top = np.float32(image.shape[0] - 1)
    for x in range(row_X.shape[0]):
        z = min(max(places_3X[0, x], np.float32(0)), top)
        iz = int(z)
        fz = z - np.float32(iz)
        value = _bilinear(image[iz], places_3X[1, x], places_3X[2, x])
        if fz > 0:
            below = _bilinear(image[min(iz + 1, image.shape[0] - 1)], places_3X[1, x], places_3X[2, x])
            value += fz * (below - value)
        row_X[x] = value


@compiled
def _nearest_row(source: Arrays, places_3X: Image, target: Arrays, z: int, y: int) -> None:
    depth, height, width = source.labels.shape
    half = np.float32(0.5)
    for x in range(places_3X.shape[1]):
        iz = min(max(int(places_3X[0, x] + half), 0), depth - 1)
        iy = min(max(int(places_3X[1, x] + half), 0), height - 1)
        ix = min(max(int(places_3X[2, x] + half), 0), width - 1)
        target.labels[z, y, x] = source.labels[iz, iy, ix]
        target.valid[z, y, x] = source.valid[iz, iy, ix]


@compiled
def _resample(
    source: Arrays,
    target: Arrays,
    coordinates: CoordinateMap,
    image_low: npt.NDArray[np.int64],
    label_low: npt.NDArray[np.int64],
) -> None:
    matrix, centre, low, lattice = coordinates.matrix, coordinates.centre, coordinates.low, coordinates.lattice
    size, depth, height, width = target.labels.shape[2], *target.image.shape
    places = np.empty((3, size), np.float32)
    weights = np.empty((4, size), np.float32)
    cells = np.empty(size, np.int64)
    for x in range(size):
        cells[x], weights[0, x], weights[1, x], weights[2, x], weights[3, x] = _spline_weights(x / lattice.spacing[2])
    for z in range(target.labels.shape[0]):
        for y in range(target.labels.shape[1]):
            pz, py = z + low[0], y + low[1]
            for k in range(3):
                # places count from the first voxel of the labels as they were read
                start = centre[k] + matrix[k, 0] * (pz - centre[0]) + matrix[k, 1] * (py - centre[1]) - label_low[k]
                start += matrix[k, 2] * (low[2] - centre[2])
                if k > 0:
                    start += coordinates.shifts_Z2[z, k - 1]
                for x in range(size):
                    places[k, x] = start + matrix[k, 2] * x
            if lattice.points_GGG3.size:
                _add_field(lattice, (z, y), cells, weights, places)
            _nearest_row(source, places, target, z, y)
            if 0 <= pz < depth and 0 <= py < height:
                for k in range(3):
                    places[k] += np.float32(label_low[k] - image_low[k])
                _linear_row(source.image, places[:, -low[2] : width - low[2]], target.image[pz, py])
