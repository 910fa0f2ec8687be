"""Meshes lie where the objects are, to the nanometre, and are closed."""

from __future__ import annotations

import json

import numpy as np

from neuropil.view.meshes import Meshes, meshes_of
from neuropil.volume import Volume


def vertices_and_faces(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    count = int(np.frombuffer(content[:4], "<u4")[0])
    vertices = np.frombuffer(content[4 : 4 + 12 * count], "<f4").reshape(-1, 3)
    return vertices, np.frombuffer(content[4 + 12 * count :], "<u4").reshape(-1, 3)


def made(labels: Volume) -> Meshes:
    found = meshes_of(labels, 10**7)
    assert found is not None
    return found


def test_a_mesh_has_the_bounds_and_the_volume_of_its_object(truth):
    vertices, faces = vertices_and_faces(made(truth).mesh(4))
    # slab 4: x 30..40 of a volume that begins at voxel (3, 10, 10), x y z in nm
    np.testing.assert_allclose(vertices.min(axis=0), [160, 80, 120], atol=0.5)
    np.testing.assert_allclose(vertices.max(axis=0), [200, 640, 920], atol=0.5)
    a, b, c = (vertices[faces[:, k]].astype(float) for k in range(3))
    enclosed = abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
    np.testing.assert_allclose(enclosed, 40 * 560 * 800, rtol=0.02)


def test_every_edge_belongs_to_two_triangles(truth):
    _, faces = vertices_and_faces(made(truth).mesh(4))
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, times = np.unique(edges, axis=0, return_counts=True)
    assert set(times) == {2}


def test_files_of_an_object(truth):
    meshes = made(truth)
    assert json.loads(meshes.get("info"))["@type"] == "neuroglancer_legacy_mesh"
    assert json.loads(meshes.get("4:0"))["fragments"] == ["4.mesh"]
    assert meshes.get("4.mesh") == meshes.mesh(4)


def test_the_smallest_object_has_a_mesh():
    found = np.zeros((3, 3, 3), np.uint64)
    found[1, 1, 1] = 7
    vertices, faces = vertices_and_faces(made(Volume(found, (40, 8, 4), kind="labels")).mesh(7))
    assert len(faces) >= 8  # thinned, it would be flat
    np.testing.assert_allclose((vertices.min(axis=0), vertices.max(axis=0)), [(4, 8, 40), (8, 16, 80)], atol=1e-3)


def test_no_mesh_of_what_is_no_object(truth):
    meshes = made(truth)
    asked = ("0.mesh", "99.mesh", f"{2**64 - 1}.mesh", f"{2**80}.mesh", "x.mesh", "4", "a:0")
    assert [meshes.get(p) for p in asked] == [None] * 7


def test_largest_first(labels):
    assert made(labels).largest(2)[0] == 5  # two slabs fused
    assert len(made(labels).largest(100)) == 13


def test_large_volumes_are_meshed_at_a_coarser_scale_or_not_at_all(truth):
    coarse = meshes_of(truth, truth.box.size // 2)
    assert coarse is not None
    assert coarse.scale.box.size <= truth.box.size // 2
    vertices, _ = vertices_and_faces(coarse.mesh(4))
    np.testing.assert_allclose(vertices.max(axis=0), [200, 640, 920], atol=8)
    assert meshes_of(truth, 100) is None


def test_nothing_is_read_before_a_mesh_is_asked_for():
    class Unread:
        shape, dtype = (8, 8, 8), np.dtype(np.uint32)

        def __getitem__(self, key):
            raise AssertionError("read")

    assert meshes_of(Volume(Unread(), (1, 1, 1), kind="labels"), 1000) is not None
