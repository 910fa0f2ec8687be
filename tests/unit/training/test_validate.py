from __future__ import annotations

import numpy as np
import pytest

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.training.validate import fitted_bias, most_robust

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
