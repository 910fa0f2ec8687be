"""Skeletons as Neuroglancer reads them: a folder with an `info` and one binary file an object."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuropil.skeleton import Skeleton

INFO: dict[str, Any] = {
    "@type": "neuroglancer_skeletons",
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    "vertex_attributes": [{"id": "radius", "data_type": "float32", "num_components": 1}],
}


def encoded_skeleton(skeleton: Skeleton) -> bytes:
    """The file of one object: counts of nodes and edges, nodes (x, y, z in nm), edges, radii (nm); little endian."""
    nodes_xyz = np.ascontiguousarray(skeleton.nodes_nm[:, ::-1], "<f4")
    edges = np.ascontiguousarray(skeleton.edges, "<u4")
    counts = np.array([len(nodes_xyz), len(edges)], "<u4")
    return b"".join(part.tobytes() for part in (counts, nodes_xyz, edges, skeleton.radius_nm.astype("<f4")))
