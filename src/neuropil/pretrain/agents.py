"""Agents that decide which patches are hidden: one for each patch, all with the same weights.

An agent sees what the teacher makes of its patch, a few numbers about its grey values, and where it is; it talks with
its neighbours, and says how much it wants to be hidden (actor) and what it expects from being hidden (critic). How many
patches are hidden is not its business: that many are drawn by the Plackett-Luce law of the logits, and what is learned
from is the chance of exactly the order that was drawn. The idea of agents is that of arXiv 2310.04148.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neuropil.config.pretrain import AgentsConfig
from neuropil.geometry import Int3
from neuropil.models.layers import Conv
from neuropil.pretrain.masking import finite, gumbel_order

#: Mean, standard deviation and edge density of a patch.
STATISTICS = 3


@dataclass(frozen=True)
class AgentState:
    """What the agents see of some crops.

    Attributes
    ----------
    features_BND
        Tokens of the teacher; no gradient goes back through them.
    statistics_BNS
        Mean, standard deviation and edge density of each patch.
    places_NE
        Position codes in nm, as of the encoder's `positions`.
    grid
        Patches along z, y, x.
    """

    features_BND: Tensor
    statistics_BNS: Tensor
    places_NE: Tensor
    grid: Int3


class Talk(nn.Module):
    """One round of talk: every agent hears its 26 neighbours, then thinks, and adds that to what it knew.

    A depthwise 3 x 3 x 3 convolution and not attention: what agents must agree on is local (a patch is worth hiding if
    what surrounds it stays visible), it costs O(N) where a crop has 800 patches, and it serves any grid.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hear = Conv(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x_BND: Tensor, grid: Int3) -> Tensor:
        as_volume = x_BND.transpose(1, 2).reshape(len(x_BND), -1, *grid)
        heard = self.hear(as_volume).flatten(2).transpose(1, 2)
        out: Tensor = x_BND + self.think(self.norm(heard))
        return out


class Agents(nn.Module):
    """Actor and critic of all patches.

    Parameters
    ----------
    features, places
        Width of the teacher's tokens and of the position codes.
    config
        Width of an agent, and rounds of talk.
    """

    def __init__(self, features: int, places: int, config: AgentsConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.embed = nn.Linear(features + STATISTICS + places, config.width)
        self.talks = nn.ModuleList(Talk(config.width) for _ in range(config.depth))
        self.last_norm = nn.LayerNorm(config.width)
        self.actor = nn.Linear(config.width, 1)
        self.critic = nn.Linear(config.width, 1)
        # the first policy is uniform: agents must learn a preference, not unlearn an accident
        for head in (self.actor, self.critic):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, state: AgentState) -> tuple[Tensor, Tensor]:
        """Logits (B, N) of being hidden, and the reward (B, N) expected from it; fp32."""
        with torch.autocast(state.features_BND.device.type, enabled=False):
            places_BNE = state.places_NE.float().expand(len(state.features_BND), -1, -1)
            known = [self.norm(state.features_BND.detach().float()), state.statistics_BNS.detach().float(), places_BNE]
            x_BND = self.embed(torch.cat(known, dim=-1))
            for talk in self.talks:
                x_BND = talk(x_BND, state.grid)
            x_BND = self.last_norm(x_BND)
            return self.actor(x_BND).squeeze(-1), self.critic(x_BND).squeeze(-1)


@dataclass(frozen=True)
class Draw:
    """Patches that were drawn, and how likely that was.

    Attributes
    ----------
    order_BK
        The patches in the order of their drawing.
    picks_BK
        Log-probability, by the agents, of each pick among the patches that were left.
    explored_B
        Whether the crop was drawn by something else than the agents, such as evenly; the actor learns nothing from it.
    """

    order_BK: Tensor
    picks_BK: Tensor
    explored_B: Tensor

    @property
    def log_prob_B(self) -> Tensor:
        """Log-probability of the whole order by the Plackett-Luce law of the agents' logits."""
        return self.picks_BK.sum(1)

    def in_order(self, x_BM: Tensor) -> Tensor:
        """Values of the hidden patches from rising order, as in a `Mask`, to the order of drawing."""
        return x_BM.gather(1, self.order_BK.argsort(1).argsort(1))


def evenly(crops: int, generator: torch.Generator, epsilon: float) -> Tensor:
    """Which crops (B,) are drawn evenly, whatever their agents want: each with a chance of `epsilon`."""
    return torch.rand(crops, generator=generator, device=generator.device) < epsilon


@torch.no_grad()
def sample(logits_BN: Tensor, count: int, generator: torch.Generator, explored_B: Tensor) -> Draw:
    """Draw `count` patches of each crop without replacement.

    Parameters
    ----------
    logits_BN
        The agents' logits.
    generator
        Source of all chance.
    explored_B
        Whether a crop is drawn evenly, whatever its logits; see `evenly`.

    Raises
    ------
    InputError
        If some logits are not finite.
    """
    explored_B = explored_B.to(logits_BN.device)
    order_BK = gumbel_order(finite(logits_BN).masked_fill(explored_B[:, None], 0.0), count, generator)
    return Draw(order_BK, log_prob(logits_BN, order_BK), explored_B)


def log_prob(logits_BN: Tensor, order_BK: Tensor) -> Tensor:
    """Log-probability of each pick of an order among the patches that were left, (B, K), fp32.

    Their sum is the log-probability of the order (Plackett 1975).
    """
    logits_BN = logits_BN.float()
    picked_BK = logits_BN.gather(1, order_BK)
    if order_BK.shape[1] < logits_BN.shape[1]:
        never = logits_BN.scatter(1, order_BK, -math.inf).logsumexp(1, keepdim=True)
        left = torch.cat([never, picked_BK.flip(1)], dim=1).logcumsumexp(1)[:, 1:]
    else:
        left = picked_BK.flip(1).logcumsumexp(1)
    return picked_BK - left.flip(1)


def expected_value(logits_BN: Tensor, values_BN: Tensor, order_BK: Tensor) -> Tensor:
    """What each pick was expected to bring, (B, K): the mean of the values over the patches that were left.

    It depends on the earlier picks but not on the pick itself, so taking it from a reward adds no bias. The value of
    the picked patch would: a critic that knows each patch's reward leaves nothing to learn from (Foerster et al. 2018,
    arXiv 1705.08926, on the same mistake between agents).
    """
    mass_BN = logits_BN.float().softmax(1)
    worth_BN = mass_BN * values_BN.float()
    left, worth_left = (_left(x, order_BK) for x in (mass_BN, worth_BN))
    return worth_left / left.clamp(min=torch.finfo(torch.float32).tiny)


def _left(x_BN: Tensor, order_BK: Tensor) -> Tensor:
    """Sum over the patches that were left before each pick, (B, K)."""
    never = x_BN.scatter(1, order_BK, 0.0).sum(1, keepdim=True)
    return never + x_BN.gather(1, order_BK).flip(1).cumsum(1).flip(1)


def entropy_share(logits_BN: Tensor) -> Tensor:
    """Entropy of the choice of one patch as a share of the greatest, log N; (B,)."""
    logs = logits_BN.float().log_softmax(1)
    return -(logs.exp() * logs).sum(1) / math.log(logits_BN.shape[1])


def kl_to_uniform(logits_BN: Tensor) -> Tensor:
    """Nats from an even choice of one patch to the agents' choice, (B,)."""
    logs = logits_BN.float().log_softmax(1)
    return (logs.exp() * logs).sum(1) + math.log(logits_BN.shape[1])


def epsilon_at(share: float, config: AgentsConfig) -> float:
    """Chance that a crop is masked at random when this share (0..1) of the run is done."""
    done = min(1.0, share / config.epsilon_fall)
    return config.epsilon_start + done * (config.epsilon_end - config.epsilon_start)


def between_updates(steps: int, batch: int, config: AgentsConfig) -> int:
    """Crops that the agents learn from at a time, in a run of this many steps of so many crops.

    Short runs have smaller buffers, so that agents are updated `config.updates` times if they practise as often: each
    hidden patch of a crop has its own reward, so a few crops hold thousands of them, but it takes dozens of updates to
    leave chance.
    """
    practised = math.ceil(steps / config.rollout_every)
    # whole batches, as buffers are filled
    return min(config.buffer, batch * max(1, practised // config.updates))
