"""Multi-scale tubularity: how much a place looks like a bright tube, from the curvature of the smoothed image.

Across a bright tube the grey values curve downwards in two directions (in one, where the image is flat). With the
eigenvalues ``a <= b <= c`` of the matrix of second derivatives, the tubularity is ``sigma^2 sqrt(a b)`` where both are
negative (``-sigma^2 a`` in a flat image): the geometric mean is low on plates, which curve one way only (Sato et al.,
Med. Image Anal. 2:143, 1998). All lengths are in nm, so voxels need not be cubes.
"""

from __future__ import annotations

import itertools
import math

import numba
import numpy as np
import numpy.typing as npt

from neuropil.geometry import Float3
from neuropil.smoothing import Image, smoothed

#: Gaussians end at this many standard deviations.
REACH = 3.0
#: sigma of the filter that answers most to a tube of radius 1, in its own plane.
_SIGMA_OF_RADIUS = 1 / math.sqrt(2)


def sigmas_nm(radii: tuple[float, ...], edge_nm: float) -> list[float]:
    """Standard deviation for each tube radius (in finest voxel edges), in nm."""
    return [radius * _SIGMA_OF_RADIUS * edge_nm for radius in radii]


def halo(sigmas: list[float], spacing_nm: Float3) -> tuple[int, int, int]:
    """Voxels beyond a tile, z, y, x, on which its tubularity depends: smoothing adds up from scale to scale."""
    steps = [math.sqrt(s**2 - b**2) for b, s in itertools.pairwise([0.0, *sigmas])]
    z, y, x = (1 + sum(_reach(step / size) for step in steps) for size in spacing_nm)
    return z, y, x


def strongest(
    image_ZYX: Image, sigmas: list[float], levels: list[float], spacing_nm: Float3, *, least: float
) -> tuple[Image, Image]:
    """The tubularity at the scale where it is strongest, as a multiple of that scale's level; and a smoothed image.

    Tubularity is in grey values; it is 0 where nothing is brighter than around it.

    Parameters
    ----------
    image_ZYX
        Neurites bright; axes with a single plane are taken as flat.
    sigmas, levels
        Rising standard deviations in nm, and the tubularity at each that counts as 1.
    spacing_nm
        Voxel size z, y, x.
    least
        Multiples below this need not be told apart from 0.

    Returns
    -------
    strongest
        (Z, Y, X) multiples.
    smooth
        (Z, Y, X) the image at the first scale.
    """
    best, first = np.zeros(image_ZYX.shape, np.float32), image_ZYX
    smooth, before = image_ZYX, 0.0
    for sigma, level in zip(sigmas, levels, strict=True):
        smooth = blurred(smooth, math.sqrt(sigma**2 - before**2), spacing_nm)
        first = smooth if before == 0 else first
        before = sigma
        scale = np.array([(sigma / step) ** 2 for step in spacing_nm], np.float64)
        _raise_to_tubularity(smooth, scale / level, least, best)
    return best, first


def blurred(image_ZYX: Image, sigma_nm: float, spacing_nm: Float3) -> Image:
    """The image under a Gaussian; border values go on outside."""
    out = image_ZYX
    for axis in range(3):
        taps = _taps(sigma_nm / spacing_nm[axis])
        if image_ZYX.shape[axis] > 1 and len(taps) > 1:
            out = smoothed(out, taps, axis)
    return out


def _taps(sigma: float) -> npt.NDArray[np.float32]:
    reach = _reach(sigma)
    # the Gaussian's share of each voxel, so that narrow ones keep their width
    edges = (np.arange(-reach, reach + 2) - 0.5) / (sigma * math.sqrt(2))
    whole = np.array([math.erf(e) for e in edges])
    taps = np.diff(whole)
    return np.asarray(taps / taps.sum(), np.float32)


def _reach(sigma: float) -> int:
    return math.ceil(REACH * sigma - 1e-6)


@numba.njit(cache=True, nogil=True)
def _raise_to_tubularity(image, scale, least, out):  # type: ignore[no-untyped-def]
    """Raise `out` to the tubularity of an image; a cheap bound spares most voxels the eigenvalues."""
    Z, Y, X = image.shape
    sz, sy, sx = scale
    szy, szx, syx = 0.25 * math.sqrt(sz * sy), 0.25 * math.sqrt(sz * sx), 0.25 * math.sqrt(sy * sx)
    for z in range(Z):
        up, down = image[max(0, z - 1)], image[min(Z - 1, z + 1)]
        for y in range(Y):
            n, s = max(0, y - 1), min(Y - 1, y + 1)
            here, north, south = image[z, y], image[z, n], image[z, s]
            for x in range(X):
                west, east = max(0, x - 1), min(X - 1, x + 1)
                twice = 2 * here[x]
                zz = sz * (up[y, x] + down[y, x] - twice)
                yy = sy * (north[x] + south[x] - twice)
                xx = sx * (here[west] + here[east] - twice)
                if zz + yy + xx >= 0:
                    continue
                yx = syx * (south[east] - south[west] - north[east] + north[west])
                if Z == 1:
                    half = 0.5 * (yy - xx)
                    out[z, y, x] = max(out[z, y, x], math.sqrt(half * half + yx * yx) - 0.5 * (yy + xx))
                    continue
                zx = szx * (down[y, east] - down[y, west] - up[y, east] + up[y, west])
                zy = szy * (down[s, x] - down[n, x] - up[s, x] + up[n, x])
                # the squares of all eigenvalues add up to this, so two of them multiply to half of it at most
                square = zz * zz + yy * yy + xx * xx + 2 * (zy * zy + zx * zx + yx * yx)
                beat = max(out[z, y, x], least)
                if square <= 2 * beat * beat:
                    continue
                low, middle = _two_lowest(zz, yy, xx, zy, zx, yx)
                if middle < 0 and low * middle > out[z, y, x] * out[z, y, x]:
                    out[z, y, x] = math.sqrt(low * middle)


@numba.njit(cache=True, nogil=True, inline="always")
def _two_lowest(a, b, c, d, e, f):  # type: ignore[no-untyped-def]
    """The two lowest eigenvalues of the symmetric matrix ((a, d, e), (d, b, f), (e, f, c)), in closed form."""
    off = d * d + e * e + f * f
    mean = (a + b + c) / 3
    p, q, r = a - mean, b - mean, c - mean
    spread = math.sqrt(max((p * p + q * q + r * r + 2 * off) / 6, 1e-30))
    det = p * (q * r - f * f) - d * (d * r - f * e) + e * (d * f - q * e)
    angle = math.acos(min(1.0, max(-1.0, det / (2 * spread**3)))) / 3
    high = mean + 2 * spread * math.cos(angle)
    low = mean + 2 * spread * math.cos(angle + 2 * math.pi / 3)
    return low, 3 * mean - high - low
