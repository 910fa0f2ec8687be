"""Skeletons of objects, cell by cell, that are one where the object is one.

Cells share the plane of voxels where they meet. Every patch of an object in such a plane has one place, the same for
both cells, through which both of their skeletons go (TEASAR: Sato et al., Pacific Graphics 2000; block by block with
such places, as Igneous and Kimimaro do: Silversmith et al. 2021). Joining is then a union of lattice points.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from bioimage_cpp.skeleton import distributed, remove_ticks
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

from neuropil.config.objects import ObjectsConfig
from neuropil.geometry import Float3
from neuropil.post.cell import Cell
from neuropil.skeleton import Skeleton

#: Voxels (V, 3) int64 z, y, x of the volume, edges (E, 2), radii (V,) in nm.
Fragment: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.float32]]


def fragments(labels_ZYX: npt.NDArray[np.uint32], cell: Cell, config: ObjectsConfig) -> dict[int, Fragment]:
    """The skeletons of all objects in a cell.

    Parameters
    ----------
    labels_ZYX
        The cell's voxels with those that it shares; 0 = background.
    """
    faces = [(axis, "low") for axis in range(3) if cell.below[axis]]
    faces += [(axis, "high") for axis in range(3) if cell.above[axis]]
    places = distributed.block_border_targets_labels(labels_ZYX, faces, origin=cell.start, spacing=cell.voxel_size)
    found: dict[int, Fragment] = distributed.block_teasar_labels(
        labels_ZYX,
        open_faces=faces,
        origin=cell.start,
        required_targets=places,
        spacing=cell.voxel_size,
        scale=config.branch_radii,
        constant=config.branch_nm,
    )
    return found


def joined(parts: Sequence[Fragment], *, voxel_size: Float3, corner_nm: Float3, config: ObjectsConfig) -> Skeleton:
    """The skeleton of an object from those of its cells: without loops and spurs, smooth, in nm.

    Pieces of the object that do not touch stay apart, each with its thickest place as the root.
    """
    whole = distributed.minimum_spanning_forest(distributed.merge_block_skeletons(parts), spacing=voxel_size)
    nodes, edges, radii = distributed.lattice_to_physical(whole, spacing=voxel_size)
    nodes, edges, radii = _without_doubles(nodes, edges, radii, config.branch_radii * radii + max(voxel_size))
    if config.spur_nm > 0 and len(edges):
        nodes, edges, radii = remove_ticks(nodes, edges, config.spur_nm, radii)
    nodes = _smoothed(nodes, edges.astype(np.int64), config.smooth)
    order, parent = _rooted(edges.astype(np.int64), radii)
    places_nm = nodes[order] + np.asarray(corner_nm) + np.asarray(voxel_size) / 2
    tree = Skeleton(places_nm, radii[order].astype(np.float64), parent, np.zeros(len(order), np.int64))
    return tree.resampled(config.step_nm)


def _without_doubles(
    nodes: npt.NDArray[np.float64],
    edges: npt.NDArray[np.uint64],
    radii: npt.NDArray[np.float32],
    reach_nm: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    """Cut end branches all of whose nodes others reach, shortest first.

    A neurite that runs along the plane between two cells has a path in each of them: this leaves one.
    """
    count = len(nodes)
    ends, others = np.concatenate([edges, edges[:, ::-1]]).astype(np.int64).T
    order = np.argsort(ends, kind="stable")
    first = np.searchsorted(ends[order], np.arange(count + 1))
    near = [others[order][a:b].tolist() for a, b in itertools.pairwise(first)]
    tree, farthest, there = cKDTree(nodes), float(reach_nm.max(initial=0)), np.ones(count, np.bool_)
    waiting = [(0, tip) for tip in range(count) if len(near[tip]) == 1]
    while waiting:
        known, tip = heapq.heappop(waiting)
        branch, foot = _end_branch(near, tip)
        if foot < 0:
            continue
        if len(branch) > known:
            heapq.heappush(waiting, (len(branch), tip))
            continue
        there[branch] = False
        if all(_reached(nodes, node, tree.query_ball_point(nodes[node], farthest), there, reach_nm) for node in branch):
            near[foot].remove(branch[-1])
        else:
            there[branch] = True
    number = np.cumsum(there) - 1
    kept = edges[there[edges.astype(np.int64)].all(axis=1)]
    return nodes[there], number[kept.astype(np.int64)].astype(np.uint64), radii[there]


def _end_branch(near: Sequence[Sequence[int]], tip: int) -> tuple[list[int], int]:
    """The nodes from a tip to the next place where branches meet, and that place; -1 where there is none."""
    branch, before, at = [tip], -1, tip
    while True:
        onward = [node for node in near[at] if node != before]
        if not onward:
            return branch, -1
        before, at = at, onward[0]
        if len(near[at]) > 2:
            return branch, at
        branch.append(at)


def _reached(
    nodes: npt.NDArray[np.float64],
    node: int,
    around: list[int],
    there: npt.NDArray[np.bool_],
    reach_nm: npt.NDArray[np.floating],
) -> bool:
    """Whether any node that is there reaches a place."""
    by = np.asarray(around)[there[around]]
    return bool((np.linalg.norm(nodes[by] - nodes[node], axis=1) <= reach_nm[by]).any())


def _smoothed(nodes: npt.NDArray[np.float64], edges: npt.NDArray[np.int64], sigma: float) -> npt.NDArray[np.float64]:
    """Nodes between two others move towards the middle of these, again and again: a Gaussian along the branch."""
    ends, others = np.concatenate([edges, edges[:, ::-1]]).T
    inner = np.flatnonzero(np.bincount(ends, minlength=len(nodes)) == 2)
    order = np.argsort(ends, kind="stable")
    pair = others[order][np.isin(ends[order], inner)].reshape(-1, 2)
    moved = nodes.copy()
    for _ in range(round(2 * sigma**2)):
        # one step adds half a square node to the variance
        moved[inner] = moved[inner] / 2 + (moved[pair[:, 0]] + moved[pair[:, 1]]) / 4
    return moved


def _rooted(
    edges: npt.NDArray[np.int64], radii: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Nodes in an order in which parents come first, and the parent of each in that order (-1: root)."""
    count = len(radii)
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), (count, count))
    _, piece = connected_components(graph, directed=False)
    thickest = np.lexsort((np.arange(count), -radii, piece))
    roots = thickest[np.unique(piece[thickest], return_index=True)[1]]
    # one node more, above all roots, makes a tree of the forest
    u = np.concatenate([edges[:, 0], np.full(len(roots), count)])
    v = np.concatenate([edges[:, 1], roots])
    whole = coo_array((np.ones(len(u), np.int8), (u, v)), (count + 1, count + 1)).tocsr()
    order, above = breadth_first_order(whole, count, directed=False)
    order = order[1:].astype(np.int64)
    number = np.full(count + 1, -1, np.int64)
    number[order] = np.arange(count)
    return order, number[above[order]]
