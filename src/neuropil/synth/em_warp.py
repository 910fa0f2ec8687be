"""From tissue coordinates (nm) to the lattice that neurites are laid on: a rotation and a smooth random warp.

The lattice is regular; all irregular bending of neurites and membranes is in this map. It is evaluated on a coarse
grid that is fixed in space, and linearly between, so a voxel's answer does not depend on the block that asks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neuropil.synth.hashing import noise3

__all__ = ["GRID_NM", "WARP", "Grid", "grid_over", "lattice_point", "rotation", "tissue_points", "to_lattice"]

GRID_NM = 24.0
#: (wavelength, amplitude) in units of the neurite spacing. The amplitudes keep the gradient below one: no folds.
WARP = np.array([[9.0, 1.0], [2.6, 0.22], [0.85, 0.062], [0.4, 0.011]])


class Grid(NamedTuple):
    """Lattice coordinates at the corners of coarse cells."""

    corner_DHWC: NDArray[np.float64]
    start: NDArray[np.int64]


def rotation(seed: int) -> NDArray[np.float64]:
    """A random rotation, so that no lattice plane lies in an image plane."""
    rng = np.random.default_rng([seed, 7])
    for _ in range(1000):
        q, r = np.linalg.qr(rng.normal(size=(3, 3)))
        q = q * np.sign(np.diag(r))
        if np.abs(q).max() < 0.9:  # no lattice axis along an image axis
            break
    q[:, 0] *= np.sign(np.linalg.det(q))
    return np.ascontiguousarray(q)


@njit(cache=True)
def _displaced(seed: int, octaves: NDArray[np.float64], p: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    # p and out in units of the spacing
    for c in range(3):
        out[c] = p[c]
    for o in range(octaves.shape[0]):
        wave, amplitude = octaves[o, 0], octaves[o, 1]
        for c in range(3):
            out[c] += amplitude * noise3(seed + 101 * o + 13 * c, p[0] / wave, p[1] / wave, p[2] / wave)


@njit(cache=True)
def lattice_point(
    seed: int, octaves: NDArray[np.float64], turn: NDArray[np.float64], p: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Write the exact lattice coordinates of tissue point `p` (in units of the spacing) to `out`."""
    moved = np.empty(3)
    _displaced(seed, octaves, p, moved)
    for c in range(3):
        out[c] = turn[c, 0] * moved[0] + turn[c, 1] * moved[1] + turn[c, 2] * moved[2]


@njit(cache=True)
def _fill(
    seed: int, octaves: NDArray[np.float64], turn: NDArray[np.float64], start: NDArray[np.float64],
    step: float, *, out: NDArray[np.float64],
) -> None:  # fmt: skip
    p = np.empty(3)
    for i in range(out.shape[0]):
        p[0] = (start[0] + i) * step
        for j in range(out.shape[1]):
            p[1] = (start[1] + j) * step
            for k in range(out.shape[2]):
                p[2] = (start[2] + k) * step
                lattice_point(seed, octaves, turn, p, out[i, j, k])


def grid_over(seed: int, spacing_nm: float, low_nm: NDArray[np.float64], high_nm: NDArray[np.float64]) -> Grid:
    """The coarse grid over a region of tissue (nm)."""
    start = np.floor(low_nm / GRID_NM).astype(np.int64) - 1
    stop = np.floor(high_nm / GRID_NM).astype(np.int64) + 3
    corner = np.empty((*(stop - start), 3))
    _fill(seed, WARP, rotation(seed), start.astype(np.float64), GRID_NM / spacing_nm, out=corner)
    return Grid(corner, start)


@njit(cache=True)
def to_lattice(grid: Grid, p: NDArray[np.float64], u: NDArray[np.float64], jac: NDArray[np.float64]) -> None:
    """Lattice coordinates `u` of tissue point `p` (nm) and the Jacobian `jac[c, a]` = du_c / dp_a (1/nm)."""
    cz, cy, cx = p[0] / GRID_NM, p[1] / GRID_NM, p[2] / GRID_NM
    fz, fy, fx = np.floor(cz), np.floor(cy), np.floor(cx)
    tz, ty, tx = cz - fz, cy - fy, cx - fx
    i, j, k = np.int64(fz) - grid.start[0], np.int64(fy) - grid.start[1], np.int64(fx) - grid.start[2]
    g = grid.corner_DHWC
    for c in range(3):
        a00 = g[i, j, k, c] + tx * (g[i, j, k + 1, c] - g[i, j, k, c])
        a01 = g[i, j + 1, k, c] + tx * (g[i, j + 1, k + 1, c] - g[i, j + 1, k, c])
        a10 = g[i + 1, j, k, c] + tx * (g[i + 1, j, k + 1, c] - g[i + 1, j, k, c])
        a11 = g[i + 1, j + 1, k, c] + tx * (g[i + 1, j + 1, k + 1, c] - g[i + 1, j + 1, k, c])
        b0 = a00 + ty * (a01 - a00)
        b1 = a10 + ty * (a11 - a10)
        u[c] = b0 + tz * (b1 - b0)
        jac[c, 0] = (b1 - b0) / GRID_NM
        jac[c, 1] = ((a01 - a00) + tz * ((a11 - a10) - (a01 - a00))) / GRID_NM
        # one edge of the cell is enough for the x slope: it only steers the membrane width
        jac[c, 2] = (g[i, j, k + 1, c] - g[i, j, k, c]) / GRID_NM


@njit(cache=True)
def _invert(
    seed: int, octaves: NDArray[np.float64], turn: NDArray[np.float64], target_NC: NDArray[np.float64]
) -> NDArray[np.float64]:
    out = np.empty_like(target_NC)
    straight, p, moved = np.empty(3), np.empty(3), np.empty(3)
    for n in range(target_NC.shape[0]):
        for c in range(3):
            straight[c] = turn[0, c] * target_NC[n, 0] + turn[1, c] * target_NC[n, 1] + turn[2, c] * target_NC[n, 2]
            p[c] = straight[c]
        for _ in range(200):
            _displaced(seed, octaves, p, moved)
            error = 0.0
            for c in range(3):
                step = 0.7 * (straight[c] - moved[c])
                p[c] += step
                error = max(error, abs(step))
            if error < 1e-4:
                break
        out[n] = p
    return out


def tissue_points(seed: int, spacing_nm: float, lattice_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tissue coordinates (nm) of lattice points: the inverse of the map, by damped fixed-point iteration."""
    return np.asarray(_invert(seed, WARP, rotation(seed), np.ascontiguousarray(lattice_NC)) * spacing_nm)
