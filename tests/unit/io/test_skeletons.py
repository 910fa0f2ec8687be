"""Graphs of skeletons: read as forests in nm, or refused in one clear error."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.errors import InputError, VolumeError
from neuropil.io.skeletons import read_skeletons

# two skeletons: a fork of three edges, and a path; the second has the first rows
NODES = np.array([[1, 0, 0, 0], [1, 0, 0, 30], [0, 0, 0, 0], [0, 0, 30, 0], [0, 0, 60, 0], [0, 0, 30, 40]], np.uint32)
FORK, PATH = np.array([[3.0, 2, 30], [3, 4, 30], [5, 3, 40]]), np.array([[0.0, 1, 30]])


def graph(path, **arrays):
    np.savez(path, **{"nodes": NODES, "edges_0": FORK, "edges_1": PATH, **arrays})
    return path


def test_skeletons_keep_nodes_and_cable(tmp_path) -> None:
    fork, path = read_skeletons(graph(tmp_path / "a.npz"))
    assert (fork.length_nm(), path.length_nm()) == (100.0, 30.0)
    np.testing.assert_array_equal(fork.nodes_nm, NODES[2:, 1:])
    assert {tuple(sorted(e)) for e in fork.edges.tolist()} == {(0, 1), (1, 2), (1, 3)}


def test_an_unconnected_node_is_a_tree_of_its_own(tmp_path) -> None:
    fork, _ = read_skeletons(graph(tmp_path / "a.npz", edges_0=FORK[:2]))
    assert (len(fork.nodes_nm), np.count_nonzero(fork.parent < 0), fork.length_nm()) == (4, 2, 60.0)


def test_circles_and_strangers_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="circle"):
        read_skeletons(graph(tmp_path / "a.npz", edges_0=np.concatenate([FORK, [[5.0, 2, 50]]])))
    with pytest.raises(InputError, match="another skeleton"):
        read_skeletons(graph(tmp_path / "b.npz", edges_1=np.array([[0.0, 2, 1]])))


def test_what_is_no_graph_is_one_clear_error(tmp_path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", nodes=NODES)
    np.savez(tmp_path / "flat.npz", nodes=NODES[0])
    np.savez(tmp_path / "none.npz", nodes=NODES[:0])
    whole = graph(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a.obj").write_text("v 0 0 0")
    for name in ("text.npz", "other.npz", "flat.npz", "none.npz", "half.npz", "a.obj", "missing.npz"):
        with pytest.raises(VolumeError, match=name):
            read_skeletons(tmp_path / name)
