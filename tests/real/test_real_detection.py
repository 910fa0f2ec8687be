"""Detection scores of a published U-Net on the Lucchi test volume, against a loop over all pairs of objects."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from neuropil.metrics.detection import evaluate_detection
from neuropil.volume import Volume

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def pair():
    root = os.environ.get("NEUROPIL_DATA")
    if not root:
        pytest.skip("real data: NEUROPIL_DATA is not set")
    path = Path(root) / "lucchi_mito_labels/lucchi_test_mito_instances.h5"
    if not path.is_file():
        pytest.skip(f"real data: {path.name} is not in NEUROPIL_DATA")
    with h5py.File(path) as file:
        return file["labels"][...], file["prediction"][...]


@pytest.fixture(scope="module")
def ious(pair):
    """Dense matrix of IoUs, one pair of objects at a time, and the predicted sizes."""
    inside = (pair[0] > 0) | (pair[1] > 0)
    truth, pred = (labels[inside] for labels in pair)
    true, found = (np.setdiff1d(labels, [0]) for labels in (truth, pred))
    sizes = np.array([(pred == j).sum() for j in found])
    matrix = np.zeros((len(true), len(found)))
    for row, i in enumerate(true):
        under = pred[truth == i]
        for column, j in enumerate(found):
            both = (under == j).sum()
            matrix[row, column] = both / (len(under) + sizes[column] - both)
    return matrix, sizes


@pytest.fixture(scope="module")
def got(pair):
    volumes = [Volume(a, (5.0, 5.0, 5.0), kind="labels") for a in pair]
    return evaluate_detection(*volumes, block_shape=(64, 256, 256))


def test_counts_are_those_of_all_pairs(ious, got):
    matrix, _ = ious
    assert (got["num_truth"], got["num_pred"]) == matrix.shape == (35, 40)
    for t in (0.5, 0.75):
        hits = matrix[matrix >= t]
        assert (matrix >= t).sum(axis=0).max() <= 1
        assert got[f"accuracy_{round(100 * t)}"] == pytest.approx(len(hits) / (75 - len(hits)))
        assert got[f"pq_{round(100 * t)}"] == pytest.approx(2 * hits.sum() / 75)
        assert got[f"f1_{round(100 * t)}"] == pytest.approx(2 * len(hits) / 75)


def test_average_precision_is_that_of_a_walk_down_the_sizes(ious, got):
    matrix, sizes = ious
    order = np.argsort(-sizes)
    assert len(set(sizes.tolist())) == len(sizes)
    for t in (0.5, 0.75):
        hit = matrix[:, order].max(axis=0) >= t
        recall, precision = np.cumsum(hit) / len(matrix), np.cumsum(hit) / np.arange(1, len(hit) + 1)
        at = [precision[recall >= n / 100 - 1e-12].max(initial=0.0) for n in range(101)]
        assert got[f"ap_{round(100 * t)}_voxels"] == pytest.approx(np.mean(at))


def test_foreground(pair, got):
    truth, pred = (a > 0 for a in pair)
    assert got["iou"] == pytest.approx((truth & pred).sum() / (truth | pred).sum())
    assert got["dice"] == pytest.approx(2 * (truth & pred).sum() / (truth.sum() + pred.sum()))
