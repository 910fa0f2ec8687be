"""Whether two trees branch, end and connect alike: critical nodes, NetMets, PyNeval's matched edges."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from neuropil.metrics.matching import one_to_one
from neuropil.metrics.tree import harmonic
from neuropil.metrics.tree_pair import Floats, Ints, TreePair
from neuropil.metrics.tree_paths import Paths, Runs, critical, runs

HIGHER_IS_BETTER = {
    "critical_precision": True,
    "critical_recall": True,
    "critical_f1": True,
    "edge_precision": True,
    "edge_recall": True,
    "netmets_geometry_fpr": False,
    "netmets_geometry_fnr": False,
    "netmets_connectivity_fpr": False,
    "netmets_connectivity_fnr": False,
}


def critical_nodes(pair: TreePair) -> dict[str, float]:
    """Precision, recall and F1 of branch points and ends, matched one to one within the tolerance.

    As many as possible are matched, and of all ways to do so that of least total distance is taken.
    """
    true, traced = critical(pair.truth), critical(pair.test)
    found = len(matched_points(pair.truth.nodes[true], pair.test.nodes[traced], pair.config.tolerance))
    precision, recall = found / len(traced), found / len(true)
    return {
        "critical_precision": precision,
        "critical_recall": recall,
        "critical_f1": harmonic(precision, recall),
        "critical_truth": len(true),
        "critical_test": len(traced),
    }


def matched_edges(pair: TreePair) -> dict[str, float]:
    """Share of the cable whose edges have a counterpart (the `length` score of PyNeval, Zhang et al. 2021).

    An edge has one if the other tree's cable comes within the tolerance of both its ends, and the path between these
    two places is as long as the edge, but for `length_error`.
    """
    true, traced = Paths(pair.truth), Paths(pair.test)
    return {"edge_recall": _share_matched(true, traced, pair), "edge_precision": _share_matched(traced, true, pair)}


def _share_matched(mine: Paths, other: Paths, pair: TreePair) -> float:
    tree = mine.tree
    if not tree.length:
        return float((other.nearest(tree.nodes)[0] < pair.config.tolerance).mean())
    distance, places = other.nearest(tree.nodes)
    near = distance < pair.config.tolerance
    parent = tree.parent[tree.child]
    length = other.length(places.take(tree.child), places.take(parent))
    with np.errstate(invalid="ignore"):
        alike = np.abs(length - tree.lengths) <= pair.config.length_error * tree.lengths
    good = near[tree.child] & near[parent] & alike
    return float(tree.lengths[good].sum() / tree.length)


def netmets(pair: TreePair) -> dict[str, float]:
    """NetMets (Mayerich et al. 2012): geometry and connectivity, each as false positive and false negative rate.

    Geometry: mean over the cable of 1 - exp(-d² / 2σ²), d the distance to the other tree and σ the tolerance.

    Connectivity: branch points and ends are matched as in `critical_nodes`; those without partner join the matched one
    that is nearest along the cable, so that each tree becomes a graph over the matched ones. The rates are the shares
    of links that the other graph has not; what is unmatched shows in the scores of critical nodes. Pieces without any
    matched node count all their runs as wrong.
    """
    sigma = pair.config.tolerance
    rates = [
        float(np.average(-np.expm1(-0.5 * (apart / sigma) ** 2), weights=pieces.length))
        for apart, pieces in ((pair.truth_apart, pair.truth_pieces), (pair.test_apart, pair.test_pieces))
    ]
    true, traced = runs(Paths(pair.truth)), runs(Paths(pair.test))
    partners = matched_points(pair.truth.nodes[true.nodes], pair.test.nodes[traced.nodes], pair.config.tolerance)
    links = [_links(graph, partners[:, side]) for side, graph in enumerate((true, traced))]
    common = len(links[0][0] & links[1][0])
    wrong = [1 - common / (len(own) + lost) if own or lost else 0.0 for own, lost in links]
    return {
        "netmets_geometry_fnr": rates[0],
        "netmets_geometry_fpr": rates[1],
        "netmets_connectivity_fnr": wrong[0],
        "netmets_connectivity_fpr": wrong[1],
    }


def _links(graph: Runs, matched: Ints) -> tuple[set[tuple[int, int]], int]:
    """Links between matched nodes, named by their place in `matched`, and how many runs reach no matched node."""
    count = len(graph.nodes)
    label = np.full(count, -1)
    if len(matched) and len(graph.ends):
        # a run of no length would be no edge of a sparse graph
        weight = np.maximum(graph.length, 1e-12)
        sparse = coo_matrix((weight, graph.ends.T), shape=(count, count)).tocsr()
        name = np.full(count, -1)
        name[matched] = np.arange(len(matched))
        _, _, source = dijkstra(sparse, directed=False, indices=matched, return_predecessors=True, min_only=True)
        label = np.where(source >= 0, name[np.maximum(source, 0)], -1)
    pairs = np.sort(label[graph.ends].reshape(-1, 2), axis=1)
    lost = int((pairs[:, 0] < 0).sum()) if len(pairs) else 0
    joined = pairs[(pairs[:, 0] >= 0) & (pairs[:, 0] != pairs[:, 1])]
    return set(map(tuple, joined.tolist())), lost


def matched_points(true: Floats, traced: Floats, tolerance: float) -> Ints:
    """(M, 2) rows of `true` and `traced` matched one to one at less than `tolerance`: most pairs, then least distance.

    Work is done in groups of points that are linked by nearness, so it grows with the crowding, not with the number.
    """
    pairs = cKDTree(true).sparse_distance_matrix(cKDTree(traced), tolerance, output_type="ndarray")
    pairs = pairs[pairs["v"] < tolerance]
    row, column = pairs["i"].astype(np.int64), pairs["j"].astype(np.int64)
    chosen = one_to_one(row, column, 1 - pairs["v"] / tolerance)
    return np.stack([row[chosen], column[chosen]], axis=1)
