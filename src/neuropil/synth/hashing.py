"""Random numbers that are pure functions of a seed and integer coordinates: the same whatever block asks for them.

Every function is a numba kernel. The mixer is the finaliser of SplitMix64 (Steele, Lea & Flood 2014); smooth fields
are value noise (hashed lattice values, quintic interpolation).
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["Whole", "gauss", "hash3", "noise3", "uniform"]

Whole = int | np.int64

_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xC2B2AE3D27D4EB4F)
_C = np.uint64(0xD6E8FEB86659FD93)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_S16, _S32, _S48, _LOW = np.uint64(16), np.uint64(32), np.uint64(48), np.uint64(0xFFFF)


@njit(cache=True)
def hash3(seed: int, a: Whole, b: Whole, c: Whole) -> np.uint64:
    """64 well-mixed bits (uint64) of a seed and three integers."""
    h = (np.uint64(seed) ^ _M1) + np.uint64(a) * _A + np.uint64(b) * _B + np.uint64(c) * _C
    h = (h ^ (h >> _S30)) * _M1
    h = (h ^ (h >> _S27)) * _M2
    return h ^ (h >> _S31)


@njit(cache=True)
def uniform(seed: int, a: Whole, b: Whole, c: Whole) -> float:
    """A number in [0, 1)."""
    return np.float64(hash3(seed, a, b, c) >> _S11) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def gauss(seed: int, a: Whole, b: Whole, c: Whole) -> float:
    """A number of mean 0, variance 1, nearly normal (sum of four 16-bit uniforms; bounded by 3.5)."""
    h = hash3(seed, a, b, c)
    total = np.int64(h & _LOW) + np.int64((h >> _S16) & _LOW) + np.int64((h >> _S32) & _LOW) + np.int64(h >> _S48)
    return (total - 131070.0) * 2.6429e-5


@njit(cache=True)
def _fade(t: float) -> float:
    return t * t * t * (t * (t * 6.0 - 15.0) + 10.0)


@njit(cache=True)
def noise3(seed: int, z: float, y: float, x: float) -> float:
    """Smooth noise of about unit variance at lattice points, correlation length 1."""
    fz, fy, fx = np.floor(z), np.floor(y), np.floor(x)
    i, j, k = np.int64(fz), np.int64(fy), np.int64(fx)
    tz, ty, tx = _fade(z - fz), _fade(y - fy), _fade(x - fx)
    total = 0.0
    for a in range(2):
        wz = tz if a else 1.0 - tz
        for b in range(2):
            wy = ty if b else 1.0 - ty
            left = gauss(seed, i + a, j + b, k)
            right = gauss(seed, i + a, j + b, k + 1)
            total += wz * wy * (left + tx * (right - left))
    return total
