"""What an update does to agents, what it must not do, and that it can be interrupted."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from neuropil.config.pretrain import AgentsConfig
from neuropil.errors import InputError
from neuropil.pretrain.agents import Agents, AgentState, Draw, evenly, kl_to_uniform, sample
from neuropil.pretrain.policy_update import PolicyUpdate, Rollout
from neuropil.pretrain.state import flattened, nested

GRID, N = (2, 2, 4), 16
CONFIG = AgentsConfig(width=16, depth=1, buffer=32, minibatch=8, lr=2e-3)


def _learner(config: AgentsConfig = CONFIG) -> tuple[Agents, PolicyUpdate]:
    torch.manual_seed(0)
    agents = Agents(4, 3, config)
    return agents, PolicyUpdate(agents, config)


def _rollout(
    agents: Agents, g: torch.Generator, *, count: int = 4, crops: int = 4, epsilon: float = 0.0, favourite: bool = True
) -> Rollout:
    """Crops whose patches carry a number; the patch with number 1 in front is the hard one if there is a favourite."""
    features = 0.3 * torch.randn(crops, N, 4, generator=g)
    special = torch.randint(N, (crops, 1), generator=g)
    features[torch.arange(crops), special[:, 0], 0] += 4.0
    state = AgentState(features, torch.zeros(crops, N, 3), torch.zeros(N, 3), GRID)
    with torch.no_grad():
        logits, _ = agents(state)
    draw = sample(logits, count, g, evenly(crops, g, epsilon))
    hard = (draw.order_BK == special).float() * float(favourite)
    residual = hard + 0.1 * torch.rand(crops, count, generator=g)
    return Rollout(state, draw, residual, torch.zeros_like(residual))


def _fill(agents: Agents, learner: PolicyUpdate, g: torch.Generator, **how: Any) -> None:
    while learner.held < CONFIG.buffer:
        learner.add(_rollout(agents, g, **how))


def test_ratios_are_one_before_the_first_step_and_not_after() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    for turn in range(3):
        _fill(agents, learner, g)
        stats = learner.update(g)
        # drawn and learned from in the same batches, so equal to the last bit
        assert stats["ratio_start"] == 0.0, turn
        assert stats["ratio_std"] > 1e-3
        assert learner.held == 0
    assert all(math.isfinite(v) for v in stats.values())
    assert stats["reward_std"] > 0.8
    assert stats["progress_std"] == 0.0


def test_agents_that_changed_since_the_drawing_show() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    _fill(agents, learner, g)
    torch.nn.init.normal_(agents.actor.weight, generator=g)
    assert learner.update(g)["ratio_start"] > 0.01


def test_the_favourite_is_found_and_kl_stays_within_its_bound() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    kl = []
    for _ in range(60):
        _fill(agents, learner, g, crops=8)
        kl.append(learner.update(g)["kl"])
    assert 0.5 * CONFIG.kl < sum(kl[-20:]) / 20
    assert max(kl) <= CONFIG.kl
    rollout = _rollout(agents, g, crops=400, count=1)
    found = float((rollout.residual_BK > 0.5).float().mean())
    assert found > 2 / N


def test_without_a_bound_on_kl_the_floor_keeps_entropy() -> None:
    config = CONFIG.model_copy(update={"kl": 100.0, "entropy_floor": 0.6, "lr": 1e-2})
    loose = config.model_copy(update={"entropy_penalty": 0.0, "entropy": 0.0})
    shares = {}
    for name, used in (("floor", config), ("loose", loose)):
        agents, learner = _learner(used)
        g = torch.Generator().manual_seed(0)
        for _ in range(30):
            _fill(agents, learner, g, crops=8)
            shares[name] = learner.update(g)["entropy_share"]
    assert shares["floor"] > 0.55
    assert shares["loose"] < 0.45


def test_the_actor_learns_nothing_from_crops_that_it_did_not_draw() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    for _ in range(8):
        _fill(agents, learner, g, epsilon=1.0)
        stats = learner.update(g)
    assert float(agents.actor.weight.detach().abs().max()) == 0.0
    assert stats["ratio_mean"] == 1.0
    # but the critic does: it knows the favourite by now
    rollout = _rollout(agents, g, crops=200, count=N)
    with torch.no_grad():
        values = agents(rollout.state)[1].gather(1, rollout.draw.order_BK)
    hard = rollout.residual_BK > 0.5
    assert float(values[hard].mean()) > float(values[~hard].mean()) + 0.3


def test_only_the_agents_are_changed() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    outside = torch.nn.Linear(4, 4)
    while learner.held < CONFIG.buffer:
        rollout = _rollout(agents, g)
        through = outside(rollout.state.features_BND)
        state = AgentState(through, rollout.state.statistics_BNS, rollout.state.places_NE, GRID)
        learner.add(Rollout(state, rollout.draw, rollout.residual_BK, rollout.progress_BK))
    before = {n: p.clone() for n, p in agents.named_parameters()}
    learner.update(g)
    assert outside.weight.grad is None
    assert any(not torch.equal(p, before[n]) for n, p in agents.named_parameters())


def test_a_buffer_may_hold_masks_of_several_sizes() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    for count in (2, 4, 9, 16) * 2:
        learner.add(_rollout(agents, g, count=count))
    assert learner.held == CONFIG.buffer
    assert learner.update(g)["ratio_start"] == 0.0


def test_advantages_are_normalised_over_the_buffer_not_over_its_batches() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    for scale in (0.0, 1.0, 2.0, 3.0):
        r = _rollout(agents, g, crops=8)
        learner.add(Rollout(r.state, r.draw, r.residual_BK + scale, r.progress_BK))
    lessons = learner._lessons()
    gains = torch.cat([lesson.advantage_BK.flatten() for lesson in lessons])
    assert abs(float(gains.mean())) < 1e-5
    assert abs(float(gains.std(correction=0)) - 1) < 1e-4
    means = [float(lesson.advantage_BK.mean()) for lesson in lessons]
    assert means == sorted(means)
    assert means[-1] - means[0] > 1


def _through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    tensors, values = flattened(state)
    return nested(load(save({k: v.contiguous() for k, v in tensors.items()})), json.loads(json.dumps(values)))


def test_an_interrupted_run_goes_on_bit_by_bit() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    for _ in range(2):
        _fill(agents, learner, g)
        learner.update(g)
    learner.add(_rollout(agents, g, count=3, epsilon=0.5))
    learner.add(_rollout(agents, g, count=5, epsilon=0.5))

    agents2, learner2 = _learner()
    agents2.load_state_dict(agents.state_dict())
    learner2.load_state_dict(_through_a_file(learner.state_dict()))
    g2 = torch.Generator()
    g2.set_state(g.get_state())
    for _ in range(2):
        _fill(agents, learner, g)
        _fill(agents2, learner2, g2)
        assert learner.update(g) == learner2.update(g2)
    assert all(torch.equal(a, b) for a, b in zip(agents.parameters(), agents2.parameters(), strict=True))


def test_broken_logits_stop_the_update() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    _fill(agents, learner, g)
    with torch.no_grad():
        agents.actor.bias.fill_(math.nan)
    with pytest.raises(InputError, match="finite"):
        learner.update(g)


@pytest.mark.parametrize("broken", ["ratio", "rate"])
def test_an_update_that_diverges_leaves_the_agents_as_they_were(broken: str) -> None:
    agents, learner = _learner(CONFIG.model_copy(update={"lr": 1e37} if broken == "rate" else {}))
    g = torch.Generator().manual_seed(0)
    _fill(agents, learner, g)
    if broken == "ratio":
        r = learner._rollouts[-1]
        # drawn with a chance of almost nothing: the ratio overflows
        learner._rollouts[-1] = Rollout(
            r.state, Draw(r.draw.order_BK, r.draw.picks_BK - 1e4, r.draw.explored_B), r.residual_BK, r.progress_BK
        )
    before = {name: p.detach().clone() for name, p in agents.named_parameters()}
    with pytest.raises(InputError, match="agents' gradients"):
        learner.update(g)
    assert all(torch.equal(p, before[name]) for name, p in agents.named_parameters())
    assert learner.held == 0


def test_rewards_without_differences_teach_no_preference() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    for _ in range(4):
        while learner.held < CONFIG.buffer:
            r = _rollout(agents, g)
            same = torch.ones_like(r.residual_BK)
            learner.add(Rollout(r.state, r.draw, same, same))
        stats = learner.update(g)
    assert stats["reward_std"] == 0.0
    with torch.no_grad():
        assert float(kl_to_uniform(agents(_rollout(agents, g).state)[0]).max()) < 1e-6


@pytest.mark.parametrize("by_place", [False, True])
def test_what_is_hard_for_its_place_alone_is_no_reason_to_hide_it(by_place: bool) -> None:
    """Three places are always hardest: agents turn to them only if they may earn from places."""
    agents, learner = _learner(CONFIG.model_copy(update={"by_place": by_place}))
    g = torch.Generator().manual_seed(0)
    for _ in range(30):
        while learner.held < CONFIG.buffer:
            r = _rollout(agents, g, crops=8, favourite=False)
            state = AgentState(r.state.features_BND, r.state.statistics_BNS, torch.eye(N)[:, :3], GRID)
            with torch.no_grad():
                draw = sample(agents(state)[0], 4, g, evenly(8, g, 0.0))
            hard = (draw.order_BK < 3).float() + 0.3 * torch.rand(8, 4, generator=g)
            learner.add(Rollout(state, draw, hard, torch.zeros_like(hard)))
        learner.update(g)
    with torch.no_grad():
        chances = agents(state)[0].softmax(1)[:, :3].sum(1)
    assert (float(chances.mean()) > 2 * 3 / N) == by_place


def test_the_favourite_is_found_from_small_buffers_too() -> None:
    agents, learner = _learner()
    g = torch.Generator().manual_seed(0)
    for _ in range(60):
        while learner.held < 8:
            learner.add(_rollout(agents, g, crops=2, count=8))
        learner.update(g)
    found = _rollout(agents, g, crops=400, count=1).residual_BK > 0.5
    assert float(found.float().mean()) > 1.5 / N
