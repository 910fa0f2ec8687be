"""Settings that follow from the voxel size when the user leaves them empty."""

from __future__ import annotations

from neuropil.affinities import NEAREST, Offsets
from neuropil.config import Config
from neuropil.geometry import Float3, Int3

#: Long-range steps in nm along fine axes: across one membrane, and about one thin neurite.
LONG_RANGE_NM = (24.0, 72.0)
#: Voxels of a training crop; a cube is shaped into flat crops for coarse sections.
CROP_VOXELS = 64**3
#: Voxels of a prediction tile: larger than a crop, so that less of it is margin.
TILE_VOXELS = 96**3
#: A crop or tile of a single image has so many times fewer voxels, and still sees twice as far.
FLAT = 16


def default_offsets(voxel_size: Float3) -> Offsets:
    """Nearest edges, then two long-range steps an axis; coarse axes step one section at a time.

    Examples
    --------
    >>> default_offsets((8, 8, 8))[3:6]
    ((-3, 0, 0), (0, -3, 0), (0, 0, -3))
    """
    offsets = list(NEAREST)
    steps = [1, 1, 1]
    for distance in LONG_RANGE_NM:
        for axis, size in enumerate(voxel_size):
            steps[axis] = max(steps[axis] + 1, round(distance / size))
            offset = [0, 0, 0]
            offset[axis] = -steps[axis]
            offsets.append((offset[0], offset[1], offset[2]))
    return tuple(offsets)


def default_extent(voxel_size: Float3, voxels: int, multiple: Int3) -> Int3:
    """An extent of about `voxels` voxels, near cubic in nm but at most eight times flatter in voxels, on `multiple`."""
    fine = min(voxel_size)
    ratio = [min(8.0, size / fine) for size in voxel_size]
    side = (voxels * ratio[0] * ratio[1] * ratio[2]) ** (1 / 3)
    z, y, x = (max(m, round(side / r / m) * m) for r, m in zip(ratio, multiple, strict=True))
    return z, y, x


def flat_extent(voxels: int, multiple: Int3) -> Int3:
    """A square one voxel deep, on `multiple`, for networks that see single images.

    Examples
    --------
    >>> flat_extent(64**3, (1, 8, 8))
    (1, 128, 128)
    """
    side = (voxels / FLAT) ** 0.5
    y, x = (max(m, round(side / m) * m) for m in multiple[1:])
    return 1, y, x


def resolved(config: Config, voxel_size: Float3, stride: Int3) -> Config:
    """Fill the empty settings that depend on the voxel size (nm; z, y, x) and the network's stride."""
    data, model, predict = config.data, config.model, config.predict
    even = (max(2, stride[0]), max(8, stride[1]), max(8, stride[2]))
    crop = data.crop or _extent(config, voxel_size, CROP_VOXELS, even)
    offsets = model.offsets or default_offsets(voxel_size)
    tile = predict.tile or _extent(config, voxel_size, TILE_VOXELS, even)
    longest = [max(abs(o[axis]) for o in offsets) for axis in range(3)]
    overlap = predict.overlap or tuple(min(t - 1, max(t // 4, 2 * e)) for t, e in zip(tile, longest, strict=True))
    return config.model_copy(
        update={
            "data": data.model_copy(update={"crop": crop}),
            "model": model.model_copy(update={"offsets": offsets}),
            "predict": predict.model_copy(update={"tile": tile, "overlap": overlap}),
        }
    )


def _extent(config: Config, voxel_size: Float3, voxels: int, multiple: Int3) -> Int3:
    return flat_extent(voxels, multiple) if config.model.flat else default_extent(voxel_size, voxels, multiple)
