"""The chance of an order against brute force; what agents hear, and what reaches what."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch

from neuropil.config.pretrain import AgentsConfig
from neuropil.errors import InputError
from neuropil.pretrain.agents import (
    Agents,
    AgentState,
    Draw,
    between_updates,
    entropy_share,
    epsilon_at,
    evenly,
    expected_value,
    kl_to_uniform,
    log_prob,
    sample,
)

CONFIG = AgentsConfig(width=16, depth=1)
GRID = (2, 3, 4)


def _state(crops: int = 2, seed: int = 0) -> AgentState:
    g = torch.Generator().manual_seed(seed)
    n = math.prod(GRID)
    return AgentState(
        torch.randn(crops, n, 8, generator=g), torch.rand(crops, n, 3, generator=g), torch.rand(n, 6, generator=g), GRID
    )


def _lively(config: AgentsConfig = CONFIG) -> Agents:
    """Agents that already have preferences."""
    torch.manual_seed(0)
    agents = Agents(8, 6, config)
    for head in (agents.actor, agents.critic):
        torch.nn.init.normal_(head.weight)
    return agents


def _slow_probability(logits: list[float], order: tuple[int, ...]) -> float:
    left, chance = set(range(len(logits))), 1.0
    for pick in order:
        chance *= math.exp(logits[pick]) / sum(math.exp(logits[i]) for i in left)
        left.remove(pick)
    return chance


@pytest.mark.parametrize("count", [1, 3, 5])
def test_log_prob_is_that_of_the_order_by_brute_force(count: int) -> None:
    logits = [0.3, -1.2, 2.0, 0.0, 0.7]
    orders = list(itertools.permutations(range(5), count))
    picks = log_prob(torch.tensor([logits]).expand(len(orders), 5), torch.tensor(orders))
    slow = [_slow_probability(logits, order) for order in orders]
    assert torch.allclose(picks.sum(1).exp(), torch.tensor(slow), rtol=1e-5)
    assert math.isclose(float(picks.sum(1).exp().sum()), 1.0, rel_tol=1e-5)
    for order, row in zip(orders, picks, strict=True):
        for j in range(count):
            both = _slow_probability(logits, order[: j + 1]) / _slow_probability(logits, order[:j])
            assert math.isclose(float(row[j]), math.log(both), abs_tol=1e-5)


@pytest.mark.parametrize("count", [3, 5])
def test_gradient_of_log_prob_is_finite_and_sums_to_nothing(count: int) -> None:
    logits = torch.tensor([[0.3, -1.2, 2.0, 0.0, 0.7]], requires_grad=True)
    log_prob(logits, torch.arange(count)[None]).sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert abs(float(logits.grad.sum())) < 1e-5, "adding a constant to all logits changes nothing"


def test_samples_come_as_often_as_they_say() -> None:
    crops, logits = 60_000, torch.tensor([0.5, -0.5, 1.5, 0.0])
    draw = sample(logits.expand(crops, 4), 2, torch.Generator().manual_seed(3), torch.zeros(crops, dtype=torch.bool))
    counts = Counter(map(tuple, draw.order_BK.tolist()))
    for order in itertools.permutations(range(4), 2):
        truth = _slow_probability(logits.tolist(), order)
        assert abs(counts[order] / crops - truth) < 5 * math.sqrt(truth / crops)
    first = torch.tensor([_slow_probability(logits.tolist(), tuple(o)) for o in draw.order_BK[:50].tolist()])
    assert torch.allclose(draw.log_prob_B[:50].exp(), first, rtol=1e-5)
    assert not bool(draw.explored_B.any())


def test_a_share_of_the_crops_is_drawn_evenly_and_says_so() -> None:
    crops, logits = 40_000, torch.tensor([3.0, 0.0, 0.0, 0.0])
    generator = torch.Generator().manual_seed(3)
    draw = sample(logits.expand(crops, 4), 1, generator, evenly(crops, generator, 0.25))
    share = float(draw.explored_B.float().mean())
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / crops)
    even = torch.bincount(draw.order_BK[draw.explored_B, 0], minlength=4) / draw.explored_B.sum()
    assert float((even - 0.25).abs().max()) < 0.03
    mine = (draw.order_BK[~draw.explored_B, 0] == 0).float().mean()
    assert abs(float(mine) - float(logits.softmax(0)[0])) < 0.01
    # what the agents think of a pick is recorded whoever drew it
    assert torch.allclose(draw.picks_BK[:, 0], logits.log_softmax(0)[draw.order_BK[:, 0]])


def test_samples_are_the_same_for_the_same_generator() -> None:
    logits = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    a, b, c = (
        sample(logits, 4, torch.Generator().manual_seed(s), torch.tensor([True, False, False])) for s in (1, 1, 2)
    )
    assert torch.equal(a.order_BK, b.order_BK)
    assert not torch.equal(a.order_BK, c.order_BK)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="finite logits"):
        sample(torch.tensor([[0.0, bad, 1.0]]), 1, torch.Generator(), torch.tensor([False]))


def test_values_go_from_rising_order_to_the_order_of_drawing() -> None:
    order = torch.tensor([[7, 2, 5], [0, 9, 4]])
    draw = Draw(order, torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool))
    rising = order.sort(dim=1).values
    assert torch.equal(draw.in_order(rising * 10), order * 10)


@pytest.mark.parametrize("count", [2, 4])
def test_expected_value_is_the_mean_over_what_is_left(count: int) -> None:
    logits, values = torch.tensor([[0.5, -0.5, 1.5, 0.0]]), torch.tensor([[1.0, 2.0, -3.0, 5.0]])
    order = torch.tensor([[2, 0, 3, 1]])[:, :count]
    got = expected_value(logits, values, order)
    left = [0, 1, 2, 3]
    for j, pick in enumerate(order[0].tolist()):
        mass = [math.exp(float(logits[0, i])) for i in left]
        truth = sum(m * float(values[0, i]) for m, i in zip(mass, left, strict=True)) / sum(mass)
        assert math.isclose(float(got[0, j]), truth, rel_tol=1e-5, abs_tol=1e-6)
        left.remove(pick)


def test_a_critic_that_knows_everything_still_leaves_something_to_learn() -> None:
    """Taking a patch's own value from its reward would leave nothing; the mean over patches leaves the differences."""
    worth = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    even = torch.zeros(1, 4)
    gains = [float(worth[0, i] - expected_value(even, worth, torch.tensor([[i]]))) for i in range(4)]
    assert gains == pytest.approx([1.5, -0.5, -0.5, -0.5])


def test_entropy_and_kl_in_closed_form() -> None:
    p = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.97, 0.01, 0.01, 0.01]])
    entropy = -(p * p.log()).sum(1)
    assert torch.allclose(entropy_share(p.log() + 3), entropy / math.log(4), atol=1e-6)
    assert torch.allclose(kl_to_uniform(p.log() + 3), (p * (p * 4).log()).sum(1), atol=1e-6)


def test_the_first_policy_is_even() -> None:
    logits, values = Agents(8, 6, CONFIG)(_state())
    assert logits.shape == values.shape == (2, 24)
    assert torch.equal(logits, torch.zeros(2, 24))


@pytest.mark.parametrize("depth", [1, 2])
def test_agents_hear_their_neighbours_on_the_grid_and_no_others(depth: int) -> None:
    agents = _lively(AgentsConfig(width=16, depth=depth))
    state = _state(1)
    changed = state.features_BND.clone()
    changed[0, 0] += torch.randn(8, generator=torch.Generator().manual_seed(1))  # the patch at (0, 0, 0)
    other = AgentState(changed, state.statistics_BNS, state.places_NE, GRID)
    moved = (agents(state)[0] - agents(other)[0]).abs().detach()[0].reshape(GRID) > 1e-7
    near = torch.zeros(GRID, dtype=torch.bool)
    near[: depth + 1, : depth + 1, : depth + 1] = True
    assert torch.equal(moved, near)


def test_agents_see_statistics_and_place() -> None:
    agents, state = _lively(), _state()
    for other in (
        AgentState(state.features_BND, state.statistics_BNS + 0.5, state.places_NE, GRID),
        AgentState(state.features_BND, state.statistics_BNS, state.places_NE.flip(0), GRID),
    ):
        assert not torch.allclose(agents(state)[0], agents(other)[0])


def test_no_gradient_reaches_the_teacher_and_half_precision_is_not_used() -> None:
    agents, state = _lively(), _state()
    features = state.features_BND.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, values = agents(AgentState(features, state.statistics_BNS, state.places_NE, GRID))
    assert logits.dtype == values.dtype == torch.float32
    assert torch.equal(logits, agents(state)[0])
    (logits.sum() + values.sum()).backward()
    assert features.grad is None
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in agents.parameters())


def test_epsilon_falls_and_stays() -> None:
    config = AgentsConfig(epsilon_start=1.0, epsilon_end=0.2, epsilon_fall=0.5)
    assert [epsilon_at(s, config) for s in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


@pytest.mark.parametrize(("steps", "updates"), [(200, 25), (400, 50), (500, 63), (1000, 62), (4000, 50), (10_000, 78)])
def test_short_runs_are_updated_as_often_as_they_can(steps: int, updates: int) -> None:
    config = AgentsConfig(buffer=64, updates=50, rollout_every=8)
    held, counted = 0, 0
    for _ in range(0, steps, config.rollout_every):
        held += 4
        if held >= between_updates(steps, 4, config):
            held, counted = 0, counted + 1
    assert counted == updates
