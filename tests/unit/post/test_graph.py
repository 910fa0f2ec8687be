import numpy as np
import pytest

from neuropil.affinities import NEAREST, edge_slices
from neuropil.errors import InputError
from neuropil.post.graph import region_graph

OFFSETS = (*NEAREST, (0, 0, -4), (2, -1, 0))


def _brute(labels, aff, offsets):
    near, found = {}, {}
    for long in (False, True):
        for c, o in enumerate(offsets):
            if (sum(map(abs, o)) > 1) != long:
                continue
            a_at, b_at = edge_slices(labels.shape, o)
            for a, b, v in zip(labels[a_at].ravel(), labels[b_at].ravel(), aff[c][a_at].ravel(), strict=True):
                key = (min(a, b), max(a, b))
                if a != b and a and b and (not long or key in near):
                    found.setdefault(key, []).append(int(v))
                    if not long:
                        near[key] = True
    return found


@pytest.mark.parametrize("long_range", [False, True])
def test_equals_brute_force(long_range):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 9, (4, 4, 5)), np.ones((2, 3, 3), int))
    aff = rng.integers(0, 256, (5, *labels.shape)).astype(np.uint8)
    graph = region_graph(labels, aff, OFFSETS, histograms=True, long_range=long_range)
    expected = _brute(labels, aff, OFFSETS if long_range else NEAREST)
    assert [tuple(e) for e in graph.edges.tolist()] == sorted(expected)
    assert graph.sums.tolist() == [sum(expected[k]) for k in sorted(expected)]
    assert graph.counts.tolist() == [len(expected[k]) for k in sorted(expected)]
    assert graph.sizes.tolist() == np.bincount(labels.ravel()).tolist()
    for e, key in enumerate(sorted(expected)):
        run = slice(graph.starts[e], graph.starts[e + 1])
        assert np.repeat(graph.bins[run], graph.tallies[run]).tolist() == sorted(expected[key])


def test_the_table_grows_with_the_number_of_contacts():
    labels = np.arange(1, 16 * 16 * 16 + 1).reshape(16, 16, 16)
    graph = region_graph(labels, np.full((3, 16, 16, 16), 7, np.uint8), NEAREST)
    assert len(graph.edges) == 3 * 15 * 16 * 16
    assert (graph.sums == 7).all()


@pytest.mark.parametrize(
    ("labels", "offsets", "message"),
    [
        (np.ones((2, 2, 3), int), NEAREST, "fragments of shape"),
        (np.ones((2, 2, 2)), NEAREST, "float64 fragments"),
        (np.full((2, 2, 2), 2**31), NEAREST, "fragment ids"),
        (np.full((2, 2, 2), -1), NEAREST, "fragment ids"),
        (np.ones((2, 2, 2), int), ((2, 0, 0), (0, 2, 0), (0, 0, 2)), "offsets"),
    ],
)
def test_bad_input(labels, offsets, message):
    with pytest.raises(InputError, match=message):
        region_graph(labels, np.zeros((3, 2, 2, 2), np.uint8), offsets)
