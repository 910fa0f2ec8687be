"""How agents learn: proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) over a buffer of many crops.

Masks do not change the next crop, so this is a bandit: no discount, no bootstrap. Every pick of the drawn order has
its own ratio, its own reward and its own advantage. Rewards are ranked and advantages normalised over the whole buffer;
over the few crops of one step they would be little more than a sign.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuropil.config.pretrain import AgentsConfig
from neuropil.errors import InputError
from neuropil.geometry import Int3
from neuropil.pretrain.agents import Agents, AgentState, Draw, entropy_share, expected_value, kl_to_uniform, log_prob
from neuropil.pretrain.masking import finite
from neuropil.pretrain.reward import rewards
from neuropil.pretrain.state import load_optimiser_state, optimiser_state

#: Halvings of the interval in which the scale of preferences is looked for.
_HALVINGS = 20

#: An epoch has at least so many steps if the buffer holds as many batches.
_STEPS_OF_AN_EPOCH = 4


@dataclass(frozen=True)
class Rollout:
    """One batch of crops: what the agents saw, what was drawn, and what it brought.

    Attributes
    ----------
    residual_BK, progress_BK
        Loss beyond the usual, and learning progress, of each pick in the order of drawing; see `Draw.in_order`.
    """

    state: AgentState
    draw: Draw
    residual_BK: Tensor
    progress_BK: Tensor


@dataclass(frozen=True)
class _Lesson:
    """A rollout with what each pick earned; `weight_BK` is 0 where the agents did not decide."""

    rollout: Rollout
    reward_BK: Tensor
    advantage_BK: Tensor
    weight_BK: Tensor


class PolicyUpdate:
    """A buffer of rollouts and the optimiser that learns from it.

    Parameters
    ----------
    agents
        What is trained; nothing else is.
    config
        Sizes and prices; see `AgentsConfig`.
    """

    def __init__(self, agents: Agents, config: AgentsConfig) -> None:
        self._agents, self._config = agents, config
        self._optimiser = torch.optim.Adam(agents.parameters(), lr=config.lr)
        self._rollouts: list[Rollout] = []

    @property
    def held(self) -> int:
        """Crops in the buffer."""
        return sum(len(r.draw.order_BK) for r in self._rollouts)

    def add(self, rollout: Rollout) -> None:
        """Put a batch of crops in the buffer."""
        self._rollouts.append(rollout)

    def update(self, generator: torch.Generator) -> dict[str, float]:
        """Learn from the buffer and empty it.

        Returns
        -------
        dict
            Of the last epoch: `ratio_mean`, `ratio_std`, `clip_fraction`, `entropy_share`, `policy_loss`, `value_loss`,
            `grad_norm`. Of the buffer, afterwards: `kl`. Also `ratio_start`, the greatest distance of a ratio from 1
            before the first step (0, unless what the agents see changed since the drawing), `kl_scale`, what
            preferences were multiplied by so that KL is within its bound, `reward_std`, `residual_std`, and
            `progress_std`.

        Raises
        ------
        InputError
            If logits or gradients are no longer finite. The agents are then as they were before the update,
            and the buffer is empty.
        """
        before = [parameter.detach().clone() for parameter in self._agents.parameters()]
        try:
            return self._learned(generator)
        except InputError:
            with torch.no_grad():
                for parameter, kept in zip(self._agents.parameters(), before, strict=True):
                    parameter.copy_(kept)
            raise
        finally:
            self._rollouts.clear()

    def _learned(self, generator: torch.Generator) -> dict[str, float]:
        lessons = self._lessons()
        rows: list[dict[str, float]] = []
        start = 0.0
        for epoch in range(self._config.epochs):
            rows = []
            for batch in self._minibatches(lessons, generator):
                rows.append(self._step(batch))
                if epoch == 0 and len(rows) == 1:
                    start = rows[0]["ratio_far"]
        out = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0] if name != "ratio_far"}
        scale, kl = self._bounded()
        out |= {"ratio_start": start, "kl": kl, "kl_scale": scale}
        for name, parts in (
            ("reward_std", [lesson.reward_BK for lesson in lessons]),
            ("residual_std", [r.residual_BK for r in self._rollouts]),
            ("progress_std", [r.progress_BK for r in self._rollouts]),
        ):
            out[name] = float(_flat(parts).std(correction=0))
        return out

    @torch.no_grad()
    def _lessons(self) -> list[_Lesson]:
        residual, progress = (_flat([getattr(r, n) for r in self._rollouts]) for n in ("residual_BK", "progress_BK"))
        reward = rewards(residual, progress, self._config.progress)
        shapes = [r.draw.order_BK.shape for r in self._rollouts]
        parts = torch.split(reward, [s.numel() for s in shapes])
        earned = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        compared = [torch.ones_like(reward_BK) for reward_BK in earned]
        if not self._config.by_place:
            earned, compared = _beyond_place(earned, self._rollouts)
        gained, weights = [], []
        for rollout, reward_BK, compared_BK in zip(self._rollouts, earned, compared, strict=True):
            logits_BN, values_BN = self._agents(rollout.state)
            gained.append(reward_BK - expected_value(logits_BN, values_BN, rollout.draw.order_BK))
            weights.append((~rollout.draw.explored_B)[:, None].float() * compared_BK)
        mean, deviation = _moments(_flat(gained), _flat(weights))
        return [
            _Lesson(rollout, reward_BK, (gain_BK - mean) / deviation, weight_BK)
            for rollout, reward_BK, gain_BK, weight_BK in zip(self._rollouts, earned, gained, weights, strict=True)
        ]

    def _minibatches(self, lessons: Sequence[_Lesson], generator: torch.Generator) -> Iterator[list[_Lesson]]:
        """The lessons in random order, so many at a time that they hold a minibatch of crops."""
        # a small buffer, too, is worth several steps: one step for each epoch hardly moves the agents
        enough = min(self._config.minibatch, self.held // _STEPS_OF_AN_EPOCH)
        batch: list[_Lesson] = []
        for i in torch.randperm(len(lessons), generator=generator, device=generator.device).tolist():
            batch.append(lessons[i])
            if sum(len(lesson.reward_BK) for lesson in batch) >= enough:
                yield batch
                batch = []
        if batch:
            yield batch

    @torch.no_grad()
    def _bounded(self) -> tuple[float, float]:
        """Scale preferences down until their mean KL over the buffer is within its bound; the scale, and KL then.

        Of several processes each does so by its own crops before weights are averaged, so that KL may then be a little
        beyond.

        It is exact at once. A price of KL that rises while there is too much of it and falls while there is not swings
        instead: in fifty updates KL went to twice its bound, and the price was highest when it was back.
        """
        logits = [self._agents(r.state)[0] for r in self._rollouts]

        def kl(scale: float) -> float:
            return float(torch.cat([kl_to_uniform(scale * logits_BN) for logits_BN in logits]).mean())

        # what is not finite is found by the next draw, not here
        if not (found := kl(1.0)) > self._config.kl:
            return 1.0, found
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if kl(middle) > self._config.kl else (middle, high)
        self._agents.actor.weight.mul_(low)
        return low, kl(low)

    def _step(self, batch: Sequence[_Lesson]) -> dict[str, float]:
        config = self._config
        outputs = [self._agents(lesson.rollout.state) for lesson in batch]
        ratio, policy = _policy_loss(batch, [logits for logits, _ in outputs], config.clip)
        errors = [
            values.gather(1, lesson.rollout.draw.order_BK) - lesson.reward_BK
            for lesson, (_, values) in zip(batch, outputs, strict=True)
        ]
        value = _flat(errors).square().mean()
        share = torch.cat([entropy_share(logits) for logits, _ in outputs])
        below = (config.entropy_floor - share).clamp(min=0).mean()
        loss = policy + config.value_weight * value - config.entropy * share.mean() + config.entropy_penalty * below
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._agents.parameters(), config.grad_clip)
        if not bool(torch.isfinite(norm)):
            raise InputError("agents' gradients that are NaN or infinite", "finite numbers", "lower pretrain.agents.lr")
        self._optimiser.step()
        away = ratio - 1
        return {
            "ratio_mean": float(ratio.mean()) if len(ratio) else 1.0,
            "ratio_std": float(ratio.std(correction=0)) if len(ratio) else 0.0,
            "ratio_far": float(away.abs().max()) if len(ratio) else 0.0,
            "clip_fraction": float((away.abs() > config.clip).float().mean()) if len(ratio) else 0.0,
            "entropy_share": float(share.detach().mean()),
            "policy_loss": float(policy.detach()),
            "value_loss": float(value.detach()),
            "grad_norm": float(norm),
        }

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers: the buffer, and what the optimiser remembers."""
        out: dict[str, Any] = {
            "grids": [list(r.state.grid) for r in self._rollouts],
            "moments": optimiser_state(self._optimiser),
        }
        for i, rollout in enumerate(self._rollouts):
            out |= {f"rollouts.{i}.{name}": tensor for name, tensor in _tensors(rollout).items()}
        return out

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        device = next(self._agents.parameters()).device
        self._rollouts = [
            _rollout({n: state[f"rollouts.{i}.{n}"].to(device) for n in _NAMES}, grid)
            for i, grid in enumerate(state["grids"])
        ]
        load_optimiser_state(self._optimiser, state["moments"])


def _policy_loss(batch: Sequence[_Lesson], logits: Sequence[Tensor], clip: float) -> tuple[Tensor, Tensor]:
    """Ratios of the picks that the agents decided, and the clipped loss of them (a scalar)."""
    ratios, losses = [], []
    for lesson, logits_BN in zip(batch, logits, strict=True):
        draw = lesson.rollout.draw
        ratio_BK = (log_prob(finite(logits_BN), draw.order_BK) - draw.picks_BK).exp()
        gain_BK = torch.minimum(
            ratio_BK * lesson.advantage_BK, ratio_BK.clamp(1 - clip, 1 + clip) * lesson.advantage_BK
        )
        losses.append(-(gain_BK * lesson.weight_BK))
        ratios.append(ratio_BK.detach()[lesson.weight_BK > 0])
    decided = _flat([lesson.weight_BK for lesson in batch]).sum().clamp(min=1)
    return torch.cat(ratios), _flat(losses).sum() / decided


_NAMES = ("features", "statistics", "places", "order", "picks", "explored", "residual", "progress")


def _tensors(rollout: Rollout) -> dict[str, Tensor]:
    state, draw = rollout.state, rollout.draw
    values = (
        *(state.features_BND, state.statistics_BNS, state.places_NE),
        *(draw.order_BK, draw.picks_BK, draw.explored_B, rollout.residual_BK, rollout.progress_BK),
    )
    return dict(zip(_NAMES, values, strict=True))


def _rollout(x: Mapping[str, Tensor], grid: Sequence[int]) -> Rollout:
    z, y, x_ = grid
    state = AgentState(x["features"], x["statistics"], x["places"], (z, y, x_))
    return Rollout(state, Draw(x["order"], x["picks"], x["explored"]), x["residual"], x["progress"])


def _beyond_place(earned: Sequence[Tensor], rollouts: Sequence[Rollout]) -> tuple[list[Tensor], list[Tensor]]:
    """Rewards less the mean of the others earned at the same place of the same grid, and whether there were others.

    Where a crop begins is chance, so what a patch earns for lying at its border (it has fewer neighbours, and stays
    hard) says nothing about tissue. It is taken from the reward and not from the advantage: what is expected depends on
    how early a pick was made, and so would the mean at a place that is picked early. Both are (B, K), in the order of
    drawing; a reward without others to compare it with is 0.
    """
    sums: dict[Int3, tuple[Tensor, Tensor]] = {}
    for reward_BK, rollout in zip(earned, rollouts, strict=True):
        nothing_N = reward_BK.new_zeros(math.prod(rollout.state.grid))
        total_N, count_N = sums.setdefault(rollout.state.grid, (nothing_N, nothing_N.clone()))
        places = rollout.draw.order_BK.flatten()
        total_N.index_add_(0, places, reward_BK.flatten())
        count_N.index_add_(0, places, torch.ones_like(reward_BK.flatten()))
    beyond, compared = [], []
    for reward_BK, rollout in zip(earned, rollouts, strict=True):
        total_BK, count_BK = (x_N[rollout.draw.order_BK] for x_N in sums[rollout.state.grid])
        others_BK = count_BK - 1
        compared.append((others_BK > 0).float())
        mean_BK = (total_BK - reward_BK) / others_BK.clamp(min=1)
        beyond.append((reward_BK - mean_BK) * compared[-1])
    return beyond, compared


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation; the latter is 1 where there is nothing to measure."""
    total = weight.sum().clamp(min=1)
    mean = (x * weight).sum() / total
    deviation = ((x - mean).square() * weight).sum().div(total).sqrt()
    return mean, torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
