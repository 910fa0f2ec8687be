"""What `neuropil info` says of a volume: a pass over blocks, in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import fastremap
import numpy as np
import numpy.typing as npt

from neuropil.geometry import Block, Int3
from neuropil.volume import IGNORED_IDS, Volume

_BLOCK_VOXELS = 2**22
#: Beyond this many voxels, evenly spread blocks stand for the whole, and the result says which share was looked at.
MOST_VOXELS = 2**30
_MERGE_AT = 2**20
#: How many times thinner than a pixel is wide a section may be before it is remarked on.
_THINNER = 1.5
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def describe(volume: Volume, *, most_voxels: int = MOST_VOXELS) -> dict[str, Any]:
    """Geometry, storage and values of a volume, ready for JSON.

    Parameters
    ----------
    volume
        Any volume.
    most_voxels
        How many voxels to read at most.

    Returns
    -------
    dict
        `name, kind, kind_stated, axes, shape, dtype, voxel_size_nm, offset_nm, extent_nm, bytes, storage, attributes,
        looked_at` (share of the voxels that was read), a `note` where the voxel size seems to be in another order, and
        `values` (min, max, mean, non_finite) or, for labels,
        `labels` (objects, background_share, ignored_share, size_quantiles, largest).
    """
    shape, stored = volume.box.shape, np.dtype(volume.array.dtype).newbyteorder("=")
    described: dict[str, Any] = {
        "name": volume.name,
        "kind": volume.kind,
        "kind_stated": volume.kind_stated,
        "axes": volume.axes,
        "shape": list(volume.shape),
        "dtype": str(stored),
        "voxel_size_nm": list(volume.voxel_size),
        "offset_nm": list(volume.offset),
        "extent_nm": [n * v for n, v in zip(shape, volume.voxel_size, strict=True)],
        "bytes": math.prod(volume.shape) * stored.itemsize,
        "storage": {k: list(v) if isinstance(v, tuple) else v for k, v in volume.layout.items()},
        "attributes": volume.attrs,
    }
    z, y, x = volume.voxel_size
    if z * _THINNER < max(y, x):
        # few microscopes do that, and many programs write x, y, z
        described["note"] = f"sections of {z:g} nm are thinner than pixels of {y:g} x {x:g} nm: sizes are z, y, x here"
    blocks = _blocks(volume, most_voxels)
    described["looked_at"] = sum(b.write.size for b in blocks) / max(1, volume.box.size)
    if volume.kind == "labels":
        described["labels"] = _label_statistics(volume, blocks)
    else:
        described["values"] = _value_statistics(volume, blocks)
    return described


def _blocks(volume: Volume, most_voxels: int) -> list[Block]:
    """Blocks that follow the storage; evenly spread ones if all of them would be too many."""
    blocks = list(volume.blocks(_block_shape(volume)))
    each = max((b.write.size for b in blocks), default=1)
    keep = max(1, most_voxels // each)
    if len(blocks) <= keep:
        return blocks
    return [blocks[round(i)] for i in np.linspace(0, len(blocks) - 1, keep)]


def _block_shape(volume: Volume) -> Int3:
    """Stored chunks, doubled along their shortest side until a block is worth its overhead."""
    extent = [max(1, n) for n in volume.shape[-3:]]
    chunk = volume.layout.get("chunk") or (1, *extent[1:])
    side = [min(int(c), n) for c, n in zip(chunk[-3:], extent, strict=True)] if len(chunk) >= 3 else list(extent)
    while math.prod(side) * 2 <= _BLOCK_VOXELS:
        short = [i for i in range(3) if side[i] < extent[i]]
        if not short:
            break
        axis = min(short, key=lambda i: side[i])
        side[axis] = min(2 * side[axis], extent[axis])
    return side[0], side[1], side[2]


def _value_statistics(volume: Volume, blocks: list[Block]) -> dict[str, Any]:
    low, high, total, count, bad = math.inf, -math.inf, 0.0, 0, 0
    for block in blocks:
        data = volume.read(block.write)
        if data.dtype.kind == "f":
            finite = data[np.isfinite(data)]
            bad += data.size - finite.size
            data = finite
        if data.size:
            low, high = min(low, data.min().item()), max(high, data.max().item())
            total, count = total + float(data.sum(dtype=np.float64)), count + data.size
    if not count:
        return {"min": None, "max": None, "mean": None, "non_finite": bad}
    return {"min": low, "max": high, "mean": total / count, "non_finite": bad}


def _label_statistics(volume: Volume, blocks: list[Block]) -> dict[str, Any]:
    ids, sizes = _sizes(volume, blocks)
    voxels = max(1, int(sizes.sum()))
    ignored = np.isin(ids, np.array(IGNORED_IDS, np.uint64))
    objects = (ids != 0) & ~ignored
    kept, counts = ids[objects], sizes[objects]
    order = np.argsort(counts, kind="stable")[::-1][:5]
    quantiles = np.quantile(counts, _QUANTILES) if counts.size else np.full(len(_QUANTILES), 0.0)
    return {
        "objects": int(counts.size),
        "background_share": float(sizes[ids == 0].sum() / voxels),
        "ignored_share": float(sizes[ignored].sum() / voxels),
        "size_quantiles": {f"{q:.2f}": float(v) for q, v in zip(_QUANTILES, quantiles, strict=True)},
        "largest": [{"id": int(kept[i]), "voxels": int(counts[i])} for i in order],
    }


def _sizes(volume: Volume, blocks: list[Block]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Every id with its number of voxels."""
    ids, sizes = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    waiting: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]] = []
    for block in blocks:
        data = volume.read(block.write)
        data = data.view(np.uint8) if data.dtype.kind == "b" else data
        found, counts = fastremap.unique(data, return_counts=True)
        waiting.append((found.astype(np.uint64), counts.astype(np.int64)))
        if sum(w[0].size for w in waiting) > _MERGE_AT:
            ids, sizes = _merged([(ids, sizes), *waiting])
            waiting = []
    return _merged([(ids, sizes), *waiting])


def _merged(
    parts: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    ids, where = np.unique(np.concatenate([p[0] for p in parts]), return_inverse=True)
    sizes = np.zeros(ids.size, np.int64)
    np.add.at(sizes, where, np.concatenate([p[1] for p in parts]))
    return ids, sizes
