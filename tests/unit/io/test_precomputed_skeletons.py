"""Skeletons as Neuroglancer's format has them."""

from __future__ import annotations

import struct

import numpy as np

from neuropil.io.precomputed_skeletons import INFO, encoded_skeleton
from neuropil.skeleton import Skeleton


def test_counts_nodes_edges_and_radii_in_their_order() -> None:
    nodes_nm = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    tree = Skeleton(nodes_nm, np.array([10.0, 20, 30]), np.array([-1, 0, 0]), np.zeros(3, int))
    content = encoded_skeleton(tree)
    assert struct.unpack("<II9f4I3f", content) == (3, 2, 3, 2, 1, 6, 5, 4, 9, 8, 7, 1, 0, 2, 0, 10, 20, 30)
    (attribute,) = INFO["vertex_attributes"]
    assert attribute == {"id": "radius", "data_type": "float32", "num_components": 1}


def test_an_empty_skeleton_is_two_zeros() -> None:
    none = np.zeros(0)
    assert encoded_skeleton(Skeleton(np.zeros((0, 3)), none, none.astype(int), none.astype(int))) == bytes(8)
