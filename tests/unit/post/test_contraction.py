import numpy as np
import pytest

from neuropil.config import SegmentConfig
from neuropil.post.contraction import (
    EXACT_EDGES,
    Left,
    box_levels,
    complete_tree,
    contracted,
    contractible,
    packed,
    unpacked_left,
)
from neuropil.post.graph import RegionGraph

NONE = np.zeros(0, np.int64)


def contacts(rows):
    """From {(u, v): (sum, count)}."""
    edges = np.array(sorted(rows), np.int64).reshape(-1, 2)
    sums, counts = np.array([rows[tuple(e)] for e in edges], np.int64).reshape(-1, 2).T
    return RegionGraph(edges, sums, counts, NONE, NONE, NONE.astype(np.uint8), NONE)


def left(near, far, levels):
    """What is known of a block with the fragments of {number: level}."""
    ids, at = np.array(sorted(levels)), np.array([levels[f] for f in sorted(levels)], np.uint8)
    return Left(contacts(near), contacts(far), np.zeros((0, 2), np.int64), NONE, NONE, NONE, ids, at)


def pairs(ages):
    return [(int(a) >> 32, int(a) & 0xFFFFFFFF) for a in ages]


@pytest.mark.parametrize(
    ("words", "may"),
    [({}, True), ({"contact": 1.0}, False), ({"score": "quantile"}, False), ({"long_range": True}, True)],
)
def test_what_cannot_be_merged_in_boxes_is_not(words, may):
    assert contractible(SegmentConfig(**words)) is may


def test_the_level_of_a_fragment_is_the_least_box_that_holds_it():
    numbers = np.array([0, 1, 1, 2, 3, 3, 4, 4])
    places = np.array([[0, 0, 1], [0, 0, 1], [5, 5, 5], [3, 0, 0], [4, 0, 0], [0, 2, 0], [0, 3, 1]])
    assert box_levels(numbers, places).tolist() == [0, 0, 0, 3, 1]
    assert box_levels(np.array([0]), np.zeros((0, 3), np.int32)).tolist() == [0]


def test_only_what_is_the_best_of_both_and_wholly_known_merges():
    # 1-2 is the best of both; 3's best is 4, which goes on beyond the box; 5's best is 3, which waits
    near = {(1, 2): (200, 1), (2, 3): (90, 1), (3, 4): (180, 1), (3, 5): (120, 1), (4, 6): (250, 1)}
    found = contracted([left(near, {}, {1: 0, 2: 0, 3: 0, 4: 1, 5: 0, 6: 2})], 0)
    assert pairs(found.ages) == [(1, 2)]
    assert found.left.ends.tolist() == [[1, 3], [3, 4], [3, 5]]
    assert found.left.near.edges.tolist() == [[4, 6]]
    assert found.settled.edges.tolist() == [[1, 2], [2, 3], [3, 4], [3, 5]]
    assert found.left.fragments.tolist() == [4, 6]
    # where they are known, all that waited merges
    above = contracted([unpacked_left(packed(found))], 1)
    assert (pairs(above.ages), above.left.fragments.tolist()) == ([], [6])
    whole = contracted([unpacked_left(packed(above))], None)
    assert pairs(whole.ages) == [(4, 6), (3, 4), (3, 5), (2, 3)]
    tree = complete_tree([(f.ages, f.scores) for f in (found, above, whole)], 6)
    assert tree.pairs.tolist() == [[4, 6], [1, 2], [3, 4], [3, 5], [2, 3]]
    assert (tree.levels * 255).round().tolist() == [250, 200, 180, 120, 90]


def test_of_equal_contacts_the_older_one_is_the_best():
    near = {(1, 3): (7, 1), (2, 3): (14, 2), (2, 4): (21, 3)}
    # 1 goes on beyond the box: 3 may not take 2 instead, nor may 2 take 4, whose contact is younger than that with 3
    assert pairs(contracted([left(near, {}, {1: 1, 2: 0, 3: 0, 4: 0})], 0).ages) == []
    assert pairs(contracted([left(near, {}, {1: 0, 2: 0, 3: 0, 4: 1})], 0).ages) == [(1, 3), (2, 3)]


def test_contacts_of_two_blocks_add_up_and_long_edges_make_none():
    one = left({(1, 2): (3, 1)}, {(1, 2): (9, 1), (2, 3): (5, 5)}, {1: 1, 2: 1, 3: 1})
    two = left({(1, 2): (4, 1)}, {(1, 3): (9, 9)}, {1: 1, 2: 1, 3: 1})
    first = [contracted([part], 0) for part in (one, two)]
    assert [len(f.ages) for f in first] == [0, 0]
    both = contracted([f.left for f in first], 1)
    assert (pairs(both.ages), both.scores.tolist()) == ([(1, 2)], [16 / (3 * 255)])
    assert (both.settled.edges.tolist(), both.settled.sums.tolist(), both.settled.counts.tolist()) == (
        [[1, 2]],
        [16],
        [3],
    )


@pytest.mark.parametrize(("count", "merges"), [(EXACT_EDGES, [(1, 2)]), (EXACT_EDGES + 1, [])])
def test_a_region_of_too_many_voxel_edges_waits_for_the_whole(count, merges):
    found = contracted([left({(1, 2): (9 * count, count)}, {}, {1: 0, 2: 0})], 0)
    assert pairs(found.ages) == merges
    assert pairs(contracted([found.left], None).ages) == ([] if merges else [(1, 2)])


def test_a_region_that_grew_beyond_it_waits_too():
    most = EXACT_EDGES - 1
    near = {(1, 2): (250, 1), (1, 3): (most, most), (2, 4): (most, most), (3, 4): (0, 1)}
    found = contracted([left(near, {}, {1: 0, 2: 0, 3: 0, 4: 0})], 0)
    assert pairs(found.ages) == [(1, 2)]
    assert pairs(contracted([found.left], None).ages) == [(1, 3), (2, 4)]


def test_a_box_without_contacts_leaves_none():
    found = contracted([left({}, {}, {1: 0, 2: 1})], 0)
    assert (len(found.ages), len(found.left.ages), found.left.fragments.tolist()) == (0, 0, [2])
    assert complete_tree([(found.ages, found.scores)], 2).cut(0.5).tolist() == [0, 1, 2]


def test_means_that_floats_cannot_tell_apart_are_what_the_limit_is_for():
    """Means of so many voxel edges, however near, are two floats; of a hundred times as many they may be one."""

    def neighbours(n):  # (n - 1) (n + 1) - n n = -1: no two fractions of such parts are nearer
        return ((n - 1) * 1.0) / (n * 255.0), (n * 1.0) / ((n + 1) * 255.0)

    below, above = neighbours(2 * EXACT_EDGES - 1)
    assert below < above
    assert len(set(neighbours(100 * EXACT_EDGES))) == 1
