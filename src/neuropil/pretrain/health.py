"""Whether agents still decide anything sensible: numbers to log, and a watchdog that stops listening to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from neuropil.config.pretrain import AgentsConfig
from neuropil.pretrain.agents import entropy_share, kl_to_uniform


@torch.no_grad()
def policy_health(logits_BN: Tensor) -> dict[str, float]:
    """Mean entropy share, mean KL to an even choice, and `place_share`; NaN where logits are not finite."""
    numbers = {"entropy_share": float(entropy_share(logits_BN).mean()), "kl": float(kl_to_uniform(logits_BN).mean())}
    return numbers | ({"place_share": place_share(logits_BN)} if len(logits_BN) > 1 else {})


@torch.no_grad()
def place_share(logits_BN: Tensor) -> float:
    """Share of the variance of preferences within a crop that its places explain, whatever is in them; 0 to 1.

    Without the part that crops, of which a batch has few, share by chance. 0 where there is no preference, NaN where
    logits are not finite. At 1 agents know where they are but not what they see.
    """
    if not bool(torch.isfinite(logits_BN).all()):
        return math.nan
    wish_BN = logits_BN.double() - logits_BN.double().mean(1, keepdim=True)
    crops, places = wish_BN.shape
    within = float((wish_BN - wish_BN.mean(0)).square().sum()) / ((crops - 1) * max(places - 1, 1))
    between = float(wish_BN.mean(0).square().sum()) / max(places - 1, 1) - within / crops
    whole = max(between, 0.0) + within
    return max(between, 0.0) / whole if whole > 0 else 0.0


@torch.no_grad()
def edge_correlation(masked_BM: Tensor, edges_BN: Tensor) -> float:
    """Pearson correlation, within crops, of being hidden with edge density; 0 where edges do not vary."""
    hidden_BN = torch.zeros_like(edges_BN, dtype=torch.float32).scatter_(1, masked_BM, 1.0)
    hidden_BN = hidden_BN - hidden_BN.mean(1, keepdim=True)
    edges_BN = edges_BN.float() - edges_BN.float().mean(1, keepdim=True)
    scale = float((hidden_BN.square().sum() * edges_BN.square().sum()).sqrt())
    return float((hidden_BN * edges_BN).sum()) / scale if scale > 0 else 0.0


class MaskFrequency:
    """How often each place of the grid is hidden, with slowly fading memory.

    Parameters
    ----------
    patches
        Places of the grid.
    decay
        Share of its weight that a crop keeps when the next batch comes.
    """

    def __init__(self, patches: int, decay: float) -> None:
        self._decay = decay
        self._hidden_N = torch.zeros(patches, dtype=torch.float64)
        self._weight = self._squared = 0.0

    def observe(self, masked_BM: Tensor) -> None:
        """Take in the masks of a batch of crops."""
        count_N = torch.bincount(masked_BM.detach().cpu().flatten(), minlength=len(self._hidden_N))
        self._hidden_N = self._decay * self._hidden_N + count_N
        self._weight = self._decay * self._weight + len(masked_BM)
        self._squared = self._decay**2 * self._squared + len(masked_BM)

    def health(self) -> dict[str, float]:
        """`frequency_variance` over places, and `frequency_excess`: that over what random masks have by chance."""
        if not self._weight:
            return {"frequency_variance": 0.0, "frequency_excess": 1.0}
        share_N = self._hidden_N / self._weight
        variance, mean = float(share_N.var(correction=0)), float(share_N.mean())
        chance = mean * (1 - mean) * self._squared / self._weight**2
        return {"frequency_variance": variance, "frequency_excess": variance / chance if chance > 0 else 1.0}

    def state_dict(self) -> dict[str, Any]:
        """A tensor and plain numbers."""
        return {"hidden": self._hidden_N.clone(), "weight": self._weight, "squared": self._squared}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._hidden_N = state["hidden"].clone()
        self._weight, self._squared = float(state["weight"]), float(state["squared"])


class Watchdog:
    """Says when agents must no longer be listened to; once said, it stays so.

    A policy of little entropy hides the same patches again and again. It gets `patience` steps to recover. What is not
    finite gets none: the weights behind such logits do not come back, and an update that broke would break again.

    Parameters
    ----------
    config
        `entropy_floor` and `patience`.
    """

    def __init__(self, config: AgentsConfig) -> None:
        self._floor, self._patience = config.entropy_floor, config.patience
        self._below = 0
        self._reason = ""

    @property
    def tripped(self) -> bool:
        """Whether masks must be random from now on."""
        return bool(self._reason)

    @property
    def reason(self) -> str:
        """Why and since when masks are random, in a sentence; empty as long as they are not."""
        return self._reason

    def observe(self, share: float, step: int) -> bool:
        """Take in the entropy share of a step (NaN where logits are not finite), and whether that was too much."""
        if self.tripped:
            return False
        self._below = self._below + 1 if share < self._floor else 0
        if not math.isfinite(share):
            self.trip("the agents' logits were no longer finite", step)
        elif self._below >= self._patience:
            self.trip(f"the agents' entropy was below {self._floor:g} of the greatest for {self._below} steps", step)
        return self.tripped

    def trip(self, reason: str, step: int) -> None:
        """No longer listen to agents, for good; `step` is the number of those that were taken."""
        self._reason = f"masks are random from step {step} on: {reason}"

    def state_dict(self) -> dict[str, int | str]:
        """Plain numbers and a text."""
        return {"below": self._below, "reason": self._reason}

    def load_state_dict(self, state: Mapping[str, int | bool | str]) -> None:
        """Take back what `state_dict` gave."""
        self._below = int(state["below"])
        # older checkpoints say only that it has tripped
        unsaid = "masks are random: the agents were no longer listened to" if state.get("tripped") else ""
        self._reason = str(state.get("reason", unsaid))
