from __future__ import annotations

import numpy as np
import pytest
from tests.unit.tracing.phantoms import CONFIG

from neuropil.tracing.geodesic import costs, march
from neuropil.tracing.prune import branches
from neuropil.tracing.radius import with_depth
from neuropil.tracing.tree import tree_of
from neuropil.tracing.voxels import from_places


def _kept(mask, value=255, spacing=(1.0, 1.0, 1.0), start=None, **change):
    at = np.flatnonzero(mask)
    values = np.full(mask.shape, value, np.uint8) if np.isscalar(value) else value
    voxels = from_places(at, values.ravel()[at], np.zeros(len(at), np.float32), shape=mask.shape, spacing_nm=spacing)
    voxels = with_depth(voxels, CONFIG)
    order = np.argsort(-voxels.depth_nm, kind="stable")
    if start is not None:
        order = np.concatenate([[np.searchsorted(at, np.ravel_multi_index(start, mask.shape))], order])
    found = march(voxels, costs(voxels, sharpness=4.0, middle=1.0), order)
    kept = branches(voxels, found, **{"spur": 3.0, "faint": 0.0, "cover": 1.2, "cover_voxels": 1.0, **change})
    return tree_of(voxels, found, kept), voxels


def _ends(tree):
    return (tree.children() == 0).sum() + (tree.children()[tree.parent < 0] == 1).sum()


def test_a_solid_bar_is_one_line() -> None:
    mask = np.zeros((9, 9, 60), bool)
    mask[2:7, 2:7, 3:57] = True
    tree, _ = _kept(mask)
    assert _ends(tree) == 2
    assert tree.edge_nm().sum() == pytest.approx(54, abs=6)
    inner = (tree.nodes_nm[:, 2] > 8) & (tree.nodes_nm[:, 2] < 52)
    assert np.abs(tree.nodes_nm[inner, :2] - 4.5).max() <= 1, "in the middle"


def test_a_branch_is_kept_from_the_length_of_a_spur_on() -> None:
    for length, tips in ((3, 2), (8, 3)):
        mask = np.zeros((1, 30, 60), bool)
        mask[0, 20, 3:57] = mask[0, 20 - length : 20, 30] = True
        tree, _ = _kept(mask, start=(0, 20, 3))
        assert _ends(tree) == tips


def test_faint_branches_go_and_sure_ones_stay() -> None:
    mask = np.zeros((1, 30, 60), bool)
    mask[0, 20, 3:57] = mask[0, 5:20, 30] = True
    value = np.full(mask.shape, 255, np.uint8)
    value[0, :19, 30] = 90
    for faint, there in ((0.3, True), (0.45, False)):
        tree, _ = _kept(mask, value, start=(0, 20, 3), faint=faint)
        assert (tree.nodes_nm[:, 1] < 15).any() == there


def test_parents_of_the_kept_are_kept() -> None:
    mask = np.random.default_rng(0).random((12, 40, 40)) < 0.35
    tree, voxels = _kept(mask)
    steps = tree.edge_nm()[tree.parent >= 0]
    assert steps.size
    assert steps.max() <= np.sqrt(3) + 1e-6, "every node hangs on a neighbouring voxel"
    assert len(np.unique(tree.piece)) == (tree.parent < 0).sum()
    assert len(tree) < len(voxels)


def test_coarse_sections_are_no_branches() -> None:
    mask = np.zeros((5, 11, 60), bool)
    mask[2:4, 2:9, 3:57] = True
    tree, _ = _kept(mask, spacing=(4.0, 1.0, 1.0))
    assert _ends(tree) == 2
