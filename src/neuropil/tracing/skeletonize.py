"""Labels to trees: one skeleton for every segment of a volume.

As TEASAR does (Sato et al., Pacific Graphics 2000), paths are drawn from the place deepest inside a segment to its far
ends, where going near the surface is dear: a step costs its length over the squared depth. The depth is the
anisotropic distance to what is not the segment, which is also the radius. Branches are chosen as in images: longest
first, if enough of them lies outside what others cover.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import fastremap
import numpy as np
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree

from neuropil.config.trace import TraceConfig
from neuropil.geometry import Box
from neuropil.skeleton import Skeleton
from neuropil.tracing import prune, tree
from neuropil.tracing.foreground import gathered
from neuropil.tracing.geodesic import costs, march
from neuropil.tracing.grow import SOMA, finished, seeds
from neuropil.tracing.radius import tile_shape, with_depth
from neuropil.tracing.voxels import Voxels
from neuropil.volume import Volume


@dataclass(frozen=True)
class Segment:
    """A label, where it lies, and how many voxels it has."""

    label: int
    box: Box
    voxels: int


def segments(labels: Volume, config: TraceConfig) -> list[Segment]:
    """All segments of at least `labels.min_voxels`, by rising label; the volume is read once, tile by tile."""
    boxes: dict[int, tuple[Box, int]] = {}
    for block in labels.blocks(tile_shape(config, labels.box)):
        ids, mapping = fastremap.renumber(labels.read(block.write), in_place=True)
        counts, places = np.bincount(ids.ravel()), find_objects(ids)
        for key, value in mapping.items():
            label, number = int(key), int(value)
            if label == 0:
                continue
            found = places[number - 1]
            lo, hi = (
                [s + getattr(f, e) for s, f in zip(block.write.start, found, strict=True)] for e in ("start", "stop")
            )
            size = int(counts[number])
            if label in boxes:
                before, count = boxes[label]
                lo, hi = np.minimum(lo, before.start).tolist(), np.maximum(hi, before.stop).tolist()
                size += count
            boxes[label] = (Box(tuple(lo), tuple(hi), labels.voxel_size), size)
    return [
        Segment(int(label), *boxes[label]) for label in sorted(boxes) if boxes[label][1] >= config.labels.min_voxels
    ]


def skeletons(labels: Volume, config: TraceConfig, wanted: list[Segment]) -> Iterator[tuple[Segment, Skeleton]]:
    """The skeletons of segments, one by one; each takes memory for its own voxels only.

    Raises
    ------
    InputError
        If a segment has more voxels than `memory_gb` can hold.
    """
    for segment in wanted:
        part = labels.crop(segment.box).named(f"{labels.name} label {segment.label}")
        yield segment, skeleton_of(part, segment.label, config)


def skeleton_of(part: Volume, label: int, config: TraceConfig) -> Skeleton:
    """The skeleton of one label in a volume, in the volume's own place; pieces of it that are apart stay apart.

    Node 0 is the thickest place of the piece with the most cable, of kind 1 where it stands out as a cell body.
    """
    whole = with_depth(
        gathered(part, config, (0, 0, 0), lambda box: np.where(part.read(box) == label, np.uint8(255), np.uint8(0))),
        config,
    )
    return _skeleton(whole, config, np.asarray(part.box.offset_nm))


def _skeleton(voxels: Voxels, config: TraceConfig, corner: tree.Floats) -> Skeleton:
    limits = config.labels
    found = march(voxels, costs(voxels, sharpness=0.0, middle=limits.middle), seeds(voxels, None))
    kept = prune.branches(
        voxels, found, spur=limits.spur, faint=0.0, cover=limits.cover, cover_voxels=config.cover_voxels
    )
    apart = config.model_copy(update={"keep": "all", "gap": 0.0, "min_piece": limits.min_piece})
    made = finished(tree.tree_of(voxels, found, kept), voxels, apart, None)
    kind = made.skeleton.kind.copy()
    kind[0] = SOMA if made.soma_nm is not None else 0
    nodes = _inside(made.skeleton.nodes_nm, voxels)
    return Skeleton(nodes + corner, made.skeleton.radius_nm, made.skeleton.parent, kind)


def _inside(nodes_nm: tree.Floats, voxels: Voxels) -> tree.Floats:
    """Nodes that smoothing has moved out of the segment go to its nearest voxel."""
    out = np.flatnonzero(~voxels.holds(nodes_nm))
    nodes = nodes_nm.copy()
    if out.size:
        centres = voxels.places_nm(np.arange(len(voxels)))
        nodes[out] = centres[cKDTree(centres).query(nodes_nm[out])[1]]
    return nodes
