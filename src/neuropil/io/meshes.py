"""Meshes as Neuroglancer reads them, at one resolution: an `info`, and for object N a list of parts ``N:0`` and a part.

The format is Neuroglancer's "legacy single-resolution mesh": https://github.com/google/neuroglancer, datasource
precomputed, meshes.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

INFO: dict[str, Any] = {"@type": "neuroglancer_legacy_mesh"}


def encoded_mesh(vertices_nm: npt.NDArray[np.float64], faces: npt.NDArray[np.integer]) -> bytes:
    """The part of one object: number of vertices, vertices (x, y, z in nm), triangles; little endian.

    Parameters
    ----------
    vertices_nm
        (V, 3) z, y, x.
    faces
        (F, 3) vertices, counter-clockwise when z, y, x is read as x, y, z.
    """
    vertices_xyz = np.ascontiguousarray(vertices_nm[:, ::-1], "<f4")
    # exchanging z and x mirrors space, so the order of corners is turned round too
    corners = np.ascontiguousarray(faces[:, ::-1], "<u4")
    return np.array([len(vertices_xyz)], "<u4").tobytes() + vertices_xyz.tobytes() + corners.tobytes()


def mesh_files(label: int, mesh: bytes) -> dict[str, bytes]:
    """The files of one object: the list of its parts, and the only part."""
    return {f"{label}:0": json.dumps({"fragments": [f"{label}.mesh"]}).encode(), f"{label}.mesh": mesh}
