"""Trees as voxels: exact against brute force, and the same block by block."""

from __future__ import annotations

import time
from dataclasses import fields

import numpy as np
import pytest
from scipy import ndimage

from neuropil.config.tree_targets import TreeTargetConfig
from neuropil.data.trees import rasterised
from neuropil.geometry import Box
from neuropil.skeleton import Skeleton

CONFIG = TreeTargetConfig()
NM = (300.0, 90.0, 110.0)


def tree(seed, *, nodes=14, spread=1500.0, kinds=(2, 3), radius=260.0):
    rng = np.random.default_rng(seed)
    parent = np.append(-1, rng.integers(0, np.arange(1, nodes)))
    places = rng.normal(1500, spread / 2, (nodes, 3))
    return Skeleton(places, rng.random(nodes) * radius, parent, rng.choice(kinds, nodes))


def line(*nodes, radius=0.0, kind=3):
    count = len(nodes)
    radius = np.broadcast_to(radius, count)
    return Skeleton(np.array(nodes, float), radius, np.arange(count) - 1, np.broadcast_to(kind, count))


def centres(box):
    axes = [(np.arange(a, b) + 0.5) * v for a, b, v in zip(box.start, box.stop, box.voxel_size, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def capsule(points, a, b, ra, rb):
    """Distance to the axis and radius at the nearest point of it, one edge, all voxels."""
    along = b - a
    t = np.clip(((points - a) @ along) / max(along @ along, 1e-300), 0, 1)
    return np.linalg.norm(points - (a + t[..., None] * along), axis=-1), ra + t * (rb - ra)


def brute(skeletons, box, config):
    """All voxels against all edges of trees without soma."""
    smallest = min(box.voxel_size)
    points, best = centres(box), np.full(box.shape, np.inf, np.float32)
    foreground, shell = np.zeros(box.shape, bool), np.zeros(box.shape, bool)
    edge, instance, first = np.zeros(box.shape, int), np.zeros(box.shape, int), 0
    for number, s in enumerate(skeletons, 1):
        for child, parent in s.edges:
            d, r = capsule(points, s.nodes_nm[parent], s.nodes_nm[child], s.radius_nm[parent], s.radius_nm[child])
            r = np.maximum(r, config.least_radius * smallest)
            inside = d <= r
            foreground |= inside
            shell |= d <= r + config.ignore_shell * smallest
            nearer = inside & (d.astype(np.float32) < best)
            best[nearer], edge[nearer], instance[nearer] = d[nearer], first + child + 1, number
        first += len(s.parent)
    return foreground, shell & ~foreground, edge, instance


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("voxel_size", [NM, (100.0, 100.0, 100.0)])
def test_capsules_are_exact(seed, voxel_size) -> None:
    trees = [tree(seed), tree(seed + 100)]
    box = Box((-2, 3, 1), (12, 40, 35), voxel_size)
    got = rasterised(trees, box, CONFIG)
    foreground, ignore, edge, instance = brute(trees, box, CONFIG)
    assert foreground.any()
    np.testing.assert_array_equal(got.foreground_ZYX, foreground)
    np.testing.assert_array_equal(got.ignore_ZYX, ignore)
    np.testing.assert_array_equal(got.edge_ZYX, edge)
    np.testing.assert_array_equal(got.instance_ZYX, instance)
    assert not got.soma_ZYX.any()


def test_long_slanting_edges_are_exact() -> None:
    trees = [line((-3000, -4000, -900), (5200, 9000, 7000), radius=(50, 900))]
    box = Box((0, 0, 0), (20, 60, 60), NM)
    got = rasterised(trees, box, CONFIG)
    np.testing.assert_array_equal(got.foreground_ZYX, brute(trees, box, CONFIG)[0])
    assert got.foreground_ZYX.any()


@pytest.mark.parametrize("block", [(5, 7, 11), (14, 1, 40)])
def test_blocks_are_parts_of_the_whole(block) -> None:
    trees = [tree(0, kinds=(1, 2, 3)), tree(1, kinds=(1, 3)), line((0, 0, 0))]
    box = Box((-2, -3, 1), (12, 40, 35), NM)
    config = TreeTargetConfig(centreline_dilation=2)
    whole = rasterised(trees, box, config)
    assert whole.soma_ZYX.any()
    for part in box.blocks(block):
        got = rasterised(trees, part.write, config)
        for f in fields(whole):
            expected = getattr(whole, f.name)[part.write.slices(box.start)]
            np.testing.assert_array_equal(getattr(got, f.name), expected, err_msg=f.name)


def passes(box, a, b):
    """Voxels whose closed cube the segment meets, by slabs."""
    lo = np.stack(np.meshgrid(*[np.arange(s, e) for s, e in zip(box.start, box.stop, strict=True)], indexing="ij"), -1)
    a, b = a / box.voxel_size, b / box.voxel_size
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (lo - a) / (b - a), (lo + 1 - a) / (b - a)
    still = b == a
    enter = np.where(still, np.where((lo <= a) & (a <= lo + 1), -np.inf, np.inf), np.minimum(one, two)).max(-1)
    leave = np.where(still, np.inf, np.maximum(one, two)).min(-1)
    return (np.maximum(enter, 0) <= np.minimum(leave, 1)) & np.isfinite(np.maximum(enter, 0))


@pytest.mark.parametrize("seed", range(6))
def test_centreline_is_every_voxel_on_the_way(seed) -> None:
    skeleton = tree(seed)
    box = Box((-2, -3, 1), (12, 40, 35), NM)
    got = rasterised([skeleton], box, TreeTargetConfig(centreline_dilation=0)).centreline_ZYX
    expected = np.zeros(box.shape, bool)
    for child, parent in skeleton.edges:
        expected |= passes(box, skeleton.nodes_nm[parent], skeleton.nodes_nm[child])
    np.testing.assert_array_equal(got, expected)
    large = Box((-30, -60, -60), (60, 120, 120), NM)
    thin = rasterised([skeleton], large, TreeTargetConfig(centreline_dilation=0)).centreline_ZYX
    assert ndimage.label(thin)[1] == 1


def test_centreline_is_widened_across_faces() -> None:
    skeleton, box = tree(3), Box((0, 0, 0), (12, 40, 35), NM)
    grown = rasterised([skeleton], box.grown((1, 1, 1)), TreeTargetConfig(centreline_dilation=0)).centreline_ZYX
    expected = ndimage.binary_dilation(grown)[1:-1, 1:-1, 1:-1]
    np.testing.assert_array_equal(rasterised([skeleton], box, CONFIG).centreline_ZYX, expected)


def test_edges_along_faces_and_axes() -> None:
    box = Box((0, 0, 0), (4, 5, 6), (10.0, 10.0, 10.0))
    config = TreeTargetConfig(centreline_dilation=0)
    got = rasterised([line((20, 20, 5), (20, 20, 55))], box, config).centreline_ZYX
    assert np.argwhere(got).tolist() == [[2, 2, x] for x in range(6)]
    got = rasterised([line((35, 45, 55), (5, 45, 55))], box, config).centreline_ZYX
    assert np.argwhere(got).tolist() == [[z, 4, 5] for z in range(4)]


def test_thin_neurites_have_the_least_radius_and_zero_turns_it_off() -> None:
    box = Box((0, 0, 0), (3, 9, 9), (40.0, 10.0, 10.0))
    thin = [line((60, 45, 5), (60, 45, 85))]
    got = rasterised(thin, box, CONFIG)
    assert np.unique(np.argwhere(got.foreground_ZYX)[:, :2], axis=0).tolist() == [[1, 4]]
    # shell: to 0.75 + 1.5 voxels of 10 nm; the neighbour sections are 40 nm away
    assert np.unique(np.argwhere(got.ignore_ZYX[:, :, 4])).tolist() == [1, 2, 3, 5, 6]
    bare = rasterised(thin, box, TreeTargetConfig(least_radius=0, ignore_shell=0))
    assert bare.foreground_ZYX.sum() == 9
    assert not bare.ignore_ZYX.any()


def test_a_soma_is_a_ball_and_does_not_swell_its_neurites() -> None:
    box = Box((0, 0, 0), (40, 40, 80), (10.0, 10.0, 10.0))
    cell = Skeleton(
        np.array([[200, 200, 150], [200, 200, 700.0]]), np.array([100, 15.0]), np.array([-1, 0]), np.array([1, 3])
    )
    got = rasterised([cell], box, CONFIG)
    far = np.linalg.norm(centres(box) - (200, 200, 150), axis=-1)
    np.testing.assert_array_equal(got.soma_ZYX, far <= 100)
    neurite = got.foreground_ZYX & ~got.soma_ZYX
    d, _ = capsule(centres(box), *cell.nodes_nm, 0, 0)
    np.testing.assert_array_equal(neurite, (d <= 15) & (far > 100))


def test_a_soma_of_three_points_is_one_ball() -> None:
    box = Box((0, 0, 0), (40, 60, 40), (10.0, 10.0, 10.0))
    nodes = np.array([[200, 300, 200], [200, 200, 200], [200, 400, 200.0]])
    cell = Skeleton(nodes, np.full(3, 100.0), np.array([-1, 0, 0]), np.ones(3, int))
    got = rasterised([cell], box, CONFIG)
    ball = np.linalg.norm(centres(box) - nodes[0], axis=-1) <= 100
    np.testing.assert_array_equal(got.soma_ZYX, ball)
    np.testing.assert_array_equal(got.foreground_ZYX, ball)


def test_somata_of_several_points_are_balls_and_capsules_between() -> None:
    box = Box((0, 0, 0), (40, 60, 40), (10.0, 10.0, 10.0))
    nodes = np.array([[200, 200, 200], [200, 400, 200.0]])
    got = rasterised([Skeleton(nodes, np.array([100, 60.0]), np.array([-1, 0]), np.ones(2, int))], box, CONFIG)
    d, r = capsule(centres(box), *nodes, 100, 60)
    balls = [np.linalg.norm(centres(box) - n, axis=-1) <= most for n, most in zip(nodes, (100, 60), strict=True)]
    np.testing.assert_array_equal(got.soma_ZYX, (d <= r) | balls[0] | balls[1])


def test_nothing_to_draw() -> None:
    box = Box((0, 0, 0), (3, 4, 5), NM)
    far = line((1e6, 1e6, 1e6), (1e6, 1e6, 2e6))
    empty = Skeleton(np.empty((0, 3)), np.empty(0), np.empty(0, int), np.empty(0, int))
    for trees in ([], [far], [empty]):
        got = rasterised(trees, box, CONFIG)
        assert not any(getattr(got, f.name).any() for f in fields(got))
    none = rasterised([far], Box((0, 0, 0), (0, 4, 5), NM), CONFIG)
    assert none.foreground_ZYX.shape == (0, 4, 5)


def test_a_large_tree_takes_as_long_as_its_voxels() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 60, (100_000, 3))
    path = np.mod(np.cumsum(steps, axis=0), 60_000)
    parent = np.arange(len(path)) - 1
    parent[np.append(True, (np.abs(np.diff(path, axis=0)) > 1000).any(axis=1))] = -1
    cell = Skeleton(path, np.full(len(path), 80.0), parent, np.full(len(path), 3))
    box = Box((0, 0, 0), (64, 200, 200), (300.0, 300.0, 300.0))
    rasterised([cell], box, CONFIG)
    started = time.process_time()
    rasterised([cell], box, CONFIG)
    assert time.process_time() - started < 8
