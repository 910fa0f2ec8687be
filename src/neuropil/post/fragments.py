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

import numpy as np
import numpy.typing as npt

from neuropil.affinities import NEAREST, as_offsets, with_offsets
from neuropil.config import FragmentsConfig
from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3
from neuropil.post import ascent
from neuropil.post import landscape as land


@dataclass(frozen=True)
class Links:
    """Where every voxel points, and which voxels join all their linked neighbours.

    Parameters
    ----------
    code_ZYX
        uint8 neighbour codes (`ascent.SELF`, `ascent.NONE`, or the step).
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
    n = ascent.join_links(found.code_ZYX, found.core_ZYX, edges_CZYX, join_rule(voxel_size, config), labels)
    return labels, int(n)


def links(
    edges_CZYX: npt.NDArray[np.uint8],
    voxel_size: Float3,
    config: FragmentsConfig,
    inner: tuple[slice, slice, slice] | None = None,
) -> Links:
    """Where every voxel points; voxels nearer than `halo` to a cut face (not the volume's own) are not final.

    `inner` chooses the voxels of interest (all if empty); what only serves the others is not computed.
    """
    shape = shaped(voxel_size, config)
    extents = edges_CZYX.shape[1:]
    wanted = inner or (slice(0, extents[0]), slice(0, extents[1]), slice(0, extents[2]))
    # the steepest ascent looks at neighbours, and at the edges around them
    z, y, x = (slice(max(0, s.start - 2), min(n, s.stop + 2)) for s, n in zip(wanted, extents, strict=True))
    height, core = land.heights(edges_CZYX, shape, (z, y, x))
    code = np.empty(core.shape, np.uint8)
    reach = 0 if shape.sectionwise else 1
    near = np.ascontiguousarray(edges_CZYX[:, z, y, x])
    ascent.ascend(height, near, reach, _link_level(config), _level(config.background), code)
    within = tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(wanted, (z, y, x), strict=True))
    return Links(np.ascontiguousarray(code[within]), np.ascontiguousarray(core[within]))


def halo(voxel_size: Float3, config: FragmentsConfig) -> Int3:
    """Voxels z, y, x by which a block must be grown so that its links are those of the whole volume."""
    return shaped(voxel_size, config).halo


def shaped(voxel_size: Float3, config: FragmentsConfig) -> land.Landscape:
    """The landscape of a configuration; 'auto' works per section where voxels are coarse in z."""
    ratio = voxel_size[0] / min(voxel_size[1:])
    apart = config.sectionwise == "always" or (config.sectionwise == "auto" and ratio >= config.sectionwise_ratio)
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
    ascent.reaching(edges_CZYX, _level(config.background), out)
    return out


def label_fragments_of(
    parent: npt.NDArray[np.int32], tissue_ZYX: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], int]:
    """Turn a forest over the voxels into int32 ids in order of first voxel, and their number."""
    labels = np.empty(tissue_ZYX.shape, np.int32)
    code = np.where(tissue_ZYX, np.uint8(ascent.SELF), np.uint8(ascent.NONE)).ravel()
    return labels, int(ascent.numbered(parent, code, labels.ravel()))


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
            f"affinities of shape {aff_CZYX.shape} for {len(steps)} offsets",
            "(channels, z, y, x), an offset each",
            "store one channel for each step, channels first",
        )
    if aff_CZYX.dtype == np.uint8:
        return np.ascontiguousarray(aff_CZYX)
    if aff_CZYX.dtype.kind != "f":
        raise InputError(
            f"affinities of type {aff_CZYX.dtype}",
            "uint8 (0..255) or float (0..1)",
            "rescale to 0..255 as uint8, or to 0..1 as float",
        )
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


def join_rule(voxel_size: Float3, config: FragmentsConfig) -> tuple[int, int]:
    """What `ascent.join_links` asks of core voxels: whether they join across z, and by which edges at least."""
    return 0 if shaped(voxel_size, config).sectionwise else 1, _link_level(config)


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
    radius = [
        0 if w == 0 else max(1, round(config.seed_nm / v)) for w, v in zip(shape.weights, voxel_size, strict=True)
    ]
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
    return relabelled, int(ascent.in_order(out, relabelled, first))


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
