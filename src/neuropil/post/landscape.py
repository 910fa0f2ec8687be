"""The bounded landscape on which fragments climb: exact integer arithmetic with a bounded halo.

For every voxel, ``b`` is the cut evidence of its (up to six) nearest edges and ``d`` the distance to the voxels whose
``b`` reaches the boundary level, truncated at a radius and smoothed by a Gaussian that ends at 3 sigma; the height is
``d - weight * b``. All numbers are integers that float32 represents exactly (below 2**24), so no result depends on the
order of a sum: **a block with a halo of `halo_voxels` gets the very heights of the whole volume.**
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.smoothing import smoothed

UNIT = 256  #: height units a voxel of the finest axis
SQUARE = 16  #: squared-distance units a squared voxel of the finest axis
CUT = 15_300  #: `b` of a voxel all of whose edges are cut: 255 * 60, and 60 divides by 1 .. 6 edges
FAR = 255  #: the largest radius, in voxels, that keeps all numbers exact
TAPS = 256  #: sum of the integer weights of the Gaussian


@dataclass(frozen=True)
class Landscape:
    """Knobs of a landscape in voxel units.

    Parameters
    ----------
    boundary
        `b` (0 .. `CUT`) from which a voxel is boundary.
    worst
        Sixteenths of the worst edge in `b`; the rest is the mean of the edges.
    weights
        Squared voxel size z, y, x in units of `SQUARE`; z is 0 when sections are apart.
    cap
        Squared radius in units of `SQUARE`.
    taps
        Integer Gaussian weights for each axis, sum `TAPS`.
    slope
        Height units by which a wholly cut voxel lies lower.
    """

    boundary: int
    worst: int
    weights: Int3
    cap: int
    taps: tuple[npt.NDArray[np.float32], ...]
    slope: float

    @property
    def sectionwise(self) -> bool:
        """Whether every section has a landscape of its own."""
        return self.weights[0] == 0

    @property
    def halo(self) -> Int3:
        """Voxels z, y, x by which a block must be grown so that its own links equal the whole volume's."""
        z, y, x = (
            # apart or not, a voxel's edges along z tell whether it is background or shut in
            1 if w == 0 else math.isqrt(self.cap // w) + len(t) // 2 + 3
            for w, t in zip(self.weights, self.taps, strict=True)
        )
        return z, y, x


def landscape(voxel_size: Float3, *, radius_nm: float, sigma_nm: float, levels: Float3, sectionwise: bool) -> Landscape:
    """Turn lengths in nm into the integers of a `Landscape`.

    Parameters
    ----------
    voxel_size
        nm, z, y, x.
    radius_nm, sigma_nm
        Where distances are truncated, and the width of the Gaussian.
    levels
        Boundary level of `b` (0..1), share of the worst edge in `b` (0..1), slope of the height in nm per unit of `b`.
    sectionwise
        Distances, smoothing and edges within sections only.

    Raises
    ------
    ConfigError
        If the radius is more than 255 voxels of the finest axis, or less than one.
    """
    used = voxel_size[1:] if sectionwise else voxel_size
    finest = min(used)
    if not finest <= radius_nm <= FAR * finest:
        raise ConfigError(
            f"segment.fragments.radius_nm = {radius_nm:g} with voxels of {finest:g} nm",
            f"{finest:g} to {FAR * finest:g} nm (1 to {FAR} voxels)",
            "change segment.fragments.radius_nm, or --voxel-size if the metadata is wrong",
        )
    z, y, x = (max(1, round(SQUARE * (v / finest) ** 2)) for v in voxel_size)
    boundary, worst, slope_nm = levels
    return Landscape(
        boundary=round(boundary * CUT),
        worst=round(16 * worst),
        weights=(0 if sectionwise else z, y, x),
        cap=round(SQUARE * (radius_nm / finest) ** 2),
        taps=tuple(
            gaussian_taps(0.0 if sectionwise and axis == 0 else sigma_nm / v) for axis, v in enumerate(voxel_size)
        ),
        slope=slope_nm / finest * UNIT / CUT,
    )


def heights(
    edges_CZYX: npt.NDArray[np.uint8], shape: Landscape, inner: tuple[slice, slice, slice] | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Height of every voxel, and which voxels are core.

    Parameters
    ----------
    edges_CZYX
        (3, Z, Y, X) affinities of the edges to the *lower* neighbour along z, y, x; those at index 0 are not read.
    shape
        Knobs, see `landscape`.
    inner
        The voxels of interest, all if empty: what only serves the others is cut off after every pass.

    Returns
    -------
    height, core
        float32 integers, padded by one voxel of -inf on all sides; and (Z, Y, X) whether no boundary lies within R.
    """
    extents = edges_CZYX.shape[1:]
    z, y, x = inner or (slice(0, extents[0]), slice(0, extents[1]), slice(0, extents[2]))
    wide_z, wide_y, wide_x = (_Cut(s, len(t) // 2, n) for s, t, n in zip((z, y, x), shape.taps, extents, strict=True))
    cut = np.empty(edges_CZYX.shape[1:], np.float32)
    _cut_evidence(edges_CZYX, 1 if shape.sectionwise else 0, np.float32(shape.worst), cut)
    weights, cap = np.array(shape.weights, np.float32), np.float32(shape.cap)
    square: npt.NDArray[Any] = np.empty_like(cut)
    _line_distance(cut, np.float32(shape.boundary), weights[2], cap, square)
    square = np.ascontiguousarray(square[:, :, wide_x.outer])
    work = np.empty_like(square)
    _lower_rows(square, _reaches(shape.cap, shape.weights[1]), weights[1], work)
    square = np.ascontiguousarray(work[:, wide_y.outer])
    if not shape.sectionwise:
        work = np.empty_like(square)
        _lower_planes(square, _reaches(shape.cap, shape.weights[0]), weights[0], work)
        square = work
    square = np.ascontiguousarray(square[wide_z.outer])
    core = np.asarray(square[wide_z.within, wide_y.within, wide_x.within] >= shape.cap)
    # distance in height units: a function of one integer, so rounding cannot differ between blocks
    np.sqrt(square, out=square)
    square *= np.float32(UNIT / math.sqrt(SQUARE))
    np.rint(square, out=square)
    for axis, cut_off in ((2, wide_x), (1, wide_y), (0, wide_z)):
        if len(shape.taps[axis]) > 1:
            square = smoothed(square, shape.taps[axis], axis, rounded_by=TAPS)
        square = np.ascontiguousarray(square[(*(slice(None),) * axis, cut_off.within)])
    height = np.full([n + 2 for n in square.shape], -np.inf, np.float32)
    _combine(square, np.ascontiguousarray(cut[z, y, x]), np.float32(shape.slope), height)
    return height, core


class _Cut:
    """Along one axis: the voxels that smoothing needs (`outer`), and those of interest among them (`within`)."""

    def __init__(self, wanted: slice, reach: int, extent: int) -> None:
        self.outer = slice(max(0, wanted.start - reach), min(extent, wanted.stop + reach))
        self.within = slice(wanted.start - self.outer.start, wanted.stop - self.outer.start)


def distances_nm(
    edges_CZYX: npt.NDArray[np.uint8], shape: Landscape, finest_nm: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Smoothed truncated distance in nm and `b` in 0..1, for methods that flood instead of climb."""
    height, _ = heights(edges_CZYX, shape)
    cut = np.empty(edges_CZYX.shape[1:], np.float32)
    _cut_evidence(edges_CZYX, 1 if shape.sectionwise else 0, np.float32(shape.worst), cut)
    inner = height[1:-1, 1:-1, 1:-1] + np.floor(cut * np.float32(shape.slope) + np.float32(0.5))
    return inner * np.float32(finest_nm / UNIT), cut / np.float32(CUT)


def gaussian_taps(sigma: float) -> npt.NDArray[np.float32]:
    """Integer weights of a Gaussian cut at 3 sigma (voxels); their sum is `TAPS`, so a plateau stays where it is."""
    radius = math.ceil(3 * sigma - 1e-6)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / max(sigma, 1e-6)) ** 2)
    taps: npt.NDArray[np.float32] = np.rint(weights * (TAPS / weights.sum())).astype(np.float32)
    taps[radius] += TAPS - taps.sum()
    return taps


def _reaches(cap: int, weight: int) -> int:
    return math.isqrt(cap // weight)


@numba.njit(cache=True, nogil=True)
def _cut_evidence(edges, sections, worst, out):  # type: ignore[no-untyped-def]
    """`b` of each voxel from its edges inside the array: mean of 255 - affinity, blended with the largest."""
    Z, Y, X = out.shape
    total, most = np.empty(X, np.float32), np.empty(X, np.float32)
    mean_part = (np.float32(16) - worst) / np.float32(16)
    worst_part = worst * np.float32(60) / np.float32(16)
    for z in range(Z):
        for y in range(Y):
            total[:] = 0
            most[:] = 0
            n = 0
            for side in range(2):
                if sections == 0 and 0 < z + side < Z:
                    n += 1
                    _add_edges(edges[0, z + side, y], total, most)
                if 0 < y + side < Y:
                    n += 1
                    _add_edges(edges[1, z, y + side], total, most)
            row = edges[2, z, y]
            for x in range(X):
                count = n
                sum_, top = total[x], most[x]
                if x > 0:
                    value = np.float32(255) - np.float32(row[x])
                    sum_ += value
                    top = max(top, value)
                    count += 1
                if x + 1 < X:
                    value = np.float32(255) - np.float32(row[x + 1])
                    sum_ += value
                    top = max(top, value)
                    count += 1
                scale = np.float32(60 // max(count, 1))
                out[z, y, x] = np.floor(sum_ * scale * mean_part + top * worst_part)


@numba.njit(cache=True, nogil=True)
def _add_edges(row, total, most):  # type: ignore[no-untyped-def]
    for x in range(row.size):
        value = np.float32(255) - np.float32(row[x])
        total[x] += value
        most[x] = max(most[x], value)


@numba.njit(cache=True, nogil=True)
def _line_distance(cut, boundary, weight, cap, out):  # type: ignore[no-untyped-def]
    """Squared distance along x to the nearest boundary voxel, at most `cap`."""
    Z, Y, X = cut.shape
    far = np.float32(4096)
    for z in range(Z):
        for y in range(Y):
            near = far
            for x in range(X):
                near = np.float32(0) if cut[z, y, x] >= boundary else min(near + np.float32(1), far)
                out[z, y, x] = near
            near = far
            for x in range(X - 1, -1, -1):
                near = min(near + np.float32(1), out[z, y, x])
                out[z, y, x] = near
            for x in range(X):
                near = min(out[z, y, x], np.float32(FAR + 1))
                out[z, y, x] = min(near * near * weight, cap)


@numba.njit(cache=True, nogil=True)
def _lower_row(source, add, out):  # type: ignore[no-untyped-def]
    for x in range(out.size):
        out[x] = min(out[x], source[x] + add)


@numba.njit(cache=True, nogil=True)
def _lower_rows(square, reach, weight, out):  # type: ignore[no-untyped-def]
    """Second pass of the separable distance: the lowest of the parabolas of the rows within reach."""
    Z, Y, _ = square.shape
    for z in range(Z):
        for y in range(Y):
            out[z, y] = square[z, y]
            for other in range(max(0, y - reach), min(Y, y + reach + 1)):
                step = np.float32(other - y)
                _lower_row(square[z, other], step * step * weight, out[z, y])


@numba.njit(cache=True, nogil=True)
def _lower_planes(square, reach, weight, out):  # type: ignore[no-untyped-def]
    Z, Y, _ = square.shape
    for y in range(Y):
        for z in range(Z):
            out[z, y] = square[z, y]
            for other in range(max(0, z - reach), min(Z, z + reach + 1)):
                step = np.float32(other - z)
                _lower_row(square[other, y], step * step * weight, out[z, y])


@numba.njit(cache=True, nogil=True)
def _combine(distance, cut, slope, height):  # type: ignore[no-untyped-def]
    Z, Y, X = distance.shape
    for z in range(Z):
        for y in range(Y):
            for x in range(X):
                height[z + 1, y + 1, x + 1] = distance[z, y, x] - np.floor(cut[z, y, x] * slope + np.float32(0.5))
