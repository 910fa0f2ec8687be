import numpy as np
import pytest

from neuropil.affinities import NEAREST
from neuropil.errors import ConfigError
from neuropil.post.filters import biased, join_small, looked_up, relabelled
from neuropil.post.graph import region_graph


def _line(sizes, affinity_after):
    """Objects along x; the affinity of the edge behind object i."""
    labels = np.repeat(np.arange(1, len(sizes) + 1), sizes)[None, None]
    aff = np.full((3, 1, 1, labels.size), 255, np.uint8)
    for i, a in enumerate(affinity_after):
        aff[2, 0, 0, sum(sizes[: i + 1])] = a
    return labels, region_graph(labels, aff, NEAREST)


def test_small_objects_join_the_best_neighbour():
    _, graph = _line([10, 2, 10], [50, 90])
    assert join_small(np.arange(4), graph, 5).tolist() == [0, 1, 2, 2]


def test_small_objects_join_each_other_until_large_enough():
    _, graph = _line([10, 3, 3, 10], [10, 200, 20])
    assert join_small(np.arange(5), graph, 6).tolist() == [0, 1, 2, 2, 3]


def test_what_stays_small_vanishes_and_ids_close_up():
    labels = np.array([[[1, 1, 0, 2, 0, 3, 3]]])
    graph = region_graph(labels, np.full((3, 1, 1, 7), 255, np.uint8), NEAREST)
    lookup = join_small(np.arange(4), graph, 2)
    assert lookup.tolist() == [0, 1, 0, 2]
    assert looked_up(lookup, labels).tolist() == [[[1, 1, 0, 0, 0, 2, 2]]]


def test_large_enough_objects_are_left_alone():
    _, graph = _line([4, 4], [250])
    assert join_small(np.arange(3), graph, 4).tolist() == [0, 1, 2]
    assert join_small(np.arange(3), graph, 0).tolist() == [0, 1, 2]


def test_relabelled_counts_in_order_of_first_voxel():
    labels = np.array([[[2**63, 0, 5, 5, 2**63, 1]]], np.uint64)
    assert relabelled(labels).tolist() == [[[1, 0, 2, 2, 1, 3]]]


def test_bias_shifts_logits_of_its_channel_only():
    aff = np.full((2, 1, 1, 3), 128, np.uint8)
    out = biased(aff, (1.0, 0.0))
    assert abs(int(out[0, 0, 0, 0]) - 255 / (1 + np.exp(-1))) < 1
    assert (out[1] == 128).all()
    assert biased(aff, ()) is aff
    with pytest.raises(ConfigError, match=r"segment\.bias"):
        biased(aff, (1.0,))
