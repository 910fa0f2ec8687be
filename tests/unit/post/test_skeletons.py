"""Skeletons of cells: one where the object is one, with its ends and its length; no loops, no spurs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from tests.unit.post.cellwise import cells

from neuropil.config.objects import ObjectsConfig
from neuropil.geometry import Int3
from neuropil.post.skeletons import Fragment, fragments, joined
from neuropil.skeleton import Skeleton

NM = (20.0, 10.0, 10.0)
CONFIG = ObjectsConfig()


def cut(labels: npt.NDArray[np.uint32], size: Int3, config: ObjectsConfig = CONFIG) -> dict[int, Skeleton]:
    """Skeletons of all objects by way of cells."""
    parts: dict[int, list[Fragment]] = {}
    for cell, part in cells(labels, size, NM):
        for label, piece in fragments(part, cell, config).items():
            parts.setdefault(label, []).append(piece)
    return {
        label: joined(found, voxel_size=NM, corner_nm=(100, 0, -40), config=config) for label, found in parts.items()
    }


def ends(tree: Skeleton) -> int:
    return int((np.bincount(tree.edges.ravel(), minlength=len(tree.parent)) == 1).sum())


def swept(shape: Int3, path_nm: npt.NDArray[np.float64], radius_nm: float) -> npt.NDArray[np.uint32]:
    """A tube around points that lie close together."""
    from scipy.spatial import cKDTree

    place = ((np.indices(shape) + 0.5) * np.reshape(NM, (3, 1, 1, 1))).reshape(3, -1).T
    return (cKDTree(path_nm).query(place)[0] < radius_nm).reshape(shape).astype(np.uint32)


def wave() -> npt.NDArray[np.float64]:
    t = np.linspace(0, 1, 2000)
    return np.stack([200 + 80 * np.sin(7 * t), 200 + 90 * np.cos(9 * t), 60 + 1400 * t], 1)


@pytest.mark.parametrize("cell", [(64, 64, 64), (20, 40, 39), (8, 16, 16)])
def test_a_tube_through_many_cells_is_one_path_of_its_length(cell: Int3) -> None:
    path = wave()
    tree = cut(swept((20, 40, 152), path, 45), cell)[1]
    assert (ends(tree), int((tree.parent < 0).sum())) == (2, 1)
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert tree.length_nm() == pytest.approx(length, rel=0.1)
    moved = tree.nodes_nm - np.array([100, 0, -40])
    away = np.linalg.norm(moved[:, None] - path[None, ::10], axis=2).min(1)
    assert away.max() < 60  # both ends go to the surface
    assert np.median(tree.radius_nm) == pytest.approx(45, abs=12)


def test_a_branch_is_kept_and_a_spur_is_not() -> None:
    t = np.linspace(0, 1, 800)[:, None]
    trunk, branch = (200, 300, 60) + t * (0, 0, 1300), (200, 300, 700) + t * (0, 600, 0)
    shape = (20, 100, 140)
    labels = np.maximum(swept(shape, trunk, 45), swept(shape, branch, 45))
    for cell in ((64, 128, 128), (11, 23, 31)):
        assert ends(cut(labels, cell)[1]) == 3
        assert ends(cut(labels, cell, ObjectsConfig(spur_nm=800))[1]) == 2


def test_a_ring_becomes_a_tree_and_pieces_stay_apart() -> None:
    turn = np.linspace(0, 2 * np.pi, 3000)
    ring = np.stack([np.full_like(turn, 120), 300 + 200 * np.sin(turn), 300 + 200 * np.cos(turn)], 1)
    labels = swept((12, 60, 60), ring, 40)
    labels[10:, 55:, 55:] = 1
    tree = cut(labels, (12, 20, 20))[1]
    assert int((tree.parent < 0).sum()) == 2
    assert len(tree.edges) == len(tree.parent) - 2


def test_objects_are_told_apart_and_one_voxel_is_one_node() -> None:
    labels = np.zeros((12, 30, 30), np.uint32)
    labels[:, :15, :10], labels[:, 15:, :10], labels[5, 20, 20] = 1, 2, 7
    trees = cut(labels, (8, 8, 8))
    assert sorted(trees) == [1, 2, 7]
    np.testing.assert_allclose(trees[7].nodes_nm, [(100 + 5.5 * 20, 205, -40 + 205)])
    assert trees[1].nodes_nm[:, 1].max() < 150 < trees[2].nodes_nm[:, 1].min()
