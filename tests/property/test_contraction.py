"""Merges found box by box are those of the whole's merge tree, to the bit, whatever the boxes and however many ties."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from tests.unit.post import blockwise

from neuropil.affinities import NEAREST
from neuropil.config import SegmentConfig
from neuropil.post import contraction
from neuropil.post.agglomerate import hierarchy
from neuropil.post.contraction import (
    Left,
    box_levels,
    complete_tree,
    contracted,
    join_small_streamed,
    of_block,
    packed,
    unpacked_left,
)
from neuropil.post.decoders import Neurons
from neuropil.post.filters import join_small
from neuropil.post.graph import RegionGraph
from neuropil.post.merging import MergeTree, Rule, merge_tree
from neuropil.post.stitch import added_up, with_far

MEAN = Rule("mean", 0.5, 0.0)
NONE = np.zeros(0, np.int64)


def graph_of(rows: dict[tuple[int, int], tuple[int, int]]) -> RegionGraph:
    """Contacts from {(u, v): (sum, count)}."""
    pairs = sorted(rows)
    edges = np.array(pairs, np.int64).reshape(-1, 2)
    sums, counts = np.array([rows[p] for p in pairs], np.int64).reshape(-1, 2).T
    return RegionGraph(edges, sums, counts, NONE, NONE, NONE.astype(np.uint8), NONE)


class World:
    """Fragments that lie in one or more blocks of a grid, and the contacts that each block counts."""

    def __init__(self, seed: int, grid: tuple[int, int, int], count: int, values: int, most: int) -> None:
        rng = np.random.default_rng(seed)
        self.grid, self.count = grid, count
        self.blocks = list(itertools.product(*map(range, grid)))
        self.where: list[set[tuple[int, int, int]]] = [set()]
        for _ in range(count):
            low = [int(rng.integers(n)) for n in grid]
            high = [min(n, a + 1 + int(rng.geometric(0.7) - 1)) for n, a in zip(grid, low, strict=True)]
            self.where.append(set(itertools.product(*map(range, low, high))))
        near: dict[tuple[int, int, int], dict[tuple[int, int], tuple[int, int]]] = {b: {} for b in self.blocks}
        far: dict[tuple[int, int, int], dict[tuple[int, int], tuple[int, int]]] = {b: {} for b in self.blocks}
        for u, v in itertools.combinations(range(1, count + 1), 2):
            for block in sorted(self.where[u] & self.where[v]):
                for side, share in ((near, 0.4), (far, 0.3)):
                    if rng.random() < share:
                        n = int(rng.integers(1, most + 1))
                        side[block][u, v] = (n * int(rng.integers(values)) * (255 // max(1, values - 1)), n)
        self.near, self.far = ({b: graph_of(rows) for b, rows in side.items()} for side in (near, far))
        sizes = rng.integers(1, 9, count + 1)
        sizes[0] = 0
        self.graph = replace(with_far(added_up(self.near.values()), added_up(self.far.values())), sizes=sizes)

    def levels(self) -> np.ndarray:
        rows = [(f, block) for f in range(1, self.count + 1) for block in self.where[f]]
        return box_levels(np.array([0, *(f for f, _ in rows)]), np.array([b for _, b in rows]).reshape(-1, 3))

    def parts(self) -> Parts:
        """What every block knows."""
        levels, parts = self.levels(), {}
        for block in self.blocks:
            here = np.array([f for f in range(1, self.count + 1) if block in self.where[f]], np.int64)
            none = np.zeros((0, 2), np.int64)
            parts[block] = Left(self.near[block], self.far[block], none, NONE, NONE, NONE, here, levels[here])
        return parts

    def tree(self) -> tuple[MergeTree, list[RegionGraph], list[int]]:
        """See `in_boxes`."""
        return in_boxes(self.parts(), self.count)


Parts: TypeAlias = dict[tuple[int, int, int], Left]


def in_boxes(blocks: Parts, count: int) -> tuple[MergeTree, list[RegionGraph], list[int]]:
    """The merge tree made in boxes, the contacts of fragments, and how many contacts each level leaves."""
    made = {place: contracted([part], 0) for place, part in blocks.items()}
    all_made, left = list(made.values()), []
    level = 0
    while len(made) > 1:
        level += 1
        above: dict[tuple[int, ...], list[Left]] = {}
        for place, found in made.items():
            above.setdefault(tuple(i // 2 for i in place), []).append(unpacked_left(packed(found)))
        left.append(sum(len(p.ages) for parts in above.values() for p in parts))
        made = {place: contracted(parts, level if len(above) > 1 else None) for place, parts in above.items()}
        all_made += made.values()
    (last,) = made.values()
    assert not len(last.left.ages)
    assert not len(last.left.fragments)
    tree = complete_tree([(found.ages, found.scores) for found in all_made], count)
    return tree, [found.settled for found in all_made], left


def same(found: MergeTree, true: MergeTree) -> None:
    for part in ("pairs", "scores", "levels"):
        np.testing.assert_array_equal(getattr(found, part), getattr(true, part), err_msg=part)


grids = st.tuples(*(st.integers(1, 5),) * 3).filter(lambda g: 1 < np.prod(g) <= 40)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), grids, st.integers(1, 40), st.integers(1, 6), st.sampled_from([1, 2, 5]))
def test_any_boxes_give_the_tree_of_the_whole(seed, grid, count, values, most) -> None:
    world = World(seed, grid, count, values, most)
    tree, settled, _ = world.tree()
    same(tree, merge_tree(world.graph, MEAN))
    # every contact is settled once, as it is
    found = added_up(settled)
    assert sum(len(s.edges) for s in settled) == len(found.edges)
    for part in ("edges", "sums", "counts"):
        np.testing.assert_array_equal(getattr(found, part), getattr(world.graph, part))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]), st.integers(0, 60))
def test_the_size_filter_needs_no_more_than_what_boxes_wrote(seed, threshold, least) -> None:
    world = World(seed, (3, 2, 2), 30, 5, 3)
    tree, settled, _ = world.tree()
    lookup = tree.cut(threshold)
    np.testing.assert_array_equal(
        join_small_streamed(lookup, world.graph.sizes, settled, least), join_small(lookup, world.graph, least)
    )


def test_boxes_take_most_of_the_work() -> None:
    world = World(1, (4, 4, 4), 400, 200, 9)
    tree, _, left = world.tree()
    same(tree, merge_tree(world.graph, MEAN))
    assert left[-1] < 0.8 * len(world.graph.edges)


def test_regions_of_too_many_edges_wait_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(2, (2, 2, 2), 40, 5, 3)
    merged = len(contracted([world_part(world)], 0).ages)
    monkeypatch.setattr(contraction, "EXACT_EDGES", 20)
    assert 0 < len(contracted([world_part(world)], 0).ages) < merged
    same(world.tree()[0], merge_tree(world.graph, MEAN))


def world_part(world: World) -> Left:
    """The contacts of all blocks as those of one, in which some fragments go on."""
    levels = np.where(np.arange(1, world.count + 1) % 4, 0, 1).astype(np.uint8)
    near, far = added_up(world.near.values()), added_up(world.far.values())
    return Left(near, far, np.zeros((0, 2), np.int64), NONE, NONE, NONE, np.arange(1, world.count + 1), levels)


SHAPE = (18, 26, 28)
LONG = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -1, 3), (2, 0, 0), (-4, 3, 0))
FRAGMENTS = {"radius_nm": 24, "sigma_nm": 6, "link": 0.2, "background": 0.1}
CASES = {
    "nearest edges": (NEAREST, SegmentConfig(fragments=FRAGMENTS), 1),
    "nearest edges, many ties": (NEAREST, SegmentConfig(fragments=FRAGMENTS), 64),
    "long edges, many ties": (LONG, SegmentConfig(long_range=True, fragments=FRAGMENTS), 64),
}


def affinities(channels: int, step: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 1.2) for _ in range(channels)])
    return (np.clip(140 + 900 * smooth, 0, 255).astype(np.uint8) // step) * step


AFF = {name: affinities(len(offsets), step) for name, (offsets, _, step) in CASES.items()}
WHOLE = {name: hierarchy(AFF[name], offsets, (8, 8, 8), config) for name, (offsets, config, _) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=8, deadline=None)
@given(shape=st.tuples(st.integers(4, 13), st.integers(6, 20), st.integers(7, 20)))
def test_any_blocks_of_a_volume_give_the_tree_of_the_whole(name, shape) -> None:
    offsets, config, _ = CASES[name]
    volume, blocks = blockwise._cut_up(AFF[name], (8, 8, 8), shape, (0, 0, 0))
    decoder = Neurons(offsets, (8, 8, 8), config)
    found = [
        decoder.part(blockwise._read(AFF[name], decoder.cut, b, volume), write=b.write, volume=volume) for b in blocks
    ]
    numbers, _ = blockwise._stitched([pieces for pieces, _ in found], decoder.cut, blocks, volume)
    places = np.concatenate([[b.index] * (len(n) - 1) for b, n in zip(blocks, numbers, strict=True) if len(n) > 1])
    levels = box_levels(np.concatenate([[0], *(n[1:] for n in numbers)]), places)
    parts = {b.index: of_block(tables, n, levels[n]) for b, (_, tables), n in zip(blocks, found, numbers, strict=True)}
    whole = WHOLE[name]
    tree, settled, _ = in_boxes(parts, whole.graph.nodes)
    same(tree, whole.tree)
    for threshold in (0.2, 0.5, 0.8):
        lookup = join_small_streamed(tree.cut(threshold), whole.graph.sizes, settled, 20)
        np.testing.assert_array_equal(lookup, join_small(whole.tree.cut(threshold), whole.graph, 20))
