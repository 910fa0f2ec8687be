import numpy as np
import pytest

from neuropil.errors import InputError
from neuropil.post.graph import RegionGraph, region_graph
from neuropil.post.merging import Rule, joined, merge_tree

MEAN = Rule("mean", 0.5, 0.0)


def _graph(edges, sums, counts, nodes):
    none = np.zeros(0, np.int64)
    return RegionGraph(
        np.array(edges).reshape(-1, 2), np.array(sums), np.array(counts), np.ones(nodes + 1, np.int64),
        none, none.astype(np.uint8), none,
    )  # fmt: skip


def slow_merges(edges, values, score):
    """Brute force: rescore every contact after every merge; ties go to the contact with the first pair."""
    contacts = {tuple(e): (rank, list(v)) for rank, (e, v) in enumerate(zip(edges, values, strict=True))}
    out = []
    while contacts:
        a, b = max(contacts, key=lambda k: (score(contacts[k][1]), -contacts[k][0]))
        out.append(score(contacts[a, b][1]))
        merged = {}
        for (u, v), (rank, bag) in contacts.items():
            pair = tuple(sorted(a if w == b else w for w in (u, v)))
            if pair[0] != pair[1]:
                old = merged.get(pair, (rank, []))
                merged[pair] = (min(rank, old[0]), old[1] + bag)
        contacts = merged
    return out


@pytest.mark.parametrize("rule", [MEAN, Rule("quantile", 0.3, 0.0), Rule("mean", 0.5, 4.0)])
@pytest.mark.parametrize("seed", range(4))
def test_merges_equal_brute_force(rule, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(5 * 5 * 6).reshape(5, 5, 6) // 2 + 1
    # few distinct values: many ties
    aff = rng.integers(0, 5, (3, 5, 5, 6)).astype(np.uint8) * 60
    graph = region_graph(labels, aff, ((-1, 0, 0), (0, -1, 0), (0, 0, -1)), histograms=True)
    values = [
        np.repeat(graph.bins[s:t], graph.tallies[s:t]).tolist()
        for s, t in zip(graph.starts[:-1], graph.starts[1:], strict=True)
    ]

    def score(bag):
        if rule.score == "mean":
            return sum(bag) / ((len(bag) + rule.contact) * 255)
        return sorted(bag)[int(rule.quantile * len(bag))] / 255

    tree = merge_tree(graph, rule)
    np.testing.assert_array_equal(tree.scores, slow_merges(graph.edges.tolist(), values, score))


def test_a_cut_stops_where_a_run_would():
    # after 1-2 merge at 0.9, nothing else reaches 0.5 until 0.4 has been taken
    graph = _graph([[1, 2], [2, 3], [3, 4]], [230, 102, 26], [1, 1, 1], 4)
    tree = merge_tree(graph, MEAN)
    assert tree.cut(0.95).tolist() == [0, 1, 2, 3, 4]
    assert tree.cut(0.5).tolist() == [0, 1, 1, 2, 3]
    assert tree.cut(0.4).tolist() == [0, 1, 1, 1, 2]
    assert tree.cut(0.0).tolist() == [0, 1, 1, 1, 1]
    assert (np.diff(tree.levels) <= 0).all()


def test_no_contacts_no_merges():
    assert merge_tree(_graph([], [], [], 3), MEAN).cut(0.5).tolist() == [0, 1, 2, 3]


def test_joined_numbers_by_lowest_id():
    assert joined(5, np.array([[5, 2], [4, 3]])).tolist() == [0, 1, 2, 3, 3, 2]


def test_quantiles_need_histograms():
    with pytest.raises(InputError, match="without histograms"):
        merge_tree(_graph([[1, 2]], [1], [1], 2), Rule("quantile", 0.5, 0.0))
