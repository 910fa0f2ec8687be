"""How agents learn: proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) over a buffer of many crops.

Masks do not change the next crop, so this is a bandit: no discount, no bootstrap. Every pick of the drawn order has
its own ratio, its own reward and its own advantage. Rewards are ranked and advantages normalised over the whole buffer;
over the few crops of one step they would be little more than a sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuropil.config.pretrain import AgentsConfig
from neuropil.errors import InputError
from neuropil.pretrain.agents import Agents, AgentState, Draw, entropy_share, expected_value, kl_to_uniform, log_prob
from neuropil.pretrain.masking import finite
from neuropil.pretrain.reward import rewards
from neuropil.pretrain.state import load_optimiser_state, optimiser_state

#: The price of KL stops rising here; beyond, the gradient clip hides everything else.
_HIGHEST_PRICE = 100.0


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
        self._price = 0.0

    @property
    def ready(self) -> bool:
        """Whether the buffer holds enough crops."""
        return sum(len(r.draw.order_BK) for r in self._rollouts) >= self._config.buffer

    def add(self, rollout: Rollout) -> None:
        """Put a batch of crops in the buffer."""
        self._rollouts.append(rollout)

    def update(self, generator: torch.Generator) -> dict[str, float]:
        """Learn from the buffer and empty it.

        Returns
        -------
        dict
            Of the last epoch: `ratio_mean`, `ratio_std`, `clip_fraction`, `entropy_share`, `kl`, `policy_loss`,
            `value_loss`, `grad_norm`. Also `ratio_start`, the greatest distance of a ratio from 1 before the first
            step (0, unless what the agents see changed since the drawing), `kl_price`, and `reward_std`,
            `residual_std`, `progress_std`.

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
        out |= {"ratio_start": start, "kl_price": self._price}
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
        gained, weights = [], []
        for rollout, reward_BK in zip(self._rollouts, earned, strict=True):
            logits_BN, values_BN = self._agents(rollout.state)
            gained.append(reward_BK - expected_value(logits_BN, values_BN, rollout.draw.order_BK))
            weights.append((~rollout.draw.explored_B)[:, None].float().expand_as(reward_BK))
        mean, deviation = _moments(_flat(gained), _flat(weights))
        return [
            _Lesson(rollout, reward_BK, (gain_BK - mean) / deviation, weight_BK)
            for rollout, reward_BK, gain_BK, weight_BK in zip(self._rollouts, earned, gained, weights, strict=True)
        ]

    def _minibatches(self, lessons: Sequence[_Lesson], generator: torch.Generator) -> Iterator[list[_Lesson]]:
        """The lessons in random order, so many at a time that they hold a minibatch of crops."""
        batch: list[_Lesson] = []
        for i in torch.randperm(len(lessons), generator=generator, device=generator.device).tolist():
            batch.append(lessons[i])
            if sum(len(lesson.reward_BK) for lesson in batch) >= self._config.minibatch:
                yield batch
                batch = []
        if batch:
            yield batch

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
        kl = torch.cat([kl_to_uniform(logits) for logits, _ in outputs]).mean()
        below = (config.entropy_floor - share).clamp(min=0).mean()
        loss = policy + config.value_weight * value + self._price * (kl - config.kl)
        loss = loss - config.entropy * share.mean() + config.entropy_penalty * below
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._agents.parameters(), config.grad_clip)
        if not bool(torch.isfinite(norm)):
            raise InputError("agents' gradients that are NaN or infinite", "finite numbers", "lower pretrain.agents.lr")
        self._optimiser.step()
        spent = float(kl.detach())
        # dual ascent: the price of KL rises while there is too much of it and falls to nothing while there is not
        self._price = min(max(self._price + config.kl_rate * (spent - config.kl), 0.0), _HIGHEST_PRICE)
        away = ratio - 1
        return {
            "ratio_mean": float(ratio.mean()) if len(ratio) else 1.0,
            "ratio_std": float(ratio.std(correction=0)) if len(ratio) else 0.0,
            "ratio_far": float(away.abs().max()) if len(ratio) else 0.0,
            "clip_fraction": float((away.abs() > config.clip).float().mean()) if len(ratio) else 0.0,
            "entropy_share": float(share.detach().mean()),
            "kl": spent,
            "policy_loss": float(policy.detach()),
            "value_loss": float(value.detach()),
            "grad_norm": float(norm),
        }

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers: the buffer, the price of KL, and what the optimiser remembers."""
        out: dict[str, Any] = {
            "price": self._price,
            "grids": [list(r.state.grid) for r in self._rollouts],
            "moments": optimiser_state(self._optimiser),
        }
        for i, rollout in enumerate(self._rollouts):
            out |= {f"rollouts.{i}.{name}": tensor for name, tensor in _tensors(rollout).items()}
        return out

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        device = next(self._agents.parameters()).device
        self._price = float(state["price"])
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


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation; the latter is 1 where there is nothing to measure."""
    total = weight.sum().clamp(min=1)
    mean = (x * weight).sum() / total
    deviation = ((x - mean).square() * weight).sum().div(total).sqrt()
    return mean, torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
