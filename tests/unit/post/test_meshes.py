"""Surfaces of cells: closed once they are joined, of the right kind, size and place, and thinned without a gap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from tests.unit.post.cellwise import cells

from neuropil.geometry import Int3
from neuropil.post.meshes import joined, surfaces

NM = (20.0, 10.0, 10.0)


def cut(labels: npt.NDArray[np.uint32], size: Int3, thinned: int = 10) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Meshes of all objects by way of cells."""
    pieces: dict[int, list] = {}
    for cell, part in cells(labels, size, NM):
        for label, piece in surfaces(part, cell, thinned=thinned, error_nm=20).items():
            pieces.setdefault(label, []).append((cell.start, piece))
    return {label: joined(found, voxel_size=NM, corner_nm=(100, 0, -40)) for label, found in pieces.items()}


def euler(faces: npt.NDArray[np.int64]) -> int:
    """Euler characteristic of a closed mesh; every edge has a face on either side, run through both ways."""
    edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).astype(np.int64)
    there, back = (np.unique(u << 32 | v) for u, v in (edges.T, edges.T[::-1]))
    assert len(there) == len(edges)
    assert np.array_equal(there, back)
    return len(np.unique(faces)) - len(edges) // 2 + len(faces)


def enclosed(vertices: npt.NDArray[np.float64], faces: npt.NDArray[np.int64]) -> float:
    """Signed volume, positive where faces run counter-clockwise from outside."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def ball(shape: Int3, middle: tuple[float, float, float], radius_nm: float) -> npt.NDArray[np.uint32]:
    place = (np.indices(shape) + 0.5) * np.reshape(NM, (3, 1, 1, 1))
    return (np.linalg.norm(place - np.reshape(middle, (3, 1, 1, 1)), axis=0) < radius_nm).astype(np.uint32)


@pytest.mark.parametrize("thinned", [1, 10])
@pytest.mark.parametrize("cell", [(64, 64, 64), (9, 11, 64), (8, 8, 8)])
def test_a_ball_is_closed_and_where_it_was(cell: Int3, thinned: int) -> None:
    vertices, faces = cut(ball((24, 40, 44), (240, 200, 220), 150), cell, thinned)[1]
    assert euler(faces) == 2
    assert len(vertices) == len(np.unique(faces))
    assert enclosed(vertices, faces) == pytest.approx(4 / 3 * np.pi * 150**3, rel=0.06)
    np.testing.assert_allclose((vertices.min(0) + vertices.max(0)) / 2, (340, 200, 180), atol=10)


def test_thinning_makes_fewer_triangles_in_each_cell() -> None:
    labels = ball((24, 40, 44), (240, 200, 220), 150)
    counts = [len(cut(labels, (12, 20, 22), thinned)[1][1]) for thinned in (1, 10)]
    assert counts[1] < counts[0] / 2


@pytest.mark.parametrize("side", [1, 2, 5])
def test_small_objects_are_not_thinned_flat(side: int) -> None:
    labels = np.zeros((16, 16, 16), np.uint32)
    labels[4 : 4 + side, 4 : 4 + side, 4 : 4 + side] = 1
    vertices, faces = cut(labels, (64, 64, 64), thinned=100)[1]
    assert euler(faces) == 2
    assert enclosed(vertices, faces) > 0.15 * side**3 * np.prod(NM)
    assert np.array_equal(faces, cut(labels, (64, 64, 64), thinned=1)[1][1])


def test_a_ring_through_many_cells_has_its_hole() -> None:
    z, y, x = (np.indices((12, 48, 48)) + 0.5) * np.reshape(NM, (3, 1, 1, 1))
    ring = (np.hypot(np.hypot(y - 240, x - 240) - 150, z - 120) < 60).astype(np.uint32)
    for cell in ((12, 48, 48), (8, 13, 17)):
        assert euler(cut(ring, cell)[1][1]) == 0


def test_objects_that_touch_and_reach_the_ends_of_the_volume_are_closed_too() -> None:
    labels = np.ones((10, 20, 20), np.uint32)
    labels[:, :9] = 2
    labels[3:6, 5:15, 5:15] = 3
    meshes = cut(labels, (8, 8, 8))
    assert {label: euler(faces) for label, (_, faces) in meshes.items()} == {1: 2, 2: 2, 3: 2}
    assert meshes[2][0][:, 1].min() == pytest.approx(0, abs=1e-3)
    assert meshes[2][0][:, 0].min() == pytest.approx(100, abs=1e-3)
    assert meshes[2][0][:, 0].max() == pytest.approx(300, abs=1e-3)


def test_random_objects_are_closed_whatever_the_cells() -> None:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 3, (4, 5, 6)).astype(np.uint32)
    labels = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)
    whole = {label: euler(faces) for label, (_, faces) in cut(labels, (64, 64, 64), 1).items()}
    for cell in ((4, 7, 8), (6, 7, 9)):
        assert {label: euler(faces) for label, (_, faces) in cut(labels, cell, 1).items()} == whole
