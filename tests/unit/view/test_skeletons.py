"""Skeletons in Neuroglancer's bytes: counts, x y z, edges, radii."""

from __future__ import annotations

import json

import numpy as np

from neuropil.view.skeletons import skeleton_files


def test_a_skeleton_comes_out_as_it_went_in(tree):
    content = skeleton_files({"one": tree})["1"]
    assert np.frombuffer(content[:8], "<u4").tolist() == [3, 2]
    np.testing.assert_array_equal(np.frombuffer(content[8:44], "<f4").reshape(3, 3), tree.nodes_nm[:, ::-1])
    assert np.frombuffer(content[44:60], "<u4").reshape(2, 2).tolist() == [[1, 0], [2, 1]]
    assert np.frombuffer(content[60:], "<f4").tolist() == [1, 2, 3]


def test_names_are_listed_by_number(tree):
    files = skeleton_files({"pyramidal 7": tree, "basket": tree})
    info, names = json.loads(files["info"]), json.loads(files["names/info"])
    assert (info["@type"], info["segment_properties"]) == ("neuroglancer_skeletons", "names")
    assert names["inline"]["ids"] == ["1", "2"]
    assert names["inline"]["properties"][0]["values"] == ["pyramidal 7", "basket"]
    assert {"1", "2"} <= set(files)
