from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuropil.skeleton import depths
from neuropil.tracing.soma import thickest
from neuropil.tracing.tree import Tree, as_skeleton, joined, smoothed


def _fork() -> Tree:
    """0 - 1 - ... - 20, and 10 - 21 - ... - 30 off to the side; zigzag of one."""
    x = np.concatenate([np.arange(21.0), np.full(10, 10.0)])
    y = np.concatenate([np.zeros(21), np.arange(1.0, 11.0)])
    z = np.tile([0.0, 1.0], 16)[:31]
    parent = np.concatenate([[-1], np.arange(20), [10], np.arange(21, 30)])
    return Tree(np.stack([z, y, x], 1), np.linspace(1, 2, 31), parent, np.full(31, 0.5), np.zeros(31, int))


def test_smoothing_takes_zigzag_away_and_leaves_ends_and_forks() -> None:
    tree = _fork()
    out = smoothed(tree, 2.0)
    fixed = [0, 10, 20, 30]
    assert np.array_equal(out.nodes_nm[fixed], tree.nodes_nm[fixed])
    assert out.edge_nm().sum() < 0.85 * tree.edge_nm().sum()
    assert np.abs(np.diff(out.nodes_nm[3:8, 0])).max() < 0.3
    assert smoothed(tree, 0.0) is tree


def test_rerooting_keeps_the_edges() -> None:
    tree = _fork()
    other = joined(tree, np.empty((0, 2), int), np.empty(0), np.array([25]))
    assert other.parent[25] == -1
    assert (other.parent < 0).sum() == 1

    def edges(t):
        return {frozenset((i, int(p))) for i, p in enumerate(t.parent) if p >= 0}

    assert edges(other) == edges(tree)


def test_dropping_nodes_makes_roots() -> None:
    tree = _fork().kept(np.arange(31) != 10)
    assert len(tree) == 30
    assert (tree.parent < 0).sum() == 3


def test_a_skeleton_has_its_root_first_and_even_nodes() -> None:
    tree = joined(_fork(), np.empty((0, 2), int), np.empty(0), np.array([20]))
    skeleton, sure = as_skeleton(tree, 3.0)
    assert np.array_equal(skeleton.nodes_nm[0], tree.nodes_nm[20])
    assert (np.diff(depths(skeleton.parent)) >= 0).all()
    assert skeleton.edge_lengths_nm().max() <= 3.0 + 1e-9
    assert sure == pytest.approx(np.full(len(sure), 0.5))


def test_the_ends_of_a_bridge_are_no_surer_than_it() -> None:
    two = Tree(np.eye(3)[[0, 1, 2, 0]], np.ones(4), np.array([-1, 0, -1, 2]), np.full(4, 0.6), np.array([0, 0, 1, 1]))
    whole = joined(two, np.array([[1, 2]]), np.array([0.25]), np.array([0]))
    assert whole.confidence.tolist() == [0.6, 0.25, 0.25, 0.6]


def test_the_main_piece_is_that_of_the_most_sure_cable() -> None:
    places = np.array([[0, 0, 0], [0, 0, 10], [0, 9, 0], [0, 9, 6]], float)
    two = Tree(places, np.array([3.0, 1, 1, 2]), np.array([-1, 0, -1, 2]), np.ones(4), np.array([0, 0, 1, 1]))
    assert thickest(two) == 0
    assert thickest(replace(two, confidence=np.array([0.5, 0.5, 1, 1]))) == 3
