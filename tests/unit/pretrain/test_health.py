"""Numbers of health against cases whose answer is known; the watchdog barks once, in time, and remembers."""

from __future__ import annotations

import json
import math

import pytest
import torch

from neuropil.config.pretrain import AgentsConfig
from neuropil.pretrain.health import MaskFrequency, Watchdog, edge_correlation, place_share, policy_health

CONFIG = AgentsConfig(entropy_floor=0.6, patience=3)


def _random_masks(crops: int, n: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(crops, n, generator=torch.Generator().manual_seed(seed)).argsort(1)[:, :count]


def test_policy_health() -> None:
    even = policy_health(torch.zeros(3, 10))
    assert even["entropy_share"] == pytest.approx(1.0)
    assert even["kl"] == pytest.approx(0.0, abs=1e-6)
    certain = policy_health(torch.tensor([[50.0] + [0.0] * 9]))
    assert certain["entropy_share"] == pytest.approx(0.0, abs=1e-6)
    assert certain["kl"] == pytest.approx(math.log(10))
    assert math.isnan(policy_health(torch.full((1, 10), math.nan))["entropy_share"])


def test_place_share() -> None:
    g = torch.Generator().manual_seed(0)
    places, tissue = torch.randn(1, 800, generator=g), torch.randn(4, 800, generator=g)
    assert place_share(places.expand(4, -1) + torch.randn(4, 1, generator=g)) == pytest.approx(1.0)
    # four crops by chance agree a little, which does not count
    assert place_share(tissue) < 0.05
    assert place_share(places + tissue) == pytest.approx(0.5, abs=0.05)
    assert place_share(torch.zeros(4, 800)) == 0.0
    assert "place_share" not in policy_health(tissue[:1])


def test_edge_correlation_of_masks_on_off_and_across_edges() -> None:
    edges = torch.tensor([[0.0, 0.0, 1.0, 1.0], [5.0, 6.0, 5.0, 6.0]])
    assert edge_correlation(torch.tensor([[2, 3], [1, 3]]), edges) == pytest.approx(1.0)
    assert edge_correlation(torch.tensor([[0, 1], [0, 2]]), edges) == pytest.approx(-1.0)
    assert edge_correlation(torch.tensor([[0, 2], [0, 1]]), edges) == pytest.approx(0.0, abs=1e-6)
    assert edge_correlation(torch.tensor([[0, 2]]), torch.ones(1, 4)) == 0.0
    masks = _random_masks(500, 64, 16)
    assert abs(edge_correlation(masks, torch.rand(500, 64, generator=torch.Generator().manual_seed(1)))) < 0.05


def test_random_masks_vary_as_chance_does_and_fixed_ones_much_more() -> None:
    even, stuck = MaskFrequency(64, 0.99), MaskFrequency(64, 0.99)
    assert even.health()["frequency_excess"] == 1.0
    for step in range(300):
        even.observe(_random_masks(8, 64, 16, seed=step))
        stuck.observe(torch.arange(16).expand(8, 16))
    assert 0.5 < even.health()["frequency_excess"] < 2.0
    assert stuck.health()["frequency_variance"] == pytest.approx(0.25 * 0.75)
    assert stuck.health()["frequency_excess"] > 100


def test_frequencies_survive_a_restart() -> None:
    a, b = MaskFrequency(64, 0.9), MaskFrequency(64, 0.9)
    a.observe(_random_masks(8, 64, 16))
    b.load_state_dict(a.state_dict())
    for f in (a, b):
        f.observe(_random_masks(8, 64, 16, seed=1))
    assert a.health() == b.health()


def test_watchdog_trips_after_patience_and_says_so_once() -> None:
    dog = Watchdog(CONFIG)
    assert not any(dog.observe(s, n) for n, s in enumerate((0.9, 0.5, 0.5, 0.7, 0.5, 0.5))), "it recovered in between"
    assert (dog.tripped, dog.reason) == (False, "")
    assert dog.observe(0.59, 6)
    assert "below 0.6 of the greatest for 3 steps" in dog.reason
    assert "random from step 6 on" in dog.reason
    assert dog.tripped
    assert not dog.observe(0.1, 7)
    assert not dog.observe(0.99, 8)
    assert dog.tripped, "for good"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_watchdog_has_no_patience_with_logits_that_are_not_finite(bad: float) -> None:
    dog = Watchdog(CONFIG)
    assert dog.observe(bad, 2)
    assert "finite" in dog.reason


def test_watchdog_counts_on_after_a_restart() -> None:
    dog = Watchdog(CONFIG)
    dog.observe(0.1, 0)
    dog.observe(0.1, 1)
    again = Watchdog(CONFIG)
    again.load_state_dict(json.loads(json.dumps(dog.state_dict())))
    assert again.observe(0.1, 2)
    later = Watchdog(CONFIG)
    later.load_state_dict(json.loads(json.dumps(again.state_dict())))
    assert later.reason == again.reason
    assert not later.observe(0.1, 3)


@pytest.mark.parametrize("tripped", [False, True])
def test_watchdog_reads_checkpoints_that_gave_no_reason(tripped: bool) -> None:
    dog = Watchdog(CONFIG)
    dog.load_state_dict({"below": 2, "tripped": tripped})
    assert (dog.tripped, bool(dog.reason)) == (tripped, tripped)
