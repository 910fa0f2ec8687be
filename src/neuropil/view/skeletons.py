"""Skeletons as Neuroglancer reads them: one binary file each, with radii, and their names in a list."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from neuropil.skeleton import Skeleton


def skeleton_files(skeletons: Mapping[str, Skeleton]) -> dict[str, bytes]:
    """The files of a precomputed skeleton folder; skeletons are numbered from 1 in their order.

    Parameters
    ----------
    skeletons
        By their names, which the list beside the picture shows.
    """
    radius = {"id": "radius", "data_type": "float32", "num_components": 1}
    info = {
        "@type": "neuroglancer_skeletons",
        "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
        "vertex_attributes": [radius],
        "segment_properties": "names",
    }
    numbers = [str(number) for number in range(1, len(skeletons) + 1)]
    files = {"info": json.dumps(info).encode(), "names/info": names_info(dict(zip(numbers, skeletons, strict=True)))}
    return files | {number: encoded(one) for number, one in zip(numbers, skeletons.values(), strict=True)}


def names_info(names: Mapping[str, str]) -> bytes:
    """The `info` of a list of names of objects by their ids."""
    label = {"id": "label", "type": "label", "values": list(names.values())}
    inline = {"ids": list(names), "properties": [label]}
    return json.dumps({"@type": "neuroglancer_segment_properties", "inline": inline}).encode()


def encoded(skeleton: Skeleton) -> bytes:
    """Counts of nodes and edges, nodes (x, y, z in nm), edges, radii (nm)."""
    nodes_xyz = np.ascontiguousarray(skeleton.nodes_nm[:, ::-1], "<f4")
    edges = np.ascontiguousarray(skeleton.edges, "<u4")
    counts = np.array([len(nodes_xyz), len(edges)], "<u4")
    return b"".join(part.tobytes() for part in (counts, nodes_xyz, edges, skeleton.radius_nm.astype("<f4")))
