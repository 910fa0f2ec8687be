"""Trees under construction: nodes with radius, confidence and a number of their piece; and what reshapes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order

from neuropil.skeleton import Skeleton, depths
from neuropil.tracing.geodesic import March
from neuropil.tracing.voxels import Voxels

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tree:
    """A forest of nodes.

    Parameters
    ----------
    nodes_nm
        (N, 3) z, y, x in nm from the corner of the stack.
    radius_nm
        (N,) radii.
    parent
        (N,) index of the parent, -1 at roots.
    confidence
        (N,) 0 to 1: the evidence around the node; of a bridge's end, that of the bridge.
    piece
        (N,) number of the connected piece.
    """

    nodes_nm: Floats
    radius_nm: Floats
    parent: Ints
    confidence: Floats
    piece: Ints

    def __len__(self) -> int:
        return len(self.parent)

    def edge_nm(self) -> Floats:
        """(N,) length of the cable to each node's parent, 0 at roots."""
        above = np.where(self.parent < 0, np.arange(len(self)), self.parent)
        return np.asarray(np.linalg.norm(self.nodes_nm - self.nodes_nm[above], axis=1))

    def piece_length_nm(self) -> Floats:
        """(pieces,) cable of each piece."""
        return np.asarray(np.bincount(self.piece, self.edge_nm()), np.float64)

    def children(self) -> Ints:
        """(N,) number of children."""
        return np.bincount(self.parent[self.parent >= 0], minlength=len(self))

    def last_child(self) -> Ints:
        """(N,) a child of each node, the only one where it does not branch; -1 at tips."""
        found = np.full(len(self), -1, np.int64)
        linked = np.flatnonzero(self.parent >= 0)
        found[self.parent[linked]] = linked
        return found

    def kept(self, keep: npt.NDArray[np.bool_]) -> Tree:
        """Only the nodes in `keep`; one whose parent is gone becomes a root."""
        number = np.where(keep, np.cumsum(keep) - 1, -1)
        above = self.parent[keep]
        parent = np.where(above >= 0, number[above], -1)
        piece = np.unique(self.piece[keep], return_inverse=True)[1].reshape(-1)
        return Tree(self.nodes_nm[keep], self.radius_nm[keep], parent, self.confidence[keep], piece)


def tree_of(voxels: Voxels, march: March, kept: npt.NDArray[np.bool_]) -> Tree:
    """The kept voxels of a march as a tree; confidence is their evidence."""
    at = np.flatnonzero(kept)
    number = np.full(len(voxels), -1, np.int64)
    number[at] = np.arange(len(at))
    above = march.parent[at]
    return Tree(
        voxels.places_nm(at),
        voxels.depth_nm[at].astype(np.float64),
        np.where(above >= 0, number[above], -1),
        voxels.value[at] / 255.0,
        np.unique(march.piece[at], return_inverse=True)[1].reshape(-1).astype(np.int64),
    )


def joined(tree: Tree, bridges: Ints, confidence: Floats, roots: Ints) -> Tree:
    """The forest with more edges, hanging from new roots.

    Parameters
    ----------
    bridges
        (B, 2) pairs of nodes to be joined; with the edges that are there they must not close a circle.
    confidence
        (B,) of each bridge: both its ends are no surer than it.
    roots
        Nodes; each becomes the root of what it is connected with. Pieces with no root among them keep theirs.
    """
    n = len(tree)
    child = np.flatnonzero(tree.parent >= 0)
    pairs = np.concatenate([np.stack([child, tree.parent[child]], 1), bridges.reshape(-1, 2)])
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (n, n)).tocsr()
    parent, piece, pieces = np.full(n, -1, np.int64), np.full(n, -1, np.int64), 0
    for root in [*roots, *np.flatnonzero(tree.parent < 0)]:
        if piece[root] < 0:
            reached, above = breadth_first_order(graph, root, directed=False)
            parent[reached] = above[reached]
            parent[root], piece[reached], pieces = -1, pieces, pieces + 1
    sure = tree.confidence.copy()
    np.minimum.at(sure, bridges.reshape(-1, 2).ravel(), np.repeat(confidence, 2))
    return replace(tree, parent=parent, piece=piece, confidence=sure)


def smoothed(tree: Tree, sigma_nm: float) -> Tree:
    """Nodes, radii and confidence under a Gaussian along the cable; roots, tips and branch points stay.

    The Gaussian is many small steps towards the mean of the two neighbours.
    """
    edges = tree.edge_nm()[tree.parent >= 0]
    if not edges.size or sigma_nm <= 0:
        return tree
    rounds = int(np.ceil(2 * (sigma_nm / max(float(edges.mean()), 1e-9)) ** 2))
    inner = np.flatnonzero((tree.parent >= 0) & (tree.children() == 1))
    values = np.column_stack([tree.nodes_nm, tree.radius_nm, tree.confidence])
    above, below = tree.parent[inner], tree.last_child()[inner]
    for _ in range(rounds):
        values[inner] = 0.5 * values[inner] + 0.25 * (values[above] + values[below])
    return replace(tree, nodes_nm=values[:, :3], radius_nm=values[:, 3], confidence=values[:, 4])


def as_skeleton(tree: Tree, step_nm: float) -> tuple[Skeleton, Floats]:
    """The tree as a skeleton with nodes at most `step_nm` apart, parents before children.

    Roots come first, by the number of their piece.
    """
    order = np.lexsort((tree.piece, tree.parent >= 0))
    number = np.empty(len(tree), np.int64)
    number[order] = np.arange(len(tree))
    above = tree.parent[order]
    parent = np.where(above >= 0, number[above], -1)
    nodes, kind = tree.nodes_nm[order], np.zeros(len(tree), np.int64)
    whole = Skeleton(nodes, tree.radius_nm[order], parent, kind).resampled(step_nm)
    sure = Skeleton(nodes, tree.confidence[order], parent, kind).resampled(step_nm).radius_nm
    down = np.argsort(depths(whole.parent), kind="stable")
    number = np.full(len(down) + 1, -1, np.int64)
    number[down] = np.arange(len(down))
    ordered = Skeleton(whole.nodes_nm[down], whole.radius_nm[down], number[whole.parent[down]], whole.kind[down])
    return ordered, sure[down]
