"""Fragments: pieces of neurons small enough to hold no merge, from nearest affinities.

Every voxel points to the highest of its 26 neighbours on a bounded `landscape`, by (height, global index), and only
along edges whose affinity is not hopeless; voxels far from any boundary are joined with their neighbours. The connected
components of these links are the fragments. Nothing is sorted or flooded, and every link depends on a bounded halo
only, so blocks with that halo give the links of the whole volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from neuropil.affinities import NEAREST, as_offsets, with_offsets
from neuropil.config import FragmentsConfig
from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3
from neuropil.post import landscape as land

SELF = 13  #: code of a voxel that points to itself; code = 9 (dz + 1) + 3 (dy + 1) + dx + 1
NONE = 255  #: code of a background voxel


@dataclass(frozen=True)
class Links:
    """Where every voxel points, and which voxels join all their linked neighbours.

    Parameters
    ----------
    code_ZYX
        uint8 neighbour codes (`SELF`, `NONE`, or the step).
    core_ZYX
        Whether a voxel is farther than the radius from any boundary.
    """

    code_ZYX: npt.NDArray[np.uint8]
    core_ZYX: npt.NDArray[np.bool_]


def fragments(
    aff_CZYX: npt.NDArray[Any], offsets: Sequence[Sequence[int]], voxel_size: Float3, config: FragmentsConfig
) -> npt.NDArray[np.uint64]:
    """Over-segment a volume.

    Parameters
    ----------
    aff_CZYX
        (C, Z, Y, X) affinities, uint8 (0..255) or float (0..1).
    offsets
        Steps z, y, x of the channels, either sign; the nearest neighbours of all axes must be among them.
    voxel_size
        nm, z, y, x.
    config
        See `FragmentsConfig`.

    Returns
    -------
    labels
        (Z, Y, X) uint64 ids 1 .. n in order of first voxel; 0 where all edges are below `config.background`.

    Raises
    ------
    InputError
        If the affinities are not (C, Z, Y, X) in range, or lack a nearest channel.
    """
    return label_fragments(nearest_edges(aff_CZYX, offsets), voxel_size, config)[0].astype(np.uint64)


def label_fragments(
    edges_CZYX: npt.NDArray[np.uint8], voxel_size: Float3, config: FragmentsConfig
) -> tuple[npt.NDArray[np.int32], int]:
    """Fragments of `nearest_edges` as int32 ids, and how many there are."""
    if edges_CZYX[0].size >= 2**31:
        raise InputError(
            f"a volume of {edges_CZYX[0].size} voxels", "fewer than 2**31 at a time", "segment it block by block"
        )
    if config.method == "watershed":
        return _flooded(edges_CZYX, voxel_size, config)
    found = links(edges_CZYX, voxel_size, config)
    labels = np.empty(found.code_ZYX.shape, np.int32)
    planes = 0 if shaped(voxel_size, config).sectionwise else 1
    n = _components(found.code_ZYX, found.core_ZYX, edges_CZYX, (planes, _link_level(config)), labels)
    return labels, int(n)


def links(edges_CZYX: npt.NDArray[np.uint8], voxel_size: Float3, config: FragmentsConfig) -> Links:
    """Where every voxel points; voxels nearer than `halo` to a cut face (not the volume's own) are not final."""
    shape = shaped(voxel_size, config)
    height, core = land.heights(edges_CZYX, shape)
    code = np.empty(core.shape, np.uint8)
    reach = 0 if shape.sectionwise else 1
    _ascend(height, edges_CZYX, reach, _link_level(config), _level(config.background), code)
    return Links(code, core)


def halo(voxel_size: Float3, config: FragmentsConfig) -> Int3:
    """Voxels z, y, x by which a block must be grown so that its links are those of the whole volume."""
    return shaped(voxel_size, config).halo


def shaped(voxel_size: Float3, config: FragmentsConfig) -> land.Landscape:
    """The landscape of a configuration; 'auto' works per section where voxels are coarse in z."""
    ratio = voxel_size[0] / min(voxel_size[1:])
    apart = config.sectionwise == "yes" or (config.sectionwise == "auto" and ratio >= config.sectionwise_ratio)
    return land.landscape(
        voxel_size,
        radius_nm=config.radius_nm,
        sigma_nm=config.sigma_nm,
        levels=(config.boundary, config.worst_edge, config.slope_nm),
        sectionwise=apart,
    )


def tissue(edges_CZYX: npt.NDArray[np.uint8], config: FragmentsConfig) -> npt.NDArray[np.bool_]:
    """Voxels of which at least one nearest edge reaches `config.background`; the others are background."""
    out = np.empty(edges_CZYX.shape[1:], np.bool_)
    _tissue(edges_CZYX, _level(config.background), out)
    return out


def label_fragments_of(parent: npt.NDArray[np.int32], tissue_ZYX: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], int]:
    """Turn a forest over the voxels into int32 ids in order of first voxel, and their number."""
    labels = np.empty(tissue_ZYX.shape, np.int32)
    code = np.where(tissue_ZYX, np.uint8(SELF), np.uint8(NONE)).ravel()
    return labels, int(_numbered(parent, code, labels.ravel()))


def as_bytes(aff_CZYX: npt.NDArray[Any], offsets: Sequence[Sequence[int]]) -> npt.NDArray[np.uint8]:
    """Check affinities and give them as uint8.

    Raises
    ------
    InputError
        If the shape does not fit the offsets, the type is neither uint8 nor float, or floats leave 0..1.
    """
    steps = as_offsets(offsets)
    if aff_CZYX.ndim != 4 or aff_CZYX.shape[0] != len(steps):
        raise InputError(
            f"affinities of shape {aff_CZYX.shape} for {len(steps)} offsets", "(channels, z, y, x), an offset each"
        )
    if aff_CZYX.dtype == np.uint8:
        return np.ascontiguousarray(aff_CZYX)
    if aff_CZYX.dtype.kind != "f":
        raise InputError(f"affinities of type {aff_CZYX.dtype}", "uint8 (0..255) or float (0..1)")
    low, high = (float(aff_CZYX.min()), float(aff_CZYX.max())) if aff_CZYX.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise InputError(f"float affinities from {low:g} to {high:g}", "0 to 1", "divide by their largest value")
    return np.rint(aff_CZYX * np.float32(255)).astype(np.uint8)


def nearest_edges(aff_CZYX: npt.NDArray[Any], offsets: Sequence[Sequence[int]]) -> npt.NDArray[np.uint8]:
    """(3, Z, Y, X) uint8 affinities to the lower neighbour along z, y, x, whatever sign they are stored with."""
    return with_offsets(as_bytes(aff_CZYX, offsets), as_offsets(offsets), NEAREST).astype(np.uint8, copy=False)


def _level(share: float) -> int:
    """The least uint8 affinity that is at least `share`."""
    return int(np.ceil(share * 255 - 1e-9))


def _link_level(config: FragmentsConfig) -> int:
    """No link reaches background: an edge that may carry a link keeps both its ends from being background."""
    return max(_level(config.link), _level(config.background))


def _flooded(
    edges_CZYX: npt.NDArray[np.uint8], voxel_size: Float3, config: FragmentsConfig
) -> tuple[npt.NDArray[np.int32], int]:
    """The classic: seeds at distance maxima, flooding by cut evidence. Its answer depends on the block."""
    from bioimage_cpp.segmentation import watershed

    shape = shaped(voxel_size, config)
    used = voxel_size[1:] if shape.sectionwise else voxel_size
    away, cut = land.distances_nm(edges_CZYX, shape, min(used))
    inside = tissue(edges_CZYX, config)
    radius = [0 if w == 0 else max(1, round(config.seed_nm / v)) for w, v in zip(shape.weights, voxel_size, strict=True)]
    seeds = _maxima(away, radius) & inside & (away > 0)
    out = np.zeros(cut.shape, np.int32)
    first = 0
    # one flooding a section, or one for all
    for part in [(slice(z, z + 1),) for z in range(cut.shape[0])] if shape.sectionwise else [(slice(None),)]:
        marks, n = _plateaus(seeds[part])
        flooded = watershed(cut[part] - away[part] / np.float32(config.radius_nm), marks, mask=inside[part])
        out[part] = np.where(flooded > 0, flooded + first, 0)
        first += n
    relabelled = np.empty_like(out)
    return relabelled, int(_in_order(out, relabelled, first))


def _maxima(values: npt.NDArray[np.float32], radius: list[int]) -> npt.NDArray[np.bool_]:
    """Voxels that are the largest of the box around them."""
    from scipy.ndimage import maximum_filter1d

    best = values
    for axis, r in enumerate(radius):
        if r:
            best = maximum_filter1d(best, 2 * r + 1, axis=axis, mode="nearest")
    return np.asarray(best == values)


def _plateaus(seeds: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], int]:
    """Number the connected seeds."""
    import cc3d

    marks, n = cc3d.connected_components(seeds, connectivity=26, return_N=True)
    return marks.astype(np.int32), int(n)


@numba.njit(cache=True, nogil=True)
def _in_order(labels, out, n):  # type: ignore[no-untyped-def]
    """Renumber 1 .. in order of first voxel; returns how many."""
    new = np.zeros(n + 1, np.int32)
    last = np.int32(0)
    flat, target = labels.ravel(), out.ravel()
    for v in range(flat.size):
        label = flat[v]
        if label > 0 and new[label] == 0:
            last += np.int32(1)
            new[label] = last
        target[v] = new[label]
    return last


@numba.njit(cache=True, nogil=True)
def _raise_row(row, out):  # type: ignore[no-untyped-def]
    for x in range(out.size):
        out[x] = row[x] if row[x] > out[x] else out[x]


@numba.njit(cache=True, nogil=True)
def _lower_row(row, out):  # type: ignore[no-untyped-def]
    for x in range(out.size):
        out[x] = row[x] if row[x] < out[x] else out[x]


@numba.njit(cache=True, nogil=True)
def _best_edges(edges, z, y, out):  # type: ignore[no-untyped-def]
    """The largest affinity of the (up to six) edges of each voxel of a row; 255 where a voxel has no edge."""
    _, Z, Y, X = edges.shape
    out[:] = 255 if Z * Y * X == 1 else 0
    if X > 1:
        _raise_row(edges[2, z, y, 1:], out[1:])
        _raise_row(edges[2, z, y, 1:], out[:-1])
    if z > 0:
        _raise_row(edges[0, z, y], out)
    if z + 1 < Z:
        _raise_row(edges[0, z + 1, y], out)
    if y > 0:
        _raise_row(edges[1, z, y], out)
    if y + 1 < Y:
        _raise_row(edges[1, z, y + 1], out)


@numba.njit(cache=True, nogil=True)
def _worst_around(edges, z, y, near, out):  # type: ignore[no-untyped-def]
    """A lower bound of all edges within the 3 x 3 x 3 voxels around each voxel of a row."""
    _, Z, Y, X = edges.shape
    near[:] = 255
    inner = near[1:-1]
    for other_z in range(max(0, z - 1), min(Z, z + 2)):
        for other_y in range(max(0, y - 1), min(Y, y + 2)):
            for axis in range(3):
                _lower_row(edges[axis, other_z, other_y], inner)
    out[:] = 255
    for shift in range(3):
        _lower_row(near[shift : shift + X], out)


@numba.njit(cache=True, nogil=True)
def _tissue(edges, level, out):  # type: ignore[no-untyped-def]
    """Voxels of which at least one edge reaches a level."""
    Z, Y, X = out.shape
    best = np.empty(X, np.uint8)
    for z in range(Z):
        for y in range(Y):
            _best_edges(edges, z, y, best)
            for x in range(X):
                out[z, y, x] = best[x] >= level


@numba.njit(cache=True, nogil=True)
def _take_higher(heights, code, best, codes):  # type: ignore[no-untyped-def]
    for x in range(best.size):
        higher = heights[x] >= best[x]
        best[x] = heights[x] if higher else best[x]
        codes[x] = code if higher else codes[x]


@numba.njit(cache=True, nogil=True)
def _step(edges, axis, way, z, y, x):  # type: ignore[no-untyped-def]
    """Affinity of the edge from a voxel one step along an axis."""
    if axis == 0:
        return edges[0, z + (way > 0), y, x]
    if axis == 1:
        return edges[1, z, y + (way > 0), x]
    return edges[2, z, y, x + (way > 0)]


@numba.njit(cache=True, nogil=True)
def _passable(edges, level, steps, z, y, x):  # type: ignore[no-untyped-def]
    """Whether some shortest path of nearest edges to the neighbour stays at or above a level."""
    dz, dy, dx = steps
    if dz != 0 and _step(edges, 0, dz, z, y, x) >= level:
        if dy == 0 and dx == 0:
            return True
        if _passable_in_plane(edges, level, (dy, dx), z + dz, y, x):
            return True
    if dy != 0 and _step(edges, 1, dy, z, y, x) >= level:
        if dz == 0 and dx == 0:
            return True
        if _passable_zx(edges, level, (dz, dx), z, y + dy, x):
            return True
    if dx != 0 and _step(edges, 2, dx, z, y, x) >= level:
        if dz == 0 and dy == 0:
            return True
        if _passable_zy(edges, level, (dz, dy), z, y, x + dx):
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _passable_in_plane(edges, level, steps, z, y, x):  # type: ignore[no-untyped-def]
    dy, dx = steps
    if dy != 0 and _step(edges, 1, dy, z, y, x) >= level and (dx == 0 or _step(edges, 2, dx, z, y + dy, x) >= level):
        return True
    return dx != 0 and _step(edges, 2, dx, z, y, x) >= level and (
        dy == 0 or _step(edges, 1, dy, z, y, x + dx) >= level
    )


@numba.njit(cache=True, nogil=True)
def _passable_zx(edges, level, steps, z, y, x):  # type: ignore[no-untyped-def]
    dz, dx = steps
    if dz != 0 and _step(edges, 0, dz, z, y, x) >= level and (dx == 0 or _step(edges, 2, dx, z + dz, y, x) >= level):
        return True
    return dx != 0 and _step(edges, 2, dx, z, y, x) >= level and (
        dz == 0 or _step(edges, 0, dz, z, y, x + dx) >= level
    )


@numba.njit(cache=True, nogil=True)
def _passable_zy(edges, level, steps, z, y, x):  # type: ignore[no-untyped-def]
    dz, dy = steps
    if dz != 0 and _step(edges, 0, dz, z, y, x) >= level and (dy == 0 or _step(edges, 1, dy, z + dz, y, x) >= level):
        return True
    return dy != 0 and _step(edges, 1, dy, z, y, x) >= level and (
        dz == 0 or _step(edges, 0, dz, z, y + dy, x) >= level
    )


@numba.njit(cache=True, nogil=True)
def _ascend(height, edges, reach, level, floor, code):  # type: ignore[no-untyped-def]
    """Point each voxel to its highest passable neighbour; `height` is padded by one voxel on all sides."""
    Z, Y, X = code.shape
    best, codes = np.empty(X, np.float32), np.empty(X, np.float32)
    around, worst, most = np.empty(X + 2, np.uint8), np.empty(X, np.uint8), np.empty(X, np.uint8)
    for z in range(Z):
        for y in range(Y):
            best[:] = -np.inf
            codes[:] = SELF
            # ascending global index, and the later of equals wins: ties go to the higher index
            for k in range(27):
                dz = k // 9 - 1
                if -reach <= dz <= reach:
                    dx = k % 3
                    row = height[z + 1 + dz, y + k // 3 % 3, dx : dx + X]
                    _take_higher(row, np.float32(k), best, codes)
            _worst_around(edges, z, y, around, worst)
            _best_edges(edges, z, y, most)
            for x in range(X):
                code[z, y, x] = np.uint8(codes[x])
                if worst[x] >= level:
                    continue  # every path is open, and the voxel is tissue: `level` is not below `floor`
                k = int(codes[x])
                if most[x] < floor:
                    code[z, y, x] = NONE
                elif most[x] >= level and k != SELF and not _passable(edges, level, (k // 9 - 1, k // 3 % 3 - 1, k % 3 - 1), z, y, x):
                    code[z, y, x] = _next_best(height, edges, reach, level, z, y, x)


@numba.njit(cache=True, nogil=True)
def _next_best(height, edges, reach, level, z, y, x):  # type: ignore[no-untyped-def]
    """The highest passable neighbour that is higher than the voxel itself, or the voxel."""
    chosen, top = SELF, height[z + 1, y + 1, x + 1]
    for k in range(27):
        dz, dy, dx = k // 9 - 1, k // 3 % 3 - 1, k % 3 - 1
        if k == SELF or dz < -reach or dz > reach:
            continue
        value = height[z + 1 + dz, y + 1 + dy, x + 1 + dx]
        # equal heights: the higher index wins, and codes ascend with the index
        if (value > top or (value == top and k > chosen)) and _passable(edges, level, (dz, dy, dx), z, y, x):
            chosen, top = k, value
    return chosen


@numba.njit(cache=True, nogil=True)
def _root(parent, v):  # type: ignore[no-untyped-def]
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@numba.njit(cache=True, nogil=True)
def _join(parent, a, b):  # type: ignore[no-untyped-def]
    a, b = _root(parent, a), _root(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@numba.njit(cache=True, nogil=True)
def _components(code, core, edges, rule, out):  # type: ignore[no-untyped-def]
    """Union of all links, and of core voxels along passable faces; ids in order of first voxel."""
    Z, Y, X = code.shape
    planes, level = rule
    step = np.zeros(256, np.int32)
    for k in range(27):
        step[k] = ((k // 9 - 1) * Y + k // 3 % 3 - 1) * X + k % 3 - 1
    parent, codes = np.empty(code.size, np.int32), code.ravel()
    for v in range(parent.size):
        parent[v] = v + step[codes[v]]
    v = 0
    for z in range(Z):
        for y in range(Y):
            for x in range(X):
                if core[z, y, x] and code[z, y, x] != NONE:
                    if planes and z > 0 and core[z - 1, y, x] and edges[0, z, y, x] >= level and code[z - 1, y, x] != NONE:
                        _join(parent, v, v - Y * X)
                    if y > 0 and core[z, y - 1, x] and edges[1, z, y, x] >= level and code[z, y - 1, x] != NONE:
                        _join(parent, v, v - X)
                    if x > 0 and core[z, y, x - 1] and edges[2, z, y, x] >= level and code[z, y, x - 1] != NONE:
                        _join(parent, v, v - 1)
                v += 1
    return _numbered(parent, codes, out.ravel())


@numba.njit(cache=True, nogil=True)
def _numbered(parent, code, out):  # type: ignore[no-untyped-def]
    """Turn a forest into ids in order of first voxel."""
    out[:] = 0
    last = np.int32(0)
    for v in range(parent.size):
        if code[v] == NONE:
            continue
        root = _root(parent, v)
        if out[root] == 0:
            last += np.int32(1)
            out[root] = -last
        # a root keeps the negative of its id until the last pass, so that id and "seen" share one array
        if v != root:
            out[v] = abs(out[root])
    for v in range(parent.size):
        out[v] = abs(out[v])
    return last
