"""Local shape descriptors: what a voxel's own object looks like around it, to be learned beside affinities.

Sheridan et al. 2022 (Nature Methods, "Local shape descriptors for neuron segmentation"; their MTLSD): the part of an
object within a Gaussian window has a mass, a centre and a covariance. A network that has to tell them has to know more
of the neuron than one boundary. Nothing of them is stored or decoded: they are taught and forgotten.

Ours differ: they are made on a coarser grid, of the crop alone (what a network can see of an object, it can see in the
crop), and each object in its own bounding box, so that a crop costs a few hundredths of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuropil.data.augment.base import compiled
from neuropil.geometry import Float3, Int3

#: Mean offset (z, y, x), variance (z, y, x), correlation (zy, zx, yx), mass.
CHANNELS = 10
#: Grid steps that a standard deviation of the window spans at least, where voxels allow it.
_FINE = 4.0
#: Standard deviations at which the window ends.
_REACH = 2.5
#: Least variance along an axis, in units of sigma²: that of a grid step is not known better.
_THIN = 1e-3

Fields = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of a crop's objects.

    Parameters
    ----------
    sigma_nm
        Standard deviation of the window.
    voxel_size
        nm, z, y, x.
    """

    sigma_nm: float
    voxel_size: Float3

    @property
    def stride(self) -> Int3:
        """Every how many voxels (z, y, x) there is a descriptor, the first voxel included."""
        z, y, x = (max(1, int(self.sigma_nm / (_FINE * size))) for size in self.voxel_size)
        return z, y, x

    def __call__(
        self, labels_ZYX: npt.NDArray[np.uint32], valid_ZYX: npt.NDArray[np.bool_]
    ) -> tuple[Fields, npt.NDArray[np.uint8]]:
        """Descriptors and where there are any.

        Parameters
        ----------
        labels_ZYX, valid_ZYX
            Ids, 0 = background, and what was annotated.

        Returns
        -------
        descriptors
            (10, Z', Y', X') float32, 0 to 1, on the grid of `stride`: mean offset to the centre (one half is none, one
            sigma is one half), variance (in sigma²), correlation (one half is none), mass (share of the window).
        described
            (1, Z', Y', X') uint8: 1 inside annotated objects.
        """
        sz, sy, sx = self.stride
        labels, valid = labels_ZYX[::sz, ::sy, ::sx], valid_ZYX[::sz, ::sy, ::sx]
        ids, own = np.unique(np.where(valid, labels, 0), return_inverse=True)
        index = np.asarray(own, np.int32).reshape(labels.shape)
        steps = [size * s / self.sigma_nm for size, s in zip(self.voxel_size, self.stride, strict=True)]
        windows = _window(steps[0]), _window(steps[1]), _window(steps[2])
        first = int(ids[0] == 0)
        # where the window holds one section, its place is the centre; large numbers would only lose digits
        apart = np.array([step if len(w) > 1 else 0.0 for step, w in zip(steps, windows, strict=True)], np.float32)
        fields = _described(index, first, len(ids), windows, apart)
        return fields, (index >= first).view(np.uint8)[None]


def _window(step: float) -> Fields:
    """A Gaussian of sum 1, sampled every `step` sigma."""
    reach = int(_REACH / step)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step) ** 2)
    return np.asarray(window / window.sum(), np.float32)


@compiled
def _described(
    own_ZYX: npt.NDArray[np.int32], first: int, objects: int, windows: tuple[Fields, Fields, Fields], steps: Fields
) -> Fields:
    """Descriptors of objects `first` .. `objects`, each in its bounding box; 0 elsewhere."""
    out = np.zeros((10, *own_ZYX.shape), np.float32)
    low, high = _boxes(own_ZYX, objects)
    for i in range(first, objects):
        moments = np.zeros((10, high[i, 0] - low[i, 0], high[i, 1] - low[i, 1], high[i, 2] - low[i, 2]), np.float32)
        _, depth, height, width = moments.shape
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    if own_ZYX[low[i, 0] + z, low[i, 1] + y, low[i, 2] + x] == i:
                        a, b, c = z * steps[0], y * steps[1], x * steps[2]
                        for n, value in enumerate((1.0, a, b, c, a * a, b * b, c * c, a * b, a * c, b * c)):
                            moments[n, z, y, x] = value
        for n in range(10):
            moments[n] = _smoothed(_smoothed(_smoothed(moments[n], windows[0], 0), windows[1], 1), windows[2], 2)
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    if own_ZYX[low[i, 0] + z, low[i, 1] + y, low[i, 2] + x] == i:
                        here = (z * steps[0], y * steps[1], x * steps[2])
                        _describe(moments[:, z, y, x], here, out[:, low[i, 0] + z, low[i, 1] + y, low[i, 2] + x])
    return out


@compiled
def _boxes(own_ZYX: npt.NDArray[np.int32], objects: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lower and upper (exclusive) corner of each object."""
    low, high = np.full((objects, 3), 2**30), np.zeros((objects, 3), np.int64)
    depth, height, width = own_ZYX.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                i = own_ZYX[z, y, x]
                for axis, at in enumerate((z, y, x)):
                    low[i, axis] = min(low[i, axis], at)
                    high[i, axis] = max(high[i, axis], at + 1)
    return low, high


@compiled
def _smoothed(values_ZYX: Fields, window: Fields, axis: int) -> Fields:
    """Weighted sum along one axis; nothing lies beyond the ends."""
    depth, height, width = values_ZYX.shape
    extent = values_ZYX.shape[axis]
    before, after = ((1, height * width), (depth, width), (depth * height, 1))[axis]
    values = values_ZYX.reshape((before, extent, after))
    out, reach = np.zeros_like(values), len(window) // 2
    for b in range(before):
        for i in range(extent):
            for k in range(max(0, reach - i), min(len(window), extent + reach - i)):
                weight = window[k]
                for a in range(after):
                    out[b, i, a] += weight * values[b, i + k - reach, a]
    return out.reshape(values_ZYX.shape)


@compiled
def _describe(moments: Fields, here: tuple[float, float, float], out: Fields) -> None:
    """The ten numbers of one voxel from its window's sums of 1, coordinates and their products; all in sigma."""
    mass = moments[0]
    mean, variance = moments[1:4] / mass, np.empty(3, np.float32)
    for axis in range(3):
        out[axis] = min(1.0, max(0.0, 0.5 + 0.5 * (mean[axis] - here[axis])))
        variance[axis] = max(_THIN, moments[4 + axis] / mass - mean[axis] * mean[axis])
        out[3 + axis] = min(1.0, variance[axis])
    for n, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
        shared = moments[7 + n] / mass - mean[a] * mean[b]
        out[6 + n] = min(1.0, max(0.0, 0.5 + 0.5 * shared / np.sqrt(variance[a] * variance[b])))
    out[9] = min(1.0, mass)
