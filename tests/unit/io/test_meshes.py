"""Meshes as Neuroglancer's format has them."""

from __future__ import annotations

import json
import struct

import numpy as np

from neuropil.io.meshes import INFO, encoded_mesh, mesh_files


def test_a_triangle_is_written_x_first_and_seen_from_the_same_side() -> None:
    vertices_nm, faces = np.array([[0.0, 0, 0], [0, 2, 0], [0, 0, 3]]), np.array([[0, 1, 2]])
    content = encoded_mesh(vertices_nm, faces)
    assert struct.unpack_from("<I", content) == (3,)
    vertices_xyz = np.frombuffer(content, "<f4", 9, 4).reshape(3, 3)
    np.testing.assert_array_equal(vertices_xyz, [[0, 0, 0], [0, 2, 0], [3, 0, 0]])
    corners = np.frombuffer(content, "<u4", -1, 40)
    a, b, c = vertices_xyz[corners]
    d, e, f = vertices_nm[faces[0]]
    # which side is out: along z as z, y, x says it, and as x, y, z does
    assert np.cross(b - a, c - a)[2] == np.cross(e - d, f - d)[0]


def test_an_object_is_a_list_of_its_parts_and_a_part() -> None:
    files = mesh_files(2**60, b"mesh")
    assert json.loads(files.pop(f"{2**60}:0")) == {"fragments": [f"{2**60}.mesh"]}
    assert files == {f"{2**60}.mesh": b"mesh"}
    assert INFO["@type"] == "neuroglancer_legacy_mesh"
