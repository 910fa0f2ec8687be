"""Basins and saddles: the forest that grows from seeds is a watershed, voxel by voxel against brute force."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
from tests.unit.post.organelles import noisy_prediction

from neuropil.post.basins import (
    UNIT,
    Saddles,
    basins,
    grown,
    joint_saddles,
    renumbered_saddles,
    saddles,
    smooth_heights,
)
from neuropil.post.landscape import gaussian_taps

STEPS = [s for s in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, s)) == 1]


def flooded(height, mask, seeds):
    """Object of every voxel, and the basins and heights it was made of."""
    labels, n = basins(height, mask, seeds, tuple(slice(0, e) for e in mask.shape))
    seeded = np.zeros(n + 1, bool)
    seeded[labels[seeds]] = True
    return grown(saddles(labels, height), seeded)[labels], labels


def passes(height, inside, starts):
    """The highest pass from any of the starts to every voxel, by brute force; -1 where there is none."""
    best = np.full(height.shape, -1, int)
    heap = [(-int(height[v]), v) for v in starts]
    heapq.heapify(heap)
    while heap:
        level, v = heapq.heappop(heap)
        if best[v] >= 0:
            continue
        best[v] = -level
        for step in STEPS:
            w = tuple(a + b for a, b in zip(v, step, strict=True))
            if all(0 <= a < n for a, n in zip(w, height.shape, strict=True)) and inside[w] and best[w] < 0:
                heapq.heappush(heap, (max(level, -int(height[w])), w))
    return best


@pytest.mark.parametrize("seed", range(3))
def test_every_voxel_is_reached_over_the_highest_pass_there_is(seed: int) -> None:
    foreground, contour, distance = noisy_prediction((7, 12, 13), seed)
    mask = foreground > 110
    seeds = mask & (distance > 165) & (contour < 190)
    height = smooth_heights(distance, [gaussian_taps(0.5)] * 3)
    objects, labels = flooded(height, mask, seeds)
    assert 2 < objects.max() < labels.max()
    every = passes(height, mask, list(zip(*np.nonzero(seeds), strict=True)))
    np.testing.assert_array_equal(objects > 0, every >= 0)
    own = np.full(height.shape, -1)
    for label in range(1, objects.max() + 1):
        inside = objects == label
        starts = list(zip(*np.nonzero(inside & seeds), strict=True))
        # one seed each: all its seed voxels hang together
        assert (passes(np.ones_like(height), inside & seeds, starts[:1]) > 0).sum() == len(starts)
        reached = passes(height, inside, starts)
        own = np.where(inside, reached, own)
    np.testing.assert_array_equal(own, every)


def test_floods_meet_where_the_classic_watershed_says() -> None:
    import cc3d
    from skimage.segmentation import watershed

    foreground, contour, distance = noisy_prediction((24, 40, 40), 5)
    mask = foreground > 110
    seeds = mask & (distance > 165) & (contour < 190)
    height = smooth_heights(distance, [gaussian_taps(0.5)] * 3)
    objects, _ = flooded(height, mask, seeds)
    marks = cc3d.connected_components(seeds, connectivity=6).astype(np.int32)
    classic = watershed(UNIT * 255 - height.astype(int), marks, mask=mask)
    np.testing.assert_array_equal(objects > 0, classic > 0)
    # the same seeds in the same objects, and nearly all other voxels; equal heights are shared out otherwise
    pairs = np.unique(np.stack([objects[seeds], classic[seeds]]), axis=1)
    assert pairs.shape[1] == objects.max() == marks.max()
    table = np.zeros(marks.max() + 1, int)
    table[pairs[0]] = pairs[1]
    assert (table[objects] == classic)[mask].mean() > 0.97


def test_a_voxel_hangs_on_the_highest_neighbour_and_of_equals_on_the_last() -> None:
    height = np.array([[[5, 7, 7, 2, 2, 9]]], np.uint16)
    everywhere = np.ones(height.shape, bool)
    whole = tuple(slice(0, n) for n in height.shape)
    labels, n = basins(height, everywhere, ~everywhere, whole)
    assert (labels.tolist(), n) == ([[[1, 1, 1, 1, 2, 2]]], 2)
    found = saddles(labels, height)
    assert (found.edges.tolist(), found.heights.tolist()) == ([[1, 2]], [2])
    middle = (slice(0, 1), slice(0, 1), slice(3, 5))  # the peaks lie outside: links that leave end there
    assert basins(height, everywhere, ~everywhere, middle)[0].tolist() == [[[1, 2]]]


def test_seeds_join_by_faces_and_never_hang_on_others() -> None:
    seeds = np.zeros((1, 3, 4), bool)
    seeds[0, 0, :2] = seeds[0, 1, 2] = True  # the second touches the first by an edge only
    height = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
    labels, n = basins(height, np.ones_like(seeds), seeds, (slice(0, 1), slice(0, 3), slice(0, 4)))
    assert labels[0, 0, 0] == labels[0, 0, 1] != labels[0, 1, 2]
    assert n == 3  # and what climbs to the last voxel


def test_seeds_take_what_they_reach_first_and_equal_saddles_go_by_number() -> None:
    edges = np.array([[1, 2], [1, 3], [2, 3], [3, 4], [5, 6]])
    found = Saddles(edges, np.array([4, 7, 7, 9, 3], np.int32))
    seeded = np.array([False, True, True, False, False, False, False])
    # 3 and 4 join first; 1-3 and 2-3 are equal, the lower pair wins; 5 and 6 stay without a seed
    assert grown(found, seeded).tolist() == [0, 1, 2, 1, 1, 0, 0]
    assert grown(Saddles(edges, np.array([4, 6, 7, 9, 3], np.int32)), seeded).tolist() == [0, 1, 2, 2, 2, 0, 0]
    assert grown(Saddles(np.zeros((0, 2), np.int64), np.zeros(0, np.int32)), np.zeros(1, bool)).tolist() == [0]


def test_saddles_of_blocks_are_the_highest_of_each_pair() -> None:
    one = renumbered_saddles(Saddles(np.array([[1, 2], [1, 3]]), np.array([5, 6], np.int32)), np.array([0, 9, 4, 4]))
    assert (one.edges.tolist(), one.heights.tolist()) == ([[4, 9]], [6])
    same = renumbered_saddles(Saddles(np.array([[1, 2]]), np.array([5], np.int32)), np.array([0, 3, 3]))
    assert same.edges.shape == (0, 2)
    other = Saddles(np.array([[2, 4], [4, 9]]), np.array([1, 8], np.int32))
    for parts in ([one, other, same], [same, other, one]):
        joint = joint_saddles(parts)
        assert (joint.edges.tolist(), joint.heights.tolist()) == ([[2, 4], [4, 9]], [1, 8])
    assert joint_saddles([]).edges.shape == (0, 2)


def test_smoothing_is_exact_and_keeps_plateaus() -> None:
    taps = [gaussian_taps(0.5), gaussian_taps(0.0), gaussian_taps(0.5)]
    assert (smooth_heights(np.full((5, 4, 6), 255, np.uint8), taps) == 255 * UNIT).all()
    values = np.random.default_rng(0).integers(0, 256, (9, 8, 12), np.uint8)
    whole = smooth_heights(values, taps)
    reach = len(taps[0]) // 2
    np.testing.assert_array_equal(smooth_heights(values[:, :, 2:11], taps)[:, :, reach:-reach], whole[:, :, 4:9])
    assert len(np.unique(whole)) > len(np.unique(values))  # equal values are parted
