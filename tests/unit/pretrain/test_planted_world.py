"""A world in which it is known which patches are worth hiding: agents must find them, and must not without reason.

Chance would hide every kind of patch alike: frequencies are given relative to that. The mean KL to an even choice may be
0.1 nats, which bounds what can be reached for structure at about three times chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from neuropil.config.pretrain import AgentsConfig
from neuropil.pretrain.agents import Agents, AgentState, entropy_share, evenly, sample
from neuropil.pretrain.masking import split
from neuropil.pretrain.policy_update import PolicyUpdate, Rollout
from neuropil.pretrain.reward import NoiseBaseline

#: Small agents that learn fast; all else is as it comes.
CONFIG = AgentsConfig(width=32, depth=1, lr=2e-3, buffer=128, minibatch=32)
UPDATES = 50

GRID = (4, 4, 4)
N = 64
HIDDEN = 8
RATIO = HIDDEN / N
STRUCTURE, NOISE, CONSTANT = range(3)
#: Patches of each kind in a crop.
KINDS = (3, 21, 40)
FEATURES, PLACES = 8, 6
#: Updates at the end over which masks are judged.
LAST = 10
#: Structure patches that must be hidden until their reducible loss falls by a factor of e.
PRACTICE = 6_000


@dataclass
class Outcome:
    """Frequencies of being hidden over chance, by kind, in the last updates; least entropy share; last statistics."""

    structure: float
    noise: float
    constant: float
    least_entropy: float
    last: dict[str, float]


class World:
    """Crops of three kinds of patches, and a student that gets better at one of them by practice.

    Structure and noise have the same variance and edge density, and at first the same loss. That of structure falls
    with practice; that of noise does not. The teacher's features say which kind a patch is, blurred by noise.
    """

    def __init__(self, seed: int) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.kind_codes = 2.5 * torch.linalg.qr(torch.randn(FEATURES, 3, generator=self.g)).Q.T
        self.places = torch.randn(N, PLACES, generator=self.g)
        self.practised, self.practised_before = 0.0, 0.0

    def crops(self, count: int) -> tuple[Tensor, AgentState, Tensor]:
        """Kinds (B, N), what agents see of them, and grey-value variance (B, N)."""
        base = torch.repeat_interleave(torch.arange(3), torch.tensor(KINDS))
        kinds_BN = torch.stack([base[torch.randperm(N, generator=self.g)] for _ in range(count)])
        features = self.kind_codes[kinds_BN] + torch.randn(count, N, FEATURES, generator=self.g)
        varied_BN = (kinds_BN != CONSTANT).float()
        deviation_BN = 0.01 + varied_BN * (0.15 + 0.05 * torch.rand(count, N, generator=self.g))
        edges_BN = varied_BN * (1 + torch.rand(count, N, generator=self.g))
        grey_BN = 0.5 + 0.1 * torch.randn(count, N, generator=self.g)
        state = AgentState(features, torch.stack([grey_BN, deviation_BN, edges_BN], dim=-1), self.places, GRID)
        return kinds_BN, state, deviation_BN.square()

    def losses(self, kinds_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Loss now, and loss of the earlier student, of hidden patches of these kinds."""
        luck = 0.1 * torch.randn(kinds_BK.shape, generator=self.g)
        out = []
        for practised in (self.practised, self.practised_before):
            level = torch.tensor([0.1 + 0.9 * math.exp(-practised / PRACTICE), 1.0, 0.02])
            own = 0.02 * torch.randn(kinds_BK.shape, generator=self.g)
            out.append(level[kinds_BK] + (luck + own) * (kinds_BK != CONSTANT))
        return out[0], out[1]

    def practise(self, kinds_BK: Tensor) -> None:
        """What was hidden was practised; the earlier student follows slowly."""
        self.practised += float((kinds_BK == STRUCTURE).sum())
        self.practised_before += 0.02 * (self.practised - self.practised_before)


def _simulate(seed: int, config: AgentsConfig, *, shuffled: bool = False) -> Outcome:
    """Let agents learn in a world, with true rewards or with the same rewards shuffled over all patches of a batch."""
    torch.manual_seed(seed)
    world, noise = World(seed), NoiseBaseline(config)
    agents = Agents(FEATURES, PLACES, config)
    learner = PolicyUpdate(agents, config)
    chance = torch.Generator().manual_seed(1000 + seed)
    least, stats, shares = 1.0, {}, torch.zeros(3)
    for step in range(UPDATES):
        while learner.held < config.buffer:
            kinds_BN, state, variance_BN = world.crops(config.minibatch)
            with torch.no_grad():
                logits_BN, _ = agents(state)
            least = min(least, float(entropy_share(logits_BN).min()))
            draw = sample(logits_BN, HIDDEN, chance, evenly(len(logits_BN), chance, config.epsilon_end))
            masked_BM = split(draw.order_BK, N).masked_BM
            kinds_BM, variance_BM = kinds_BN.gather(1, masked_BM), variance_BN.gather(1, masked_BM)
            now_BM, before_BM = world.losses(kinds_BM)
            noise.observe(now_BM, variance_BM, RATIO)
            world.practise(kinds_BM)
            earned = [noise.residual(now_BM, variance_BM, RATIO), before_BM - now_BM]
            if shuffled:
                where = torch.randperm(masked_BM.numel(), generator=world.g)
                earned = [x.flatten()[where].view_as(x) for x in earned]
            learner.add(Rollout(state, draw, draw.in_order(earned[0]), draw.in_order(earned[1])))
        stats = learner.update(chance)
        if step >= UPDATES - LAST:
            shares += _shares(world, agents, chance) / LAST
    structure, noisy, constant = shares.tolist()
    return Outcome(structure, noisy, constant, least, stats)


@torch.no_grad()
def _shares(world: World, agents: Agents, chance: torch.Generator) -> Tensor:
    """Frequency of being hidden over chance, by kind, in crops that no one learns from."""
    kinds_BN, state, _ = world.crops(128)
    logits_BN, _ = agents(state)
    order_BK = sample(logits_BN, HIDDEN, chance, evenly(128, chance, 0.0)).order_BK
    hidden = torch.bincount(kinds_BN.gather(1, order_BK).flatten(), minlength=3) / 128
    return hidden / (torch.tensor(KINDS) * RATIO)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agents_find_what_can_be_learned_and_leave_noise_alone(seed: int) -> None:
    found = _simulate(seed, CONFIG)
    assert found.structure >= 2.0, found
    assert found.noise <= 1.0, found
    assert found.least_entropy > CONFIG.entropy_floor
    assert found.last["kl"] <= CONFIG.kl
    assert found.last["ratio_std"] > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_shuffled_rewards_there_is_nothing_to_find(seed: int) -> None:
    found = _simulate(seed, CONFIG, shuffled=True)
    assert found.structure < 1.3, found
    assert found.least_entropy > CONFIG.entropy_floor


def test_hardness_alone_leads_to_noise() -> None:
    """Why learning progress is rewarded: noise of the same variance is what stays hard when structure is learned."""
    found = _simulate(0, CONFIG.model_copy(update={"progress": 0.0}))
    assert found.structure < 0.6, found
    assert found.noise > 1.1, found
