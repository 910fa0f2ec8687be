"""Trees → voxels to learn from: foreground, a shell that is not scored, centreline, soma, and whose each voxel is.

Each edge is a capsule whose radius changes linearly from node to node. A voxel belongs to it if its centre lies no
farther from the nearest point of the edge than the radius there; all distances are in nm, so that anisotropic voxels
need no care. What a voxel becomes depends on the trees and its place alone: any block equals that part of the whole.

A soma is a ball at each of its points, with capsules between them, and a neurite that leaves it begins with its own
radius, not with that of the soma. The three-point soma of NeuroMorpho is the ball that it means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numba
import numpy as np
import numpy.typing as npt

from neuropil.config.tree_targets import TreeTargetConfig
from neuropil.geometry import Box
from neuropil.skeleton import Skeleton

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SOMA = 1
#: Voxels of an edge that are looked at in one piece: a long slanting edge has a large box with little in it.
_PIECE = 16.0


@dataclass(frozen=True)
class TreeTargets:
    """Arrays (Z, Y, X) over a box.

    `ignore` is outside of `foreground`; `soma` lies within it. `instance` is the number of the tree, from 1, and `edge`
    the number of the node that ends the nearest edge (of the trees' nodes in one row), from 1; both are 0 outside of
    the foreground.
    """

    foreground_ZYX: Mask
    ignore_ZYX: Mask
    centreline_ZYX: Mask
    soma_ZYX: Mask
    instance_ZYX: npt.NDArray[np.int32]
    edge_ZYX: Ints


@dataclass(frozen=True)
class _Capsules:
    """Edges by their two ends (E, 3) in nm and the radii there, whether they are soma, and the node that ends each."""

    one_nm: Floats
    other_nm: Floats
    one_radius: Floats
    other_radius: Floats
    soma: Mask
    node: Ints

    def kept(self, keep: Mask) -> _Capsules:
        """Some of them."""
        return _Capsules(*(getattr(self, f.name)[keep] for f in fields(self)))


def rasterised(skeletons: Sequence[Skeleton], box: Box, config: TreeTargetConfig) -> TreeTargets:
    """Draw trees into the voxels of a box.

    Where capsules overlap, a voxel belongs to the one whose axis is nearest. The centreline has every voxel that an
    edge passes through, widened by `centreline_dilation` steps across faces.

    Parameters
    ----------
    skeletons
        In nm; they may leave the box, or lie beside it.
    """
    size = np.array(box.voxel_size)
    least, shell = config.least_radius * size.min(), config.ignore_shell * size.min()
    capsules = _capsules(skeletons)
    reach = np.maximum(np.maximum(capsules.one_radius, capsules.other_radius), least) + shell
    near = capsules.kept(_touching(capsules, box, reach))
    state, nearest, edge = (
        np.zeros(box.shape, np.uint8),
        np.full(box.shape, np.inf, np.float32),
        np.zeros(box.shape, int),
    )
    start = np.array(box.start)
    _draw(*_arguments(near), (least, shell), start, size, (state, nearest, edge))
    somata, spare = near.kept(near.soma), (np.full_like(nearest, np.inf), np.zeros_like(edge))
    soma_state = np.zeros_like(state)
    _draw(*_arguments(somata), (least, 0.0), start, size, (soma_state, *spare))
    owner = np.concatenate([[0], *(np.full(len(s.parent), i + 1) for i, s in enumerate(skeletons))]).astype(np.int32)
    return TreeTargets(
        foreground_ZYX=state == 2,
        ignore_ZYX=state == 1,
        centreline_ZYX=_centreline(capsules, box, config.centreline_dilation),
        soma_ZYX=soma_state == 2,
        instance_ZYX=owner[edge],
        edge_ZYX=edge,
    )


def _capsules(skeletons: Sequence[Skeleton]) -> _Capsules:
    """The edges of all trees, then a ball for each soma point and for each node without edges."""
    parts, first = [], 0
    for tree in skeletons:
        soma = tree.kind == _SOMA
        child, parent = tree.edges.T
        centre = tree.three_point_somata()
        pole = np.zeros(len(soma), bool)
        pole[child[soma[child] & np.isin(parent, centre)]] = True
        alone = np.ones(len(soma), bool)
        alone[child] = alone[parent] = False
        ball = np.flatnonzero((soma | alone) & ~pole)
        keep = ~pole[child]
        child, parent = child[keep], parent[keep]
        radius = tree.radius_nm
        # a neurite is not as thick as the soma that it leaves
        one = np.where(soma[parent] & ~soma[child], radius[child], radius[parent])
        other = np.where(soma[child] & ~soma[parent], radius[parent], radius[child])
        parts.append(
            _Capsules(
                np.concatenate([tree.nodes_nm[parent], tree.nodes_nm[ball]]),
                np.concatenate([tree.nodes_nm[child], tree.nodes_nm[ball]]),
                np.concatenate([one, radius[ball]]),
                np.concatenate([other, radius[ball]]),
                np.concatenate([soma[parent] & soma[child], soma[ball]]),
                np.concatenate([child, ball]) + first,
            )
        )
        first += len(soma)
    if not parts:
        none = np.empty(0)
        return _Capsules(none.reshape(0, 3), none.reshape(0, 3), none, none, none > 0, none.astype(int))
    return _Capsules(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(_Capsules)))


def _arguments(capsules: _Capsules) -> tuple[Floats, Floats, Ints]:
    """Both ends (E, 2, 3), both radii (E, 2), and names from 1."""
    ends = np.stack([capsules.one_nm, capsules.other_nm], axis=1)
    return ends, np.stack([capsules.one_radius, capsules.other_radius], axis=1), capsules.node + 1


def _touching(capsules: _Capsules, box: Box, reach: Floats) -> Mask:
    """Which capsules may reach into a box."""
    size = np.array(box.voxel_size)
    low = np.minimum(capsules.one_nm, capsules.other_nm) - reach[:, None]
    high = np.maximum(capsules.one_nm, capsules.other_nm) + reach[:, None]
    found: Mask = ((low <= np.array(box.stop) * size) & (high >= np.array(box.start) * size)).all(axis=1)
    return found


def _centreline(capsules: _Capsules, box: Box, steps: int) -> Mask:
    from scipy import ndimage

    wide = box.grown((steps, steps, steps))
    inside = capsules.kept(_touching(capsules, wide, np.zeros(len(capsules.node))))
    line = np.zeros(wide.shape, bool)
    size = np.array(box.voxel_size)
    _pass_through(inside.one_nm / size, inside.other_nm / size, np.array(wide.start), line)
    if steps:
        line = ndimage.binary_dilation(line, iterations=steps)
    return line[box.slices(wide.start)]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _draw(
    ends_nm: Floats,
    radii_nm: Floats,
    name: Ints,
    limits_nm: tuple[float, float],
    start: Ints,
    size: Floats,
    out: tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], Ints],
) -> None:
    """Draw capsules into state, nearest distance and edge.

    The state becomes 2 inside and 1 in the shell, the edge the name of the one with the nearest axis; `limits_nm` are
    the least radius and the thickness of the shell.
    """
    least, shell = limits_nm
    state, nearest, edge = out
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for e in range(len(name)):
        one, along = ends_nm[e, 0], ends_nm[e, 1] - ends_nm[e, 0]
        first, change = radii_nm[e, 0], radii_nm[e, 1] - radii_nm[e, 0]
        square = (along * along).sum()
        reach = max(first, first + change, least) + shell
        pieces = int(np.ceil(np.abs(along / size).max() / _PIECE))
        for piece in range(max(1, pieces)):
            # boxes are a voxel too large: rounding may not decide what is looked at
            for axis in range(3):
                a = one[axis] + along[axis] * piece / max(1, pieces)
                b = one[axis] + along[axis] * (piece + 1) / max(1, pieces)
                low[axis] = max(0, int(np.floor((min(a, b) - reach) / size[axis])) - 1 - start[axis])
                top = int(np.floor((max(a, b) + reach) / size[axis])) + 2 - start[axis]
                high[axis] = min(state.shape[axis], top)
            for z in range(low[0], high[0]):
                dz = (z + start[0] + 0.5) * size[0] - one[0]
                for y in range(low[1], high[1]):
                    dy = (y + start[1] + 0.5) * size[1] - one[1]
                    for x in range(low[2], high[2]):
                        dx = (x + start[2] + 0.5) * size[2] - one[2]
                        t = 0.0
                        if square > 0:
                            t = min(1.0, max(0.0, (dz * along[0] + dy * along[1] + dx * along[2]) / square))
                        oz, oy, ox = dz - t * along[0], dy - t * along[1], dx - t * along[2]
                        distance = np.sqrt(oz * oz + oy * oy + ox * ox)
                        radius = max(least, first + t * change)
                        if distance <= radius:
                            state[z, y, x] = 2
                            if np.float32(distance) < nearest[z, y, x]:
                                nearest[z, y, x] = distance
                                edge[z, y, x] = name[e]
                        elif distance <= radius + shell and state[z, y, x] == 0:
                            state[z, y, x] = 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pass_through(one: Floats, other: Floats, start: Ints, line: Mask) -> None:
    """Mark each voxel that an edge (ends in voxels) passes through, face by face from end to end."""
    at, left, way = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    for e in range(len(one)):
        for axis in range(3):
            at[axis] = int(np.floor(one[e, axis]))
            left[axis] = abs(int(np.floor(other[e, axis])) - at[axis])
            way[axis] = 1 if other[e, axis] >= one[e, axis] else -1
        while True:
            z, y, x = at[0] - start[0], at[1] - start[1], at[2] - start[2]
            if 0 <= z < line.shape[0] and 0 <= y < line.shape[1] and 0 <= x < line.shape[2]:
                line[z, y, x] = True
            soonest, chosen = np.inf, -1
            for axis in range(3):
                if left[axis]:
                    face = at[axis] + (1 if way[axis] > 0 else 0)
                    when = (face - one[e, axis]) / (other[e, axis] - one[e, axis])
                    if when < soonest:
                        soonest, chosen = when, axis
            if chosen < 0:
                break
            at[chosen] += way[chosen]
            left[chosen] -= 1
