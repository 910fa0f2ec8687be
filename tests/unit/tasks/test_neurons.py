from __future__ import annotations

import numpy as np
import pytest

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.config import load_config, override
from neuropil.metrics.overlap import contingency
from neuropil.metrics.partition import scores
from neuropil.tasks.base import OF_ALL_LABELLED, Labelled, Predicted
from neuropil.tasks.neurons import THRESHOLDS, calibrate, decode, fitted_bias, from_few, most_robust

NM = (8.0, 8.0, 8.0)
LABELS = np.repeat(np.array([1, 2], np.uint32), 8)[None, None, :] * np.ones((6, 8, 1), np.uint32)


def test_the_middle_of_a_good_stretch_beats_a_lucky_score() -> None:
    scores = [3.0, 1.0, 3.0, 3.0, 1.6, 1.5, 1.4, 1.5, 1.6, 3.0]
    assert most_robust(scores) == 6
    assert most_robust([2.0, 1.0, 2.0]) == 1
    assert most_robust([1.0, 2.0, 3.0, 4.0]) == 0


def test_bias_brings_the_mean_probability_to_the_truth() -> None:
    truth, valid = affinities_from_labels(LABELS, NEAREST)
    constant = np.full(truth.shape, 128, np.uint8)
    biases = fitted_bias([(constant, LABELS)], NEAREST, (0, 0, 0), zero_label="background")
    for c, bias in enumerate(biases):
        share = truth[c][valid[c]].mean()
        logit = np.log(128 / 255 / (1 - 128 / 255)) + bias
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(share, abs=0.02)
    assert biases[2] < biases[0]  # only x is ever cut


def test_unannotated_voxels_do_not_bend_the_bias() -> None:
    half = LABELS.copy()
    half[3:] = 0
    constant = np.full((3, *half.shape), 128, np.uint8)
    ignoring = fitted_bias([(constant, half)], NEAREST, (0, 0, 0), zero_label="ignore")
    whole = fitted_bias([(constant[:, :3], LABELS[:3])], NEAREST, (0, 0, 0), zero_label="background")
    believing = fitted_bias([(constant, half)], NEAREST, (0, 0, 0), zero_label="background")
    assert ignoring[2] == pytest.approx(whole[2], abs=1e-6)
    assert believing[2] < ignoring[2] - 0.5


def _neurites(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Neurites along x in pieces that touch at .5, side by side across membranes of .3: labels and stored affinities."""
    labels = np.zeros((8, 12 * rows, 48), np.uint32)
    pieces = np.zeros_like(labels)
    for row in range(rows):
        labels[:, 12 * row : 12 * row + 12] = row + 1
        for piece in range(3):
            pieces[:, 12 * row : 12 * row + 12, 16 * piece : 16 * piece + 16] = 3 * row + piece + 1
    inside, _ = affinities_from_labels(pieces, NEAREST)
    same, _ = affinities_from_labels(labels, NEAREST)
    stored = np.where(inside > 0, 250, np.where(same > 0, 128, 77)).astype(np.uint8)
    # a membrane is dark in every direction, else no fragment ends there
    return labels, np.broadcast_to(stored.min(0), stored.shape).copy()


def test_few_objects_are_calibrated_on_all_labelled_voxels_and_cautiously() -> None:
    config = load_config("em_neurons", ["model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]]"])
    labels, stored = _neurites(6)
    # the slab holds two pieces of one neurite's place, labelled as two neurons: alone it would teach never to join
    other = labels[:, :12, :32].copy()
    other[..., 16:] = 9
    slab = Predicted(stored[:, :, :12, :32], other)
    found = calibrate([slab], NM, config)
    assert found["calibration"]["threshold"] > 0.51
    asked = []

    def everything(most: int) -> list[Predicted]:
        asked.append(1)
        return [slab, Predicted(stored, labels)]

    better = from_few(found, Labelled([slab], everything), NM, override(config, ["segment.caution=0"]))
    assert 77 / 255 < better["calibration"]["threshold"] < 129 / 255
    assert better["threshold"] == better["calibration"]["threshold"]
    assert better["score"] == found["score"]
    assert better["decoding"] == OF_ALL_LABELLED
    assert len(asked) == 1
    # of 100 objects that would be enough it holds two: nearly all of the caution is needed; of four, half of it
    for enough, raised in ((100, 0.1), (4, 0.05)):
        words = [f"segment.enough_objects={enough}"]
        cautious = from_few(found, Labelled([slab], everything), NM, override(config, words))
        assert cautious["threshold"] - better["threshold"] == pytest.approx(raised, abs=1e-6)
        assert cautious["raised"] == pytest.approx(raised, abs=1e-6)
        # the scores are those of the slab at that threshold
        row = next(row for row in found["sweep"] if row["threshold"] == cautious["threshold"])
        assert cautious["voi_sum"] == row["voi_sum"]
    # slabs with enough objects are trusted, and nothing is predicted for it
    plenty = override(config, ["segment.enough_objects=2"])
    assert from_few(found, Labelled([slab], pytest.fail), NM, plenty) == found


def test_where_nothing_is_labelled_the_slabs_decide() -> None:
    config = load_config("em_neurons", ["model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]]"])
    labels, stored = _neurites(2)
    slab = Predicted(stored, labels)
    found = calibrate([slab], NM, config)
    nowhere = Predicted(stored, np.full(labels.shape, 2**64 - 1, np.uint64))
    assert from_few(found, Labelled([slab], lambda most: [nowhere]), NM, config) == found


@pytest.mark.parametrize("method", ["mutex", "package.module:other"])
def test_a_segmenter_without_thresholds_is_left_alone(method: str) -> None:
    config = load_config("em_neurons", [f"segment.method={method}"])
    found = {"score": 1.0, "calibration": {"threshold": None, "bias": []}}
    assert from_few(found, Labelled([], pytest.fail), NM, config) is found


def test_few_fragments_keep_the_decoding_of_the_first_weights() -> None:
    config = load_config("em_neurons", ["model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]]"])
    labels, stored = _neurites(6)
    slab = Predicted(stored, labels)
    found = calibrate([slab], NM, config)
    first = {"threshold": 0.9, "bias": [0.5, 0.0, -0.5], "rests_on": 3000}
    kept = from_few(found, Labelled([slab], pytest.fail, first), NM, config)
    assert kept["calibration"] == {"threshold": 0.9, "bias": [0.5, 0.0, -0.5]}
    assert kept["decoding"] == "kept from the first weights"
    # the scores are those of that decoding, on the slabs
    said = load_config("em_neurons", ["segment.threshold=0.9", "segment.bias=[0.5,0,-0.5]"])
    decoded = decode(stored, NEAREST, NM, said)
    assert kept["voi_sum"] == pytest.approx(
        scores(contingency(labels, decoded), convention="neuropil")["voi_sum"], abs=1e-4
    )
    assert kept["voi_sum"] > found["voi_sum"]
    # validations of one run are compared by what is best on the slabs, whatever decoding is kept
    assert kept["score"] == found["score"]
    # with fragments enough, or if it is asked for, the labels decide
    plenty = override(config, [f"segment.keep_first={found['fragments']}", "segment.enough_objects=1"])
    assert from_few(found, Labelled([slab], pytest.fail, first), NM, plenty) == found
    # nor what rests on less than there is here, nor over what was set
    fewer = {**first, "rests_on": found["fragments"]}
    assert from_few(found, Labelled([slab], lambda most: [slab], fewer), NM, config)["decoding"] == OF_ALL_LABELLED
    biased = override(config, ["segment.bias=[1,1,1]"])
    said = calibrate([slab], NM, biased)
    assert from_few(said, Labelled([slab], lambda most: [slab], first), NM, biased)["calibration"]["bias"] == [1, 1, 1]
    labelled = override(config, ["segment.keep_first=0"])
    relearned = from_few(found, Labelled([slab], lambda most: [slab], first), NM, labelled)
    assert relearned["decoding"] == OF_ALL_LABELLED
    assert relearned["threshold"] != first["threshold"]
    # what began trained is not raised
    fresh = from_few(found, Labelled([slab], lambda most: [slab]), NM, labelled)
    assert fresh["threshold"] > relearned["threshold"]


def test_a_threshold_and_biases_that_are_set_are_kept() -> None:
    labels, stored = _neurites(6)
    words = ["model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]]", "segment.threshold=0.37"]
    slab = Predicted(stored, labels)
    found = calibrate([slab], NM, load_config("em_neurons", words))
    assert found["calibration"]["threshold"] == 0.37
    assert found["threshold"] == 0.37
    assert len(found["sweep"]) == len(THRESHOLDS) + 1  # the curve is shown as ever
    assert found["decoding"] == "as it was set"
    few = from_few(
        found,
        Labelled([slab], pytest.fail, {"threshold": 0.5, "bias": [], "rests_on": 3000}),
        NM,
        load_config("em_neurons", words),
    )
    assert few == found
    # weak affinities, for which biases would be fitted, had nothing been set
    weak = Predicted((stored // 24).astype(np.uint8), labels)
    assert any(calibrate([weak], NM, load_config("em_neurons", words[:1]))["calibration"]["bias"])
    assert calibrate([weak], NM, load_config("em_neurons", words))["calibration"]["bias"] == [0.0, 0.0, 0.0]
    both = load_config("em_neurons", [*words, "segment.bias=[1,1,1]"])
    assert calibrate([slab], NM, both)["calibration"] == {"threshold": 0.37, "bias": [1.0, 1.0, 1.0]}
