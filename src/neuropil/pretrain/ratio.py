"""How many patches are hidden, chosen by what that does for a downstream score.

Never by the loss of reconstruction: that rises with the ratio, so it would only ever drive the ratio to an end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from neuropil.config.pretrain import RatioConfig


class RatioController:
    """A bandit over mask ratios whose memory fades: discounted UCB (Garivier and Moulines 2011, arXiv 0805.3415).

    A ratio is credited with the change of the score while it was in use, not with the score itself: scores rise all
    through a run, whatever the ratio, and would favour what was tried last. Nothing is drawn at random.

    Parameters
    ----------
    config
        Ratios, memory, and curiosity in units of the spread of credits.
    first
        The ratio to begin with: the nearest one is taken.
    """

    def __init__(self, config: RatioConfig, first: float) -> None:
        self._config = config
        self._now = min(range(len(config.ratios)), key=lambda a: abs(config.ratios[a] - first))
        self._count = [0.0] * len(config.ratios)
        self._total = [0.0] * len(config.ratios)
        self._squares = 0.0
        self._score: float | None = None

    @property
    def ratio(self) -> float:
        """The ratio to be used now."""
        return self._config.ratios[self._now]

    def shares(self) -> dict[float, float]:
        """Ratio → share of its use, as far as is remembered."""
        known = sum(self._count)
        return {r: n / known if known else 0.0 for r, n in zip(self._config.ratios, self._count, strict=True)}

    def observe(self, score: float) -> None:
        """Take in a downstream score (higher is better) that the current ratio led to, and choose the next ratio."""
        before, self._score = self._score, score
        if before is None:
            return
        credit, keep = score - before, self._config.memory
        self._count = [n * keep for n in self._count]
        self._total = [t * keep for t in self._total]
        self._squares = self._squares * keep + credit**2
        self._count[self._now] += 1
        self._total[self._now] += credit
        self._now = self._next()

    def _next(self) -> int:
        known = sum(self._count)
        spread = math.sqrt(max(self._squares / known - (sum(self._total) / known) ** 2, 0.0))
        worth = []
        for n, total in zip(self._count, self._total, strict=True):
            if n == 0:
                worth.append(math.inf)
            else:
                worth.append(total / n + self._config.curiosity * spread * math.sqrt(math.log(max(known, 1.0)) / n))
        return max(range(len(worth)), key=worth.__getitem__)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and lists of them."""
        return {
            "now": self._now,
            "count": list(self._count),
            "total": list(self._total),
            "squares": self._squares,
            "score": self._score,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._now, self._squares, self._score = int(state["now"]), float(state["squares"]), state["score"]
        self._count, self._total = list(state["count"]), list(state["total"])
