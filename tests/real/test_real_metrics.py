"""Scores on real segmentations, against the published reference points of the data's README."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from neuropil.metrics.evaluate import evaluate_arrays
from neuropil.metrics.overlap import contingency
from neuropil.metrics.partition import scores, voi
from neuropil.metrics.skeletal import erl, sample_array
from neuropil.skeleton import Skeleton

pytestmark = pytest.mark.real
VOXEL = (8.0, 8.0, 8.0)


def data(name):
    root = os.environ.get("NEUROPIL_DATA")
    if not root:
        pytest.skip("real data: NEUROPIL_DATA is not set")
    if not (Path(root) / name).is_file():
        pytest.skip(f"real data: {name} is not in NEUROPIL_DATA")
    return Path(root) / name


def read(name, dataset):
    with h5py.File(data(name)) as file:
        return file[dataset][...]


@pytest.fixture(scope="module")
def truth():
    return read("fib25/trvol_250_1.h5", "labels")


@pytest.mark.parametrize(
    ("file", "dataset", "convention", "split", "merge"),
    [
        ("fib25/trvol_250_1_neuroproof_oversegmentation.h5", "supervoxels", "neuropil", 2.34, 0.33),
        ("fib25/trvol_250_1_ffn_baseline.h5", "ffn_segmentation", "neuropil", 0.88, 0.93),
        ("fib25/trvol_250_1_ffn_baseline.h5", "ffn_segmentation", "assigned", 0.59, 0.27),
    ],
)
def test_reference_points_of_cube_1(truth, file, dataset, convention, split, merge):
    got = voi(contingency(truth, read(file, dataset)), convention=convention)
    assert (round(got["voi_split"], 2), round(got["voi_merge"], 2)) == (split, merge)


def test_scikit_image_agrees_on_a_real_cube(truth):
    from skimage.metrics import adapted_rand_error, variation_of_information

    part, pred = truth[:60], read("fib25/trvol_250_1_ffn_baseline.h5", "ffn_segmentation")[:60]
    got = scores(contingency(part, pred), convention="skimage")
    assert (got["voi_split"], got["voi_merge"]) == pytest.approx(tuple(variation_of_information(part, pred)))
    assert got["arand"] == pytest.approx(adapted_rand_error(part, pred)[0])


def test_borders_are_where_a_real_segmentation_errs(truth):
    pred = read("fib25/trvol_250_1_ffn_baseline.h5", "ffn_segmentation")
    whole = evaluate_arrays(truth[:60], pred[:60], VOXEL, ignore_border_nm=None, convention="neuropil")
    inner = evaluate_arrays(truth[:60], pred[:60], VOXEL, ignore_border_nm=25, convention="neuropil")
    assert inner["voi_sum"] < whole["voi_sum"]
    assert inner["unassigned"] < whole["unassigned"]
    assert inner["voxels_compared"] < whole["voxels_compared"]


@pytest.fixture(scope="module")
def axons():
    """The two axons of em_erl's example and the labels under their nodes."""
    graph = np.load(data("erl_axonem_mini/gt_graph.npz"))
    skeletons = []
    for i in range(2):
        mine = np.flatnonzero(graph["nodes"][:, 0] == i)
        child, parent = np.searchsorted(mine, graph[f"edges_{i}"][:, :2].astype(int).T)
        skeletons.append(rooted(graph["nodes"][mine, 1:].astype(float), np.stack([child, parent], axis=1)))
    volume = "erl_axonem_mini/axonem_mini_100x205x205.h5"
    arrays = {k: read(volume, k) for k in ("labels", "prediction", "no_mask")}
    return skeletons, arrays, graph["skeleton_len"]


def rooted(nodes_nm, edges):
    """A skeleton from undirected edges, hung up at node 0."""
    neighbours = [[] for _ in nodes_nm]
    for u, v in edges:
        neighbours[u].append(int(v))
        neighbours[v].append(int(u))
    parent, stack = np.full(len(nodes_nm), -1), [0]
    while stack:
        for v in neighbours[u := stack.pop()]:
            if v != parent[u]:
                parent[v] = u
                stack.append(v)
    return Skeleton(nodes_nm, np.ones(len(parent)), parent, np.zeros(len(parent), int))


def run_lengths(axons, what, **keywords):
    skeletons, arrays, _ = axons
    segments = sample_array(arrays[what], (30.0, 30.0, 30.0), skeletons, offset=(0.0, 0.0, 0.0))
    return erl(skeletons, segments, merge_tolerance_nm=0.0, **keywords)


def test_erl_of_the_true_axons(axons):
    lengths = axons[2]
    assert [s.length_nm() for s in axons[0]] == pytest.approx(lengths.tolist())
    got = run_lengths(axons, "labels")
    assert got.nerl == 1
    assert got.erl_nm == pytest.approx((lengths**2).sum() / lengths.sum())


def test_erl_of_the_split_axon(axons):
    # axon 1 falls into runs of 2164.30 and 2239.72 nm around one split edge; axon 2 is whole
    got = run_lengths(axons, "prediction")
    assert (got.splits, got.merges) == (1, 0)
    assert got.skeletons[0].split_nm == pytest.approx(30 * 2**0.5)
    squares = 2239.7201461922496**2 + 2164.300456155177**2
    assert got.skeletons[0].erl_nm == pytest.approx(squares / axons[2][0])
    assert got.erl_nm == pytest.approx((squares + axons[2][1] ** 2) / axons[2].sum())


def test_erl_with_the_no_merge_mask(axons):
    # the segment of axon 2 runs into a dendrite without a skeleton: about 1.17 µm are left of 2.95
    prediction, mask = axons[1]["prediction"], axons[1]["no_mask"]
    forbidden = set(np.unique(prediction[mask > 0]).tolist()) - {0}
    got = run_lengths(axons, "prediction", forbidden_segments=forbidden)
    assert got.merged_segments.tolist() == [2]
    assert got.erl_nm == pytest.approx(1170, abs=1)
    assert got.skeletons[1].erl_nm == 0
