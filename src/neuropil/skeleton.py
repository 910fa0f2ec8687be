"""`Skeleton`: a neuron as a tree (or forest) of nodes with radii, in nm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuropil.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: How exactly the points of a three-point soma lie one radius apart.
_ROUNDED = 0.1


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Nodes, radii and parents of one neuron.

    Parameters
    ----------
    nodes_nm
        (N, 3) positions in nm, z, y, x; the corner of voxel 0 of a volume without offset is the origin.
    radius_nm
        (N,) radii in nm, not negative.
    parent
        (N,) index of each node's parent, -1 for a root. Any order, several roots allowed, no cycles.
    kind
        (N,) SWC structure type (0 undefined, 1 soma, 2 axon, 3 basal dendrite, 4 apical dendrite, ...).

    Raises
    ------
    InputError
        If shapes disagree, a value is not finite, a radius is negative, or the parents do not form a forest.

    Examples
    --------
    >>> import numpy as np
    >>> path = Skeleton(np.array([[0, 0, 0], [0, 30, 40.0]]), np.ones(2), np.array([-1, 0]), np.zeros(2, int))
    >>> path.length_nm(), len(path.resampled(10.0).nodes_nm)
    (50.0, 6)
    """

    nodes_nm: Floats
    radius_nm: Floats
    parent: Ints
    kind: Ints

    def __post_init__(self) -> None:
        for name, dtype in (("nodes_nm", np.float64), ("radius_nm", np.float64), ("parent", int), ("kind", int)):
            object.__setattr__(self, name, _as(np.asarray(getattr(self, name)), dtype, name))
        count = len(self.nodes_nm)
        if self.nodes_nm.shape != (count, 3):
            raise InputError(f"skeleton nodes of shape {self.nodes_nm.shape}", "(N, 3): z, y, x in nm")
        for name in ("radius_nm", "parent", "kind"):
            shape = getattr(self, name).shape
            if shape != (count,):
                raise InputError(f"skeleton {name} of shape {shape}", f"({count},), one value for each node")
        if not np.isfinite(self.nodes_nm).all():
            raise InputError("a skeleton node that is NaN or infinite", "finite positions in nm")
        if not np.isfinite(self.radius_nm).all() or (self.radius_nm < 0).any():
            raise InputError("a skeleton radius that is negative, NaN or infinite", "finite radii, not negative, in nm")
        if count and (self.parent.min() < -1 or self.parent.max() >= count):
            raise InputError(f"a skeleton parent outside -1..{count - 1}", "the index of a node, or -1 for a root")
        # parents that come first cannot run in a circle
        if not (self.parent < np.arange(count)).all() and (depths(self.parent) < 0).any():
            raise InputError(
                "a skeleton whose parents run in a circle",
                "a tree or forest",
                "cut one edge of the loop: set parent -1",
            )

    @property
    def edges(self) -> Ints:
        """(E, 2) pairs of child and parent."""
        child = np.flatnonzero(self.parent >= 0)
        return np.stack([child, self.parent[child]], axis=1)

    def edge_lengths_nm(self) -> Floats:
        """(E,) lengths of `edges` in nm."""
        child, parent = self.edges.T
        return np.asarray(np.linalg.norm(self.nodes_nm[child] - self.nodes_nm[parent], axis=1))

    def length_nm(self) -> float:
        """Cable length: the sum of all edge lengths, in nm."""
        return float(self.edge_lengths_nm().sum())

    def projected(self, z_nm: float = 0.0) -> Skeleton:
        """A copy in one plane, as a projection of the image along z shows it: every node's z is `z_nm`."""
        nodes = self.nodes_nm.copy()
        nodes[:, 0] = z_nm
        return replace(self, nodes_nm=nodes)

    def resampled(self, step_nm: float) -> Skeleton:
        """A copy whose neighbouring nodes lie evenly, at most `step_nm` of cable apart.

        Roots, tips and branch points stay where they are; positions and radii between them are interpolated linearly
        along the cable.

        Raises
        ------
        InputError
            If `step_nm` is not positive.
        """
        if not step_nm > 0:
            raise InputError(f"a resampling step of {step_nm} nm", "a positive number")
        children = np.bincount(self.parent[self.parent >= 0], minlength=len(self.parent))
        fixed = (self.parent < 0) | (children != 1)
        new_index = np.cumsum(fixed) - 1
        nodes, radius, kind = [self.nodes_nm[fixed]], [self.radius_nm[fixed]], [self.kind[fixed]]
        parent, extra = np.full(int(fixed.sum()), -1, np.int64), [np.empty(0, np.int64)]
        count = len(parent)
        for tip in np.flatnonzero(fixed & (self.parent >= 0)):
            path = self._path_up(int(tip), fixed)
            arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.nodes_nm[path], axis=0), axis=1))])
            at = np.linspace(0.0, arc[-1], max(1, int(np.ceil(arc[-1] / step_nm - 1e-9))) + 1)[1:-1]
            nodes.append(np.stack([np.interp(at, arc, self.nodes_nm[path, axis]) for axis in range(3)], axis=1))
            radius.append(np.interp(at, arc, self.radius_nm[path]))
            kind.append(self.kind[path][np.searchsorted(arc, at)])
            chain = np.concatenate([[new_index[path[0]]], count + np.arange(len(at)), [new_index[tip]]])
            extra.append(chain[:-2])
            parent[new_index[tip]] = chain[-2]
            count += len(at)
        return Skeleton(
            np.concatenate(nodes), np.concatenate(radius), np.concatenate([parent, *extra]), np.concatenate(kind)
        )

    def three_point_somata(self) -> Ints:
        """Nodes that are the centre of a soma written in three points, as NeuroMorpho does.

        Such a soma is a ball: its second and third point lie one radius to either side of the first, whose children
        they are, and say only how large it is.
        """
        soma = self.kind == 1
        pole = np.flatnonzero((self.parent >= 0) & soma & soma[self.parent])
        pole = pole[np.argsort(self.parent[pole], kind="stable")]
        centre, first, times = np.unique(self.parent[pole], return_index=True, return_counts=True)
        centre, first = centre[times == 2], first[times == 2]
        one, other = (self.nodes_nm[pole[first + i]] - self.nodes_nm[centre] for i in (0, 1))
        radius = self.radius_nm[centre]
        apart = np.linalg.norm(one + other, axis=1) <= _ROUNDED * radius
        far = np.abs(np.linalg.norm(one - other, axis=1) / 2 - radius) <= _ROUNDED * radius
        found: Ints = centre[apart & far & (radius > 0)]
        return found

    def _path_up(self, tip: int, fixed: NDArray[np.bool_]) -> Ints:
        """Nodes from the next fixed ancestor down to `tip`."""
        path = [tip]
        while len(path) == 1 or not fixed[path[-1]]:
            path.append(int(self.parent[path[-1]]))
        return np.array(path[::-1], np.int64)


def depths(parent: Ints) -> Ints:
    """Number of ancestors of each node, -1 on or below a cycle; pointer doubling, O(N log N)."""
    ancestor, depth = parent.copy(), (parent >= 0).astype(np.int64)
    for _ in range(len(parent).bit_length()):
        above = ancestor >= 0
        depth[above] += depth[ancestor[above]]
        ancestor[above] = ancestor[ancestor[above]]
    depth[ancestor >= 0] = -1
    return depth


def _as(values: NDArray[np.generic], dtype: type, name: str) -> NDArray[np.generic]:
    if dtype is int and values.dtype.kind not in "iub" and values.size:
        raise InputError(f"skeleton {name} of type {values.dtype}", "integers")
    try:
        return np.ascontiguousarray(values, np.int64 if dtype is int else np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"skeleton {name} of type {values.dtype}", "numbers") from error
