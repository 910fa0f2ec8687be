"""What a traced tree missed and what it added, branch by branch, for a page and for proofreading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from neuropil.metrics.tree_pair import Floats, Ints, Pieces, Tree, TreePair

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Branch:
    """A connected stretch of cable that the other tree has not.

    Parameters
    ----------
    kind
        "missed" (of the truth) or "extra" (of the traced tree).
    length_nm
        Its cable.
    place_nm
        z, y, x of the point of it that is farthest from the other tree.
    apart_nm
        How far that is.
    """

    kind: str
    length_nm: float
    place_nm: tuple[float, float, float]
    apart_nm: float


@dataclass(frozen=True)
class Lines:
    """Cable as short straight lines: `ends_nm` (P, 2, 3), and whether each is apart from the other tree (P,)."""

    ends_nm: Floats
    apart: Bools


def lines(pair: TreePair) -> dict[str, Lines]:
    """The cable of "truth" and "test" in short pieces, each marked apart from the tolerance on."""
    return {
        name: Lines(_ends(tree, pieces) * pair.step_nm, apart >= pair.config.tolerance)
        for name, tree, pieces, apart in _sides(pair)
    }


def branches(pair: TreePair) -> list[Branch]:
    """Every stretch that was missed or added, longest first.

    Pieces of cable that are apart and follow each other, along an edge or through a node, are one stretch.
    """
    found: list[Branch] = []
    for name, tree, pieces, apart in _sides(pair):
        far = np.flatnonzero(apart >= pair.config.tolerance)
        if not len(far):
            continue
        group = _stretches(tree, pieces, far)
        length = np.bincount(group, weights=pieces.length[far])
        order = np.lexsort((apart[far], group))
        last = order[np.append(np.flatnonzero(np.diff(group[order])), len(order) - 1)]
        kind = "missed" if name == "truth" else "extra"
        for k, i in enumerate(far[last]):
            z, y, x = (pieces.middle[i] * pair.step_nm).tolist()
            # a tree without cable has nodes as pieces, and they have no length
            cable = float(length[k]) * pair.step_nm if tree.length else 0.0
            found.append(Branch(kind, cable, (z, y, x), float(apart[i]) * pair.step_nm))
    return sorted(found, key=lambda branch: (-branch.length_nm, branch.kind, branch.place_nm))


def _sides(pair: TreePair) -> list[tuple[str, Tree, Pieces, Floats]]:
    return [
        ("truth", pair.truth, pair.truth_pieces, pair.truth_apart),
        ("test", pair.test, pair.test_pieces, pair.test_apart),
    ]


def _ends(tree: Tree, pieces: Pieces) -> Floats:
    if not tree.length:
        return np.stack([pieces.middle, pieces.middle], axis=1)
    step = (tree.second - tree.first)[pieces.edge]
    half = step * (0.5 * pieces.length / tree.lengths[pieces.edge])[:, None]
    return np.stack([pieces.middle - half, pieces.middle + half], axis=1)


def _stretches(tree: Tree, pieces: Pieces, far: Ints) -> Ints:
    """Number of the stretch that each piece of `far` belongs to, 0, 1, ... without gaps."""
    if not tree.length:
        return np.arange(len(far))
    edge = pieces.edge[far]
    # vertices: the pieces that are far, then all nodes
    nodes, size = len(far), len(far) + len(tree.nodes)
    starts = np.searchsorted(pieces.edge, np.arange(len(tree.child)))
    stops = np.searchsorted(pieces.edge, np.arange(len(tree.child)), side="right")
    following = np.flatnonzero((np.diff(far) == 1) & (np.diff(edge) == 0))
    lowest, highest = np.flatnonzero(far == starts[edge]), np.flatnonzero(far == stops[edge] - 1)
    row = np.concatenate([following, lowest, highest])
    column = np.concatenate(
        [following + 1, nodes + tree.child[edge[lowest]], nodes + tree.parent[tree.child[edge[highest]]]]
    )
    # edges of no length have no pieces: their two nodes are one place
    short = np.flatnonzero(stops == starts)
    row = np.concatenate([row, nodes + tree.child[short]])
    column = np.concatenate([column, nodes + tree.parent[tree.child[short]]])
    graph = coo_matrix((np.ones(len(row)), (row, column)), shape=(size, size))
    return np.unique(connected_components(graph, directed=False)[1][:nodes], return_inverse=True)[1]
