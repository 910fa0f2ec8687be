"""The ratio that serves the downstream score is found, also when it changes and while scores drift."""

from __future__ import annotations

import json

import pytest
import torch

from neuropil.config.pretrain import RatioConfig
from neuropil.pretrain.ratio import RatioController

CONFIG = RatioConfig()


def _play(controller: RatioController, best: float, rounds: int, seed: int = 0, drift: float = 0.0) -> float:
    """Share of the last half of the rounds in which the ratio is within 0.06 of the best one.

    The score is a level that jumps with the ratio in use, and drifts upwards whatever is used.
    """
    g = torch.Generator().manual_seed(seed)
    good = 0
    for turn in range(rounds):
        luck = 0.01 * float(torch.randn((), generator=g))
        controller.observe(0.8 - 1.5 * abs(controller.ratio - best) + drift * turn + luck)
        good += turn >= rounds // 2 and abs(controller.ratio - best) < 0.06
    return good / (rounds - rounds // 2)


@pytest.mark.parametrize("best", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("drift", [0.0, 0.01])
def test_the_best_ratio_is_used_most(best: float, drift: float) -> None:
    chance = sum(abs(r - best) < 0.06 for r in CONFIG.ratios) / len(CONFIG.ratios)
    assert _play(RatioController(CONFIG, 0.75), best, 400, drift=drift) > 1.5 * chance


def test_scores_that_rise_faster_under_one_ratio_are_credited_to_it() -> None:
    controller = RatioController(CONFIG, 0.75)
    g = torch.Generator().manual_seed(0)
    score, used = 0.0, 0
    for turn in range(400):
        score += (0.02 if controller.ratio == 0.6 else 0.005) + 0.002 * float(torch.randn((), generator=g))
        controller.observe(score)
        used += turn >= 200 and controller.ratio == 0.6
    assert used / 200 > 3 / 7


def test_a_change_of_what_is_best_is_noticed() -> None:
    controller = RatioController(CONFIG, 0.75)
    _play(controller, 0.5, 300)
    assert _play(controller, 0.9, 300, seed=1) > 1.5 * 2 / 7


def test_it_begins_near_the_first_ratio_and_tries_all() -> None:
    controller = RatioController(CONFIG, 0.77)
    seen = []
    for _ in range(8):
        seen.append(controller.ratio)
        controller.observe(0.5)
    assert seen[0] == 0.75
    assert set(seen) == set(CONFIG.ratios)
    assert sum(controller.shares().values()) == pytest.approx(1.0)
    assert set(RatioController(CONFIG, 0.5).shares().values()) == {0.0}


def test_one_ratio_is_no_choice() -> None:
    controller = RatioController(RatioConfig(ratios=(0.75,)), 0.5)
    for score in (0.1, 0.2, 0.3):
        controller.observe(score)
    assert controller.ratio == 0.75


def test_it_goes_on_after_a_restart() -> None:
    a, b = RatioController(CONFIG, 0.75), RatioController(CONFIG, 0.75)
    _play(a, 0.6, 37)
    b.load_state_dict(json.loads(json.dumps(a.state_dict())))
    assert _play(a, 0.6, 40, seed=3) == _play(b, 0.6, 40, seed=3)
    assert a.state_dict() == b.state_dict()
