import math

import numpy as np
import pytest

from neuropil.errors import GeometryError, InputError
from neuropil.metrics.detection import (
    HIGHER_IS_BETTER,
    average_precision,
    by_category,
    detection,
    detection_scores,
    evaluate_detection,
    match,
    overlaps,
    semantic,
)
from neuropil.metrics.overlap import contingency
from neuropil.volume import Volume

VOXEL = (30.0, 8.0, 8.0)


def boxes(*lengths):
    """Objects 1, 2, ... of so many voxels, each in a line of its own of 100."""
    line = np.zeros((len(lengths), 100), int)
    for i, length in enumerate(lengths):
        line[i, :length] = i + 1
    return line


def line_pairs(truth_lengths, pred_lengths):
    lines = max(len(truth_lengths), len(pred_lengths))
    truth, pred = (boxes(*n, *[0] * (lines - len(n))) for n in (truth_lengths, pred_lengths))
    return overlaps(contingency(truth, pred))


# IoUs 1, .8, .6, .4; a truth alone, a prediction alone
TRUTH, PRED = (50, 50, 50, 50, 70, 0), (50, 40, 30, 20, 0, 90)


def test_counts_by_hand():
    got = detection(contingency(boxes(*TRUTH), boxes(*PRED)))
    assert (got["num_truth"], got["num_pred"]) == (5, 5)
    assert (got["precision_50"], got["recall_50"], got["f1_50"]) == pytest.approx((3 / 5, 3 / 5, 3 / 5))
    assert (got["accuracy_50"], got["accuracy_75"], got["f1_75"]) == pytest.approx((3 / 7, 2 / 8, 2 / 5))
    assert (got["sq_50"], got["pq_50"]) == pytest.approx((2.4 / 3, 2.4 / 5))
    assert (got["sq_75"], got["pq_75"]) == pytest.approx((0.9, 1.8 / 5))


def test_semantic_scores_by_hand():
    got = semantic(contingency(boxes(*TRUTH), boxes(*PRED)))
    both, wanted, found = 140, 270, 230
    assert got["dice"] == 2 * both / (wanted + found)
    assert got["iou"] == both / (wanted + found - both)
    assert (got["foreground_precision"], got["foreground_recall"]) == (both / found, both / wanted)
    assert semantic(contingency(boxes(9), 7 * boxes(9)))["dice"] == 1
    assert set(semantic(contingency(boxes(9), boxes(0))).values()) == {0.0}


def test_average_precision_by_hand():
    pairs = line_pairs((50, 50, 50, 50), (50, 40, 30, 20))
    # ranked: hit, miss, hit, miss at t = .55; half of the truth is found
    scores = np.array([4.0, 1.0, 2.0, 3.0])[[0, 3, 2, 1]]
    assert scores.tolist() == [4, 3, 2, 1]
    assert average_precision(pairs, scores, 0.75) == pytest.approx(51 / 101)  # both hits first, recall 0 to .50
    late = np.array([1.0, 2.0, 3.0, 4.0])  # miss, miss, hit, hit: precision 1/3, then 2/4 lifts both
    assert average_precision(pairs, late, 0.75) == pytest.approx(51 / 101 * 0.5)
    mixed = np.array([4.0, 2.0, 3.0, 1.0])  # hit, miss, hit: recall 0 to .25 at 1, to .50 at 2/3
    assert average_precision(pairs, mixed, 0.75) == pytest.approx((26 + 25 * 2 / 3) / 101)


def test_recall_meets_its_points_in_whole_numbers():
    pairs = line_pairs((50,) * 20, (50,) * 7)
    assert average_precision(pairs, np.ones(7), 0.5) == 36 / 101  # 0.00 ... 0.35


def test_equal_scores_enter_together_whatever_their_order():
    pairs = line_pairs((50, 50, 0, 0), (50, 50, 60, 60))
    assert average_precision(pairs, np.ones(4), 0.5) == pytest.approx(0.5)


def test_voxel_counts_rank_unless_there_is_a_score():
    pairs = line_pairs(TRUTH, PRED)
    by_size = detection_scores(pairs)
    assert by_size["ap_75"] == by_size["ap_75_voxels"] < 2 / 5  # the false object is the largest
    sure = detection_scores(pairs, scores=np.array([5.0, 4, 3, 2, 1]))
    assert sure["ap_75_voxels"] == by_size["ap_75_voxels"]
    assert sure["ap_75"] == pytest.approx(41 / 101)
    assert sure["ap_50"] == pytest.approx(61 / 101)
    assert sure["ap_50_95"] == pytest.approx((61 * 3 + 41 * 4 + 21 * 3) / 1010)  # .6 and .8 count as ≥


def test_a_truth_claimed_twice_is_found_once():
    truth, pred = np.array([1, 1, 1, 1, 2, 2]), np.array([5, 5, 6, 6, 7, 7])
    pairs = overlaps(contingency(truth, pred))
    assert average_precision(pairs, np.array([3.0, 2.0, 1.0]), 0.5) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_size_bins_leave_out_other_sizes_that_claim_nothing():
    pairs = line_pairs(TRUTH, PRED)
    surest_is_false = np.array([1.0, 1, 1, 1, 9])
    small = average_precision(pairs, surest_is_false, 0.75, bins=np.array([0.0, 60.0]))
    assert small == pytest.approx(
        (51 * 0.5) / 101
    )  # found 2 of 4 with 2 small false ones; the false 90 is another size
    assert math.isnan(average_precision(pairs, surest_is_false, 0.75, bins=np.array([70.0, 80.0])))


def test_sizes_are_those_of_the_truth_for_hits_and_misses():
    pairs = line_pairs(TRUTH, PRED)
    got = by_category(
        pairs,
        match(pairs, 0.75),
        (pairs.truth_voxels, pairs.pred_voxels),
        np.array([0.0, 35.0, 60.0, np.inf]),
        ("a", "b", "c"),
    )
    assert "recall_75_a" not in got  # no truth of 35 or less
    assert (got["num_truth_b"], got["recall_75_b"], got["precision_75_b"]) == (4, 0.5, 1.0)
    assert (got["num_truth_c"], got["recall_75_c"], got["accuracy_75_c"]) == (1, 0.0, 0.0)


def test_a_group_ends_with_its_upper_limit():
    pairs = line_pairs((50, 51), (50, 51))
    sizes = (pairs.truth_voxels, pairs.pred_voxels)
    got = by_category(pairs, match(pairs, 0.75), sizes, np.array([0.0, 50.0, np.inf]), ("a", "b"))
    assert (got["num_truth_a"], got["num_truth_b"], got["precision_75_a"], got["precision_75_b"]) == (1, 1, 1, 1)


def test_empty_bins_are_not_reported_and_full_ones_are():
    got = detection_scores(line_pairs((100, 20), (100, 20)), size_edges_voxels=(10, 60))
    assert {k for k in got if k.startswith("num_truth_")} == {"num_truth_medium", "num_truth_large"}
    assert got["ap_75_medium"] == got["accuracy_75_large"] == 1


def test_nothing_predicted_scores_nothing():
    got = detection(contingency(boxes(50), boxes(0)))
    assert {got[k] for k in got if k in HIGHER_IS_BETTER} == {0.0}


def test_scores_must_be_one_finite_number_each():
    pairs = line_pairs((50, 50), (50, 50))
    for bad in (np.ones(3), np.array([1.0, np.nan])):
        with pytest.raises(InputError, match="finite number for each object"):
            average_precision(pairs, bad, 0.5)


def volume(array, kind="labels", **kwargs):
    return Volume(array, VOXEL, kind=kind, **kwargs)


@pytest.fixture
def scene(rng):
    truth = np.kron(rng.integers(0, 9, (3, 4, 4)), np.ones((2, 8, 9), np.uint32)).astype(np.uint64)
    pred = np.where(rng.random(truth.shape) < 0.2, 0, np.roll(truth, 2, axis=2)).astype(np.uint32) * 11
    return truth, pred, rng.random(truth.shape).astype(np.float32)


@pytest.mark.parametrize("block", [(2, 16, 16), (1, 5, 7), (64, 512, 512)])
def test_volumes_by_blocks_score_as_arrays(scene, block):
    truth, pred, evidence = scene
    pairs = overlaps(contingency(truth, pred))
    means = np.array([evidence[pred == i].mean() for i in pairs.pred_ids])
    expected = detection_scores(pairs, scores=means) | semantic(contingency(truth, pred))
    got = evaluate_detection(volume(truth), volume(pred), scores=volume(evidence, "image"), block_shape=block)
    assert got == pytest.approx(expected)
    named = dict(zip(pairs.pred_ids.tolist(), means, strict=True))
    assert evaluate_detection(volume(truth), volume(pred), scores=named, block_shape=block) == pytest.approx(expected)


def test_sizes_in_um3_and_cable_in_nm(scene):
    truth, pred, _ = scene
    pairs = overlaps(contingency(truth, pred))
    sizes = np.sort(pairs.truth_voxels) * 30 * 8 * 8e-9
    cut = (float(sizes[2]) * 1.0001, float(sizes[-1]) * 0.9999)
    lengths = {int(i): 900.0 if i < 4 else 9000.0 for i in pairs.truth_ids}
    got = evaluate_detection(
        volume(truth),
        volume(pred),
        block_shape=(6, 32, 36),
        size_edges_um3=cut,
        cable_nm=(lengths, {int(i): 1.0 for i in pairs.pred_ids}),
    )
    assert got["num_truth_small"] == (sizes <= cut[0]).sum()
    assert got["num_truth_large"] == (sizes > cut[1]).sum()
    assert got["num_truth_medium"] == len(sizes) - got["num_truth_small"] - got["num_truth_large"]
    assert (got["num_truth_short"], got["num_truth_long"]) == (3, len(sizes) - 3)
    assert "num_truth_middle" not in got
    assert got["precision_75_long"] in (0.0, 1.0)  # false objects are all short
    with pytest.raises(InputError, match="no length for object"):
        evaluate_detection(volume(truth), volume(pred), block_shape=(6, 32, 36), cable_nm=({}, {}))


def test_evidence_must_cover_the_objects(scene):
    truth, pred, evidence = scene
    for bad in (evidence[:-1], np.stack([evidence, evidence])):
        other = volume(bad, "image", axes="czyx" if bad.ndim == 4 else "zyx", name="fg.zarr")
        with pytest.raises(GeometryError, match=r"fg\.zarr"):
            evaluate_detection(volume(truth), volume(pred), scores=other, block_shape=(6, 32, 36))
