"""Expected run length (ERL): how far one follows a neuron through a segmentation before an error.

Januszewski et al., Nat. Methods 15:605 (2018); edge classes as in funlib.evaluate (Funke lab).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Box, Float3, Int3
from neuropil.metrics.overlap import Ids, weighted_bincount
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume, require_kind

#: whether more is better, for the scores of `erl`; lengths of the truth and counts of skeletons have no direction.
HIGHER_IS_BETTER = {"erl_nm": True, "nerl": True, "erl_splits": False, "erl_merges": False}

#: what `sample_array` and `sample_volume` give a node that lies outside the segmentation.
OUTSIDE = 2**64 - 1

_NO_OBJECT = np.array([0, 2**64 - 2], np.uint64)


@dataclass(frozen=True)
class SkeletonRuns:
    """What became of one skeleton's cable; lengths in nm.

    `correct_nm + split_nm + merged_nm + omitted_nm = length_nm`, the cable inside the segmentation: edges whose
    ends lie in one segment, in two, in one that also covers another skeleton, or with an end in no segment. `erl_nm` is
    the expected run from a random point of this skeleton; `segments` counts the distinct segments met.
    """

    length_nm: float
    correct_nm: float
    split_nm: float
    merged_nm: float
    omitted_nm: float
    erl_nm: float
    segments: int


@dataclass(frozen=True, eq=False)
class ERLResult:
    """ERL of a set of skeletons; `nerl` is `erl_nm` over `max_erl_nm`, that of a perfect segmentation.

    `splits` sums over skeletons the segments beyond the first; `merges` sums over `merged_segments` the skeletons
    beyond the first (one for each forbidden segment met).
    """

    erl_nm: float
    max_erl_nm: float
    path_length_nm: float
    splits: int
    merges: int
    merged_segments: Ids
    skeletons: tuple[SkeletonRuns, ...]

    @property
    def nerl(self) -> float:
        """ERL as a share of the best possible."""
        return self.erl_nm / self.max_erl_nm

    def scores(self) -> dict[str, float | int]:
        """The scores as one flat dictionary."""
        return {
            "erl_nm": self.erl_nm,
            "nerl": self.nerl,
            "erl_splits": self.splits,
            "erl_merges": self.merges,
            "erl_max_nm": self.max_erl_nm,
            "path_length_nm": self.path_length_nm,
            "num_skeletons": len(self.skeletons),
        }


def sample_array(
    labels_ZYX: NDArray[Any], voxel_size: Float3, skeletons: Sequence[Skeleton], *, offset: Float3
) -> list[Ids]:
    """The segment id under each node of each skeleton, `OUTSIDE` beyond the array.

    Voxel i spans `offset + i·voxel_size` up to the next, in nm; a node takes the label of the voxel that it lies in.

    Raises
    ------
    InputError
        If the array does not hold integer labels.
    GeometryError
        If it does not have three axes.
    """
    if labels_ZYX.dtype.kind not in "iub":
        raise InputError(f"a segmentation of type {labels_ZYX.dtype}", "integer object ids")
    if labels_ZYX.ndim != 3:
        raise GeometryError(f"labels of shape {labels_ZYX.shape}", "three axes z, y, x")
    sampled = []
    for skeleton in skeletons:
        voxels = _voxels(skeleton, voxel_size) - np.round(np.array(offset) / voxel_size).astype(np.int64)
        inside = ((voxels >= 0) & (voxels < labels_ZYX.shape)).all(axis=1)
        ids = np.full(len(voxels), OUTSIDE, np.uint64)
        ids[inside] = labels_ZYX[tuple(voxels[inside].T)]
        sampled.append(ids)
    return sampled


def sample_volume(volume: Volume, skeletons: Sequence[Skeleton], *, block_shape: Int3) -> list[Ids]:
    """`sample_array` for a volume: reads only the blocks that hold nodes, one at a time; the same errors."""
    volume = require_kind(volume, "labels")
    if volume.ndim != 3:
        raise GeometryError(f"{volume.name}: labels of shape {volume.shape}", "three axes z, y, x")
    lengths = [len(s.nodes_nm) for s in skeletons]
    voxels = np.concatenate([np.empty((0, 3), np.int64), *(_voxels(s, volume.voxel_size) for s in skeletons)])
    ids = np.full(len(voxels), OUTSIDE, np.uint64)
    inside = np.flatnonzero(((voxels >= volume.box.start) & (voxels < volume.box.stop)).all(axis=1))
    cells, owner = np.unique(voxels[inside] // np.array(block_shape), axis=0, return_inverse=True)
    order = np.argsort(owner.reshape(-1), kind="stable")
    groups = np.split(inside[order], np.cumsum(np.bincount(owner.reshape(-1), minlength=len(cells)))[:-1])
    for nodes in groups if len(cells) else []:
        low, high = voxels[nodes].min(axis=0), voxels[nodes].max(axis=0) + 1
        box = Box(_int3(low), _int3(high), volume.voxel_size)
        ids[nodes] = volume.read(box)[tuple((voxels[nodes] - low).T)]
    return np.split(ids, np.cumsum(lengths)[:-1]) if lengths else []


def erl(
    skeletons: Sequence[Skeleton],
    node_segments: Sequence[Ids],
    *,
    merge_tolerance_nm: float,
    forbidden_segments: Iterable[int] = (),
) -> ERLResult:
    """Expected run length of skeletons through a segmentation.

    A run is the cable of one skeleton in one segment. Segments that cover more than one skeleton are merged: their runs
    are worth nothing. ERL is the expected length of the run at a random point of all cable, Σ run² / Σ length. Sparse
    skeletons should be resampled first (`Skeleton.resampled`): an edge is judged by its two ends.

    Parameters
    ----------
    node_segments
        For each skeleton the segment id under each node, see `sample_array`; 0 is no segment, edges with an end at
        `OUTSIDE` are left out of everything.
    merge_tolerance_nm
        A segment covers a skeleton if more than this length of its cable lies in it (a node stands for half of each of
        its edges); with 0 any node is enough.
    forbidden_segments
        Segments known to be merged with something that has no skeleton (em_erl's "no-merge" mask).

    Raises
    ------
    InputError
        If there is no cable to follow, ids do not match the nodes, or the tolerance is negative.
    """
    _check(skeletons, node_segments, merge_tolerance_nm)
    nodes = _Nodes(skeletons, node_segments)
    merged, covered = nodes.merged_segments(merge_tolerance_nm, np.array(sorted(set(forbidden_segments)), np.uint64))
    u, v = nodes.segment[nodes.child], nodes.segment[nodes.parent]
    omitted = np.isin(u, _NO_OBJECT) | np.isin(v, _NO_OBJECT)
    split = ~omitted & (u != v)
    bad = ~omitted & ~split & np.isin(u, merged)
    classes = np.select([omitted, split, bad], [3, 1, 2], 0)
    count = len(skeletons)
    parts = np.zeros((count, 4))
    np.add.at(parts, (nodes.owner[nodes.child], classes), nodes.length)
    total = parts.sum(axis=1)
    if not total.sum() > 0:
        raise InputError(
            "skeletons without cable in the segmentation", "at least one edge inside", "check the units: nm"
        )
    squares = nodes.squared_runs(classes == 0)
    own = np.divide(squares, total, out=np.zeros(count), where=total > 0)
    segments = nodes.segments_per_skeleton()
    rows = zip(total.tolist(), parts.tolist(), own.tolist(), segments.tolist(), strict=True)
    return ERLResult(
        erl_nm=float(squares.sum() / total.sum()),
        max_erl_nm=float((total**2).sum() / total.sum()),
        path_length_nm=float(total.sum()),
        splits=int(np.maximum(segments - 1, 0).sum()),
        merges=int(np.maximum(covered - 1, 1).sum()),
        merged_segments=merged,
        skeletons=tuple(SkeletonRuns(nm, a, b, c, d, one, met) for nm, (a, b, c, d), one, met in rows),
    )


class _Nodes:
    """All skeletons' nodes and edges in flat arrays; edges that leave the segmentation are dropped."""

    def __init__(self, skeletons: Sequence[Skeleton], node_segments: Sequence[Ids]) -> None:
        sizes = [len(s.nodes_nm) for s in skeletons]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.count = len(skeletons)
        self.owner = np.repeat(np.arange(self.count), sizes)
        self.segment = np.concatenate([np.empty(0, np.uint64), *(np.asarray(s, np.uint64) for s in node_segments)])
        edges = np.concatenate(
            [np.empty((0, 2), np.int64), *(s.edges + b for s, b in zip(skeletons, starts[:-1], strict=True))]
        )
        length = np.concatenate([np.empty(0), *(s.edge_lengths_nm() for s in skeletons)])
        inside = (self.segment[edges] != np.uint64(OUTSIDE)).all(axis=1)
        self.child, self.parent = edges[inside].T
        self.length = length[inside]

    def merged_segments(self, tolerance_nm: float, forbidden: Ids) -> tuple[Ids, NDArray[np.int64]]:
        """Ids of merged segments, and how many skeletons each covers."""
        share = np.zeros(len(self.segment))
        for end in (self.child, self.parent):
            np.add.at(share, end, self.length / 2)
        owner, segment, index = self._pairs()
        cable = weighted_bincount(index, share[self._named()], len(owner))
        covers = (cable > tolerance_nm) | (tolerance_nm == 0)
        ids, covered = np.unique(segment[covers], return_counts=True)
        merged = (covered > 1) | np.isin(ids, forbidden)
        return ids[merged], covered[merged]

    def squared_runs(self, correct: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Sum of squared run lengths of each skeleton over its segments, from the correct edges."""
        owner, _, index = self._pairs()
        node_pair = np.full(len(self.segment), -1, np.int64)
        node_pair[self._named()] = index
        run = weighted_bincount(node_pair[self.child[correct]], self.length[correct], len(owner))
        return weighted_bincount(owner, run**2, self.count)

    def segments_per_skeleton(self) -> NDArray[np.int64]:
        """Number of distinct segments that each skeleton meets."""
        return np.bincount(self._pairs()[0], minlength=self.count).astype(np.int64, copy=False)

    def _named(self) -> NDArray[np.bool_]:
        return ~np.isin(self.segment, np.array([*_NO_OBJECT, OUTSIDE], np.uint64))

    def _pairs(self) -> tuple[NDArray[np.int64], Ids, NDArray[np.int64]]:
        """Skeleton and segment of each distinct pair, and the pair of each named node."""
        named = self._named()
        ids, compact = np.unique(self.segment[named], return_inverse=True)
        base = max(1, len(ids))
        pairs, index = np.unique(self.owner[named] * base + compact, return_inverse=True)
        return pairs // base, ids[pairs % base] if len(ids) else ids, index


def _check(skeletons: Sequence[Skeleton], node_segments: Sequence[Ids], merge_tolerance_nm: float) -> None:
    if len(skeletons) != len(node_segments):
        raise InputError(f"{len(skeletons)} skeletons and ids for {len(node_segments)}", "ids for each skeleton")
    for i, (skeleton, ids) in enumerate(zip(skeletons, node_segments, strict=True)):
        if np.shape(ids) != (len(skeleton.nodes_nm),):
            raise InputError(
                f"skeleton {i}: {len(skeleton.nodes_nm)} nodes, ids of shape {np.shape(ids)}", "one id a node"
            )
    if not merge_tolerance_nm >= 0:
        raise InputError(f"a merge tolerance of {merge_tolerance_nm} nm", "0 or more")


def _voxels(skeleton: Skeleton, voxel_size: Float3) -> NDArray[np.int64]:
    # a thousandth of a voxel of slack: 3 * 0.1 / 0.1 must not fall into voxel 2
    voxels: NDArray[np.int64] = np.floor(skeleton.nodes_nm / np.array(voxel_size) + 1e-3).astype(np.int64)
    return voxels


def _int3(values: NDArray[np.int64]) -> Int3:
    z, y, x = (int(v) for v in values)
    return z, y, x
