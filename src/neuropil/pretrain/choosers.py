"""Who decides which patches are hidden: a fixed policy, a predictor of difficulty, or the agents.

A chooser is asked before the encoder sees a crop, and told afterwards what each hidden patch cost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from neuropil.config import Config
from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3
from neuropil.pretrain.agents import Agents, AgentState, Draw, between_updates, epsilon_at, sample
from neuropil.pretrain.health import MaskFrequency, Watchdog, edge_correlation, policy_health
from neuropil.pretrain.masking import Mask, MaskContext, budget, random, split
from neuropil.pretrain.policy_update import PolicyUpdate, Rollout
from neuropil.pretrain.ratio import RatioController
from neuropil.pretrain.reward import NoiseBaseline
from neuropil.pretrain.state import load_optimiser_state, optimiser_state
from neuropil.registry import MASKS


@dataclass(frozen=True)
class View:
    """A batch of crops as choosers see it.

    Attributes
    ----------
    step
        Steps taken so far.
    image_BCZYX
        Grey values 0..1.
    grid, patch, voxel_size
        Patches along z, y, x; voxels of a patch; nm of a voxel.
    mean_BN, variance_BN, edges_BN
        Of each patch.
    generator
        Source of all chance of this step.
    """

    step: int
    image_BCZYX: Tensor
    grid: Int3
    patch: Int3
    voxel_size: Float3
    mean_BN: Tensor
    variance_BN: Tensor
    edges_BN: Tensor
    generator: torch.Generator

    @property
    def statistics_BNS(self) -> Tensor:
        """Mean, standard deviation and edge density of each patch."""
        return torch.stack([self.mean_BN, self.variance_BN.sqrt(), self.edges_BN], dim=-1)


@contextmanager
def learning(module: nn.Module) -> Iterator[None]:
    """Let a chooser's own network learn here and nowhere else; several processes then go on with the mean of theirs.

    At rest its weights ask for no gradient: the engine waits for the gradients of all weights that do. Each process
    learns from what it saw itself, so weights differ by an update before they are averaged.
    """
    module.requires_grad_(requires_grad=True)
    try:
        yield
    finally:
        module.requires_grad_(requires_grad=False)
    if torch.distributed.is_initialized():
        for parameter in module.parameters():
            torch.distributed.all_reduce(parameter.data)
            parameter.data /= torch.distributed.get_world_size()


def _in_any_process(said: bool, module: nn.Module) -> bool:  # noqa: FBT001 (a vote)
    """Whether this is so in any of the processes that train together."""
    if not torch.distributed.is_initialized():
        return said
    vote = torch.tensor(float(said), device=next(module.parameters()).device)
    torch.distributed.all_reduce(vote)
    return float(vote) > 0


class Teacher(Protocol):
    """A slow copy of what is trained."""

    def features(self, view: View) -> Tensor:
        """(B, N, D) of every patch; no gradient."""

    def places(self, view: View) -> Tensor:
        """(N, E) codes of the patches' places."""

    def losses(self, view: View, mask: Mask) -> tuple[Tensor, Tensor]:
        """(B, M) of the hidden patches, as the slow copy answers, and a slower one; no gradient."""


class Chooser(nn.Module):
    """Hides patches by a fixed policy of the table MASKS; the base of those that learn.

    Attributes
    ----------
    needs_teacher, needs_progress
        Whether a slow copy of the network must be kept for it, and a slower one beside it.
    """

    needs_teacher = False
    needs_progress = False

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._mask = config.pretrain.mask
        self._policy = MASKS.resolve(self._mask.policy)
        self._controller = RatioController(config.pretrain.ratio, self._mask.ratio) if self._mask.adapt_ratio else None
        self._numbers: dict[str, float] = {}

    @property
    def ratio(self) -> float:
        """Share of patches to hide now."""
        return self._mask.ratio if self._controller is None else self._controller.ratio

    def choose(self, view: View, teacher: Teacher | None) -> Mask:
        """Which patches of each crop to hide."""
        count = budget(view.edges_BN.shape[1], self.ratio)
        context = MaskContext(view.grid, view.patch, view.edges_BN)
        mask: Mask = self._policy(context, count, view.generator, self._mask)
        return mask

    def preview(self, view: View, teacher: Teacher | None) -> Mask:
        """What `choose` would hide, without taking note of it: looking at a run must not change it."""
        return self.choose(view, teacher)

    def learn(self, view: View, mask: Mask, losses_BM: Tensor, teacher: Teacher | None) -> None:
        """Take note of what the hidden patches cost."""
        self._numbers["mask_edges"] = edge_correlation(mask.masked_BM, view.edges_BN)
        if self._controller is not None:
            self._numbers["mask_ratio"] = self.ratio
            self._numbers |= {f"ratio_share_{ratio:g}": share for ratio, share in self._controller.shares().items()}

    def after_update(self, step: int, total: int) -> dict[str, float]:
        """Learn, if there is something to learn; numbers to log."""
        return self._numbers

    def warnings(self) -> tuple[str, ...]:
        """What whoever reads of the run must know: none here."""
        return ()

    def judge(self, score: float) -> None:
        """Choose the next mask ratio by a downstream score (higher is better), if it is to be chosen."""
        if self._controller is not None:
            self._controller.observe(score)

    def state(self) -> dict[str, Any]:
        """Nested dictionary of tensors and plain values, beside parameters."""
        ratio = {} if self._controller is None else {"ratio": self._controller.state_dict()}
        return {"numbers": dict(self._numbers), **ratio}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        # earlier versions did not store what was last logged
        self._numbers = dict(state.get("numbers", {}))
        if self._controller is not None:
            self._controller.load_state_dict(state["ratio"])


class RankedChooser(Chooser):
    """Hides the patches whose loss is predicted to be highest: hard patches without agents.

    The predictor is a small network on the teacher's features, taught by the losses themselves (after Wang et al. 2023,
    arXiv 2304.05919).
    """

    needs_teacher = True

    def __init__(self, config: Config, features: int) -> None:
        super().__init__(config)
        agents = config.pretrain.agents
        self.predictor = nn.Sequential(
            nn.LayerNorm(features + 3), nn.Linear(features + 3, agents.width), nn.GELU(), nn.Linear(agents.width, 1)
        )
        self._optimiser = torch.optim.Adam(self.predictor.parameters(), lr=agents.lr)
        self.predictor.requires_grad_(requires_grad=False)
        self._known: Tensor | None = None
        self._lesson: tuple[Tensor, Tensor, Tensor] | None = None

    def choose(self, view: View, teacher: Teacher | None) -> Mask:
        """The patches of highest predicted loss, and a random share."""
        mask, self._known = self._ranked(view, teacher)
        return mask

    def preview(self, view: View, teacher: Teacher | None) -> Mask:
        """See `Chooser.preview`."""
        return self._ranked(view, teacher)[0]

    def _ranked(self, view: View, teacher: Teacher | None) -> tuple[Mask, Tensor]:
        """A mask, and what the predictor knew."""
        assert teacher is not None
        known = torch.cat([teacher.features(view).float(), view.statistics_BNS], dim=-1).detach()
        with torch.no_grad(), torch.autocast(known.device.type, enabled=False):
            difficulty_BN = self.predictor(known).squeeze(-1)
        count = budget(view.edges_BN.shape[1], self.ratio)
        context = MaskContext(view.grid, view.patch, view.edges_BN, difficulty_BN=difficulty_BN)
        mask: Mask = self._policy(context, count, view.generator, self._mask)
        return mask, known

    def learn(self, view: View, mask: Mask, losses_BM: Tensor, teacher: Teacher | None) -> None:
        """Keep what the predictor should have said: the logarithm of the loss."""
        super().learn(view, mask, losses_BM, teacher)
        assert self._known is not None
        self._lesson = (self._known, mask.masked_BM, losses_BM.clamp(min=1e-6).log())

    def after_update(self, step: int, total: int) -> dict[str, float]:
        """One step of the predictor."""
        if self._lesson is not None:
            known_BND, masked_BM, target_BM = self._lesson
            with learning(self.predictor), torch.autocast(known_BND.device.type, enabled=False):
                said_BM = self.predictor(known_BND).squeeze(-1).gather(1, masked_BM)
                error = (said_BM - target_BM).square().mean()
                self._optimiser.zero_grad(set_to_none=True)
                error.backward()
                self._optimiser.step()
            self._numbers["predictor_error"] = float(error.detach())
            self._lesson = None
        return self._numbers

    def state(self) -> dict[str, Any]:
        """What the optimiser remembers."""
        return super().state() | {"moments": optimiser_state(self._optimiser)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        super().load_state(state)
        load_optimiser_state(self._optimiser, state["moments"])


class AgentChooser(Chooser):
    """Agents decide, one for each patch; see `neuropil.pretrain.agents`.

    What a hidden patch is worth is asked of two slow copies, not of the network: that bounces from step to step, and
    by how much depends on the tissue, so a slow copy's loss less the network's tells of the last steps and not of
    learning. These two looks cost time, so the agents practise every few steps only. When the watchdog trips, masks are
    random from then on, and the run says so. In the control with shuffled agents the steps between are masked as
    unevenly as the agents would, but elsewhere.
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
            return self._evenly(view)
        state, logits_BN = self._asked(view, teacher)
        health = policy_health(logits_BN)
        if self._watchdog.observe(health["entropy_share"], view.step):
            self._give_up()
            return self._evenly(view)
        self._numbers |= {f"agents_{name}": value for name, value in health.items()}
        draw = self._drawn(view, logits_BN)
        self._seen = (state, draw) if self._practice(view) else None
        return split(draw.order_BK, logits_BN.shape[1])

    def preview(self, view: View, teacher: Teacher | None) -> Mask:
        """See `Chooser.preview`; the watchdog, which counts steps, is not told either."""
        if self._watchdog.tripped:
            return self._evenly(view)
        _, logits_BN = self._asked(view, teacher)
        if not bool(torch.isfinite(logits_BN).all()):
            return self._evenly(view)
        return split(self._drawn(view, logits_BN).order_BK, logits_BN.shape[1])

    def _practice(self, view: View) -> bool:
        return view.step % self._config.rollout_every == 0

    def _evenly(self, view: View) -> Mask:
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

    def _drawn(self, view: View, logits_BN: Tensor) -> Draw:
        n = logits_BN.shape[1]
        if self._shuffled and not self._practice(view):
            # the control: as uneven as the agents' choice, but not where they want it
            logits_BN = logits_BN[:, torch.randperm(n, generator=view.generator).to(logits_BN.device)]
        epsilon = epsilon_at(view.step / max(1, self._total), self._config)
        return sample(logits_BN, budget(n, self.ratio), view.generator, epsilon=epsilon)

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
