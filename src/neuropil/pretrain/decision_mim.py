"""Decision-based masked modelling (arXiv 2310.04148), as its specification corrects it: agents choose what is hidden.

Everything but the choice is that of `neuropil.pretrain.mae`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neuropil.config import Config
from neuropil.errors import InputError
from neuropil.geometry import Float3
from neuropil.pretrain.agents import Agents, AgentState, Draw, between_updates, epsilon_at, evenly, sample
from neuropil.pretrain.choosers import Chooser, Teacher, View, learning
from neuropil.pretrain.health import MaskFrequency, Watchdog, policy_health
from neuropil.pretrain.mae import MaskedModelling
from neuropil.pretrain.masking import Mask, MaskContext, budget, random, split
from neuropil.pretrain.networks import build_masked
from neuropil.pretrain.policy_update import PolicyUpdate, Rollout
from neuropil.pretrain.reward import NoiseBaseline


def build(config: Config, voxel_size: Float3) -> MaskedModelling:
    """Masked modelling with agents, with fresh weights."""
    network = build_masked(config, voxel_size)
    places = network.places((1, 1, 1), voxel_size).shape[1]
    return MaskedModelling(network, AgentChooser(config, network.feature_dim, places), config)


class AgentChooser(Chooser):
    """Agents decide, one for each patch; see `neuropil.pretrain.agents`.

    What a hidden patch is worth is asked of two slow copies, not of the network: that bounces from step to step, and
    by how much depends on the tissue, so a slow copy's loss less the network's tells of the last steps and not of
    learning. These two looks cost time, so the agents practise every few steps only; between them, agents of crops that
    are masked at random are not even asked. When the watchdog trips, masks are random from then on, and the run says
    so. In the control with shuffled agents the steps between are masked as unevenly as the agents would, but elsewhere.
    """

    needs_teacher = True
    needs_progress = True

    def __init__(self, config: Config, features: int, places: int) -> None:
        super().__init__(config)
        self._config = config.pretrain.agents
        self.agents = Agents(features, places, self._config)
        self._update = PolicyUpdate(self.agents, self._config)
        self.agents.requires_grad_(requires_grad=False)
        self._noise = NoiseBaseline(self._config)
        self._watchdog = Watchdog(self._config)
        self._frequency: MaskFrequency | None = None
        self._shuffled = config.pretrain.shuffle_agents
        self._total = config.train.steps
        self._enough = self._config.buffer
        self._seen: tuple[AgentState, Draw] | None = None

    def choose(self, view: View, teacher: Teacher | None) -> Mask:
        """Draw patches by the agents' logits, now and then evenly."""
        self._seen = None
        if self._watchdog.tripped:
            return self._random(view)
        practice = self._practice(view)
        explored_B = self._explored(view)
        asked_B = torch.ones_like(explored_B) if practice else ~explored_B
        if not bool(asked_B.any()):
            return self._random(view)
        state, asked_AN = self._asked(view.some(asked_B.to(view.edges_BN.device)), teacher)
        health = policy_health(asked_AN)
        if self._watchdog.observe(health["entropy_share"], view.step):
            self._give_up()
            return self._random(view)
        if practice:  # of all crops; between, those that were asked are too few to tell of places
            self._numbers |= {f"agents_{name}": value for name, value in health.items()}
        logits_BN = torch.zeros_like(view.edges_BN, dtype=asked_AN.dtype)
        logits_BN[asked_B.to(logits_BN.device)] = asked_AN
        draw = self._drawn(view, logits_BN, explored_B)
        self._seen = (state, draw) if practice else None
        return split(draw.order_BK, logits_BN.shape[1])

    def preview(self, view: View, teacher: Teacher | None) -> Mask:
        """See `Chooser.preview`; the watchdog, which counts steps, is not told either."""
        if self._watchdog.tripped:
            return self._random(view)
        explored_B = self._explored(view)
        _, logits_BN = self._asked(view, teacher)
        if not bool(torch.isfinite(logits_BN).all()):
            return self._random(view)
        return split(self._drawn(view, logits_BN, explored_B).order_BK, logits_BN.shape[1])

    def _explored(self, view: View) -> Tensor:
        """Which crops are masked evenly."""
        epsilon = epsilon_at(view.step / max(1, self._total), self._config)
        return evenly(len(view.edges_BN), view.generator, epsilon)

    def _random(self, view: View) -> Mask:
        """A random mask."""
        count = budget(view.edges_BN.shape[1], self.ratio)
        return random(MaskContext(view.grid, view.patch, view.edges_BN), count, view.generator, self._mask)

    def _asked(self, view: View, teacher: Teacher | None) -> tuple[AgentState, Tensor]:
        """What the agents see, and their logits (B, N)."""
        assert teacher is not None
        state = AgentState(teacher.features(view), view.statistics_BNS, teacher.places(view), view.grid)
        with torch.no_grad():
            logits_BN, _ = self.agents(state)
        return state, logits_BN

    def _practice(self, view: View) -> bool:
        return view.step % self._config.rollout_every == 0

    def _drawn(self, view: View, logits_BN: Tensor, explored_B: Tensor) -> Draw:
        n = logits_BN.shape[1]
        if self._shuffled and not self._practice(view):
            # the control: as uneven as the agents' choice, but not where they want it
            logits_BN = logits_BN[:, torch.randperm(n, generator=view.generator).to(logits_BN.device)]
        return sample(logits_BN, budget(n, self.ratio), view.generator, explored_B)

    def learn(self, view: View, mask: Mask, losses_BM: Tensor, teacher: Teacher | None) -> None:
        """Put what was drawn, and what it brought, in the buffer."""
        super().learn(view, mask, losses_BM, teacher)
        if self._frequency is None or len(self._frequency.state_dict()["hidden"]) != view.edges_BN.shape[1]:
            self._frequency = MaskFrequency(view.edges_BN.shape[1], self._config.noise_decay)
        self._frequency.observe(mask.masked_BM)
        self._numbers |= self._frequency.health() | {"mask_ratio": self.ratio}
        if self._seen is None:
            return
        assert teacher is not None
        state, draw = self._seen
        now_BM, before_BM = teacher.losses(view, mask)
        variance_BM = view.variance_BN.gather(1, mask.masked_BM)
        residual_BM = self._noise.residual(now_BM, variance_BM, self.ratio)
        self._noise.observe(now_BM, variance_BM, self.ratio)
        self._update.add(Rollout(state, draw, draw.in_order(residual_BM), draw.in_order(before_BM - now_BM)))
        self._enough = between_updates(self._total, len(losses_BM), self._config)

    def after_update(self, step: int, total: int) -> dict[str, float]:
        """Update the agents when the buffer is full; give them up if that fails."""
        self._total = total
        # an update is taken together, so all processes must agree beforehand whether there is one
        if _in_any_process(self._watchdog.tripped, self.agents) and not self._watchdog.tripped:
            self._watchdog.trip("another process no longer listens to the agents", step)
            self._give_up()
        if self._update.held >= self._enough and not self._watchdog.tripped:
            generator = torch.Generator().manual_seed(step)
            with learning(self.agents):
                self._update_agents(generator, step)
        if self._watchdog.tripped:
            self._numbers["agents_tripped"] = 1.0
        return self._numbers

    def _update_agents(self, generator: torch.Generator, step: int) -> None:
        try:
            self._numbers |= {f"ppo_{name}": value for name, value in self._update.update(generator).items()}
        except InputError as error:
            self._watchdog.trip(f"an update gave {error.got}", step)
            self._give_up()

    def _give_up(self) -> None:
        """Say so, and log no longer what was true of the agents before."""
        print(f"warning: {self._watchdog.reason}", file=sys.stderr, flush=True)
        self._numbers = {n: v for n, v in self._numbers.items() if not n.startswith(("agents_", "ppo_"))}

    def warnings(self) -> tuple[str, ...]:
        """That the agents were given up, if they were."""
        return (self._watchdog.reason,) if self._watchdog.tripped else ()

    def state(self) -> dict[str, Any]:
        """The buffer, the optimiser, baselines and the watchdog."""
        return super().state() | {
            "update": self._update.state_dict(),
            "noise": self._noise.state_dict(),
            "watchdog": self._watchdog.state_dict(),
            "total": self._total,
            "frequency": {} if self._frequency is None else self._frequency.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        super().load_state(state)
        self._update.load_state_dict(state["update"])
        self._noise.load_state_dict(state["noise"])
        self._watchdog.load_state_dict(state["watchdog"])
        self._total = int(state["total"])
        if state.get("frequency"):
            self._frequency = MaskFrequency(len(state["frequency"]["hidden"]), self._config.noise_decay)
            self._frequency.load_state_dict(state["frequency"])


def _in_any_process(said: bool, module: nn.Module) -> bool:  # noqa: FBT001 (a vote)
    """Whether this is so in any of the processes that train together."""
    if not torch.distributed.is_initialized():
        return said
    vote = torch.tensor(float(said), device=next(module.parameters()).device)
    torch.distributed.all_reduce(vote)
    return float(vote) > 0
