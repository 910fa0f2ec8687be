"""How long a run lasts and what its learning rate is: a number of steps, or as many as a time budget allows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

#: Steps after which a budget is first turned into a number of steps, by the pace of the second half of them.
PROBE = 40
#: Share of a budget after which that is done, however few steps it took: measuring must not use it up.
EARLY = 0.25
#: What a validation is guessed to take before there was one, in steps; and all of them at the most, as a share of what
#: is left: where steps are slow, the first guess alone would leave no time to train.
VALIDATION_STEPS, VALIDATING = 20, 0.25
#: Longest warm-up in steps.
LONGEST_WARMUP = 300


@dataclass
class Schedule:
    """Progress of a run; everything here is stored in the checkpoint, so a resumed run follows the same plan.

    Attributes
    ----------
    total
        Planned steps; None until a budget has been measured.
    budget
        Seconds of training and validation together, or None.
    elapsed
        Seconds spent so far, over all sessions.
    marked_step, marked_elapsed
        Since when the pace is measured; by this process's own clock.
    validated_step
        When the last validation was, the same in all processes.
    """

    total: int | None
    budget: float | None
    warmup: float
    peak: float
    step: int = 0
    elapsed: float = 0.0
    validation_seconds: float = 0.0
    marked_step: int = 0
    marked_elapsed: float = 0.0
    validated_step: int = 0

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @property
    def done(self) -> bool:
        """Whether the last planned step has been taken."""
        return self.total is not None and self.step >= self.total

    @property
    def progress(self) -> float:
        """Share of the run that is behind, 0 to 1."""
        return 0.0 if self.total is None else min(1.0, self.step / self.total)

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine down to zero, for the step about to be taken."""
        total = self.total if self.total is not None else math.inf
        warm = max(1.0, min(LONGEST_WARMUP, self.warmup * total if self.warmup else 1.0))
        ramp = min(1.0, (self.step + 1) / warm)
        decay = 0.5 * (1 + math.cos(math.pi * max(0.0, self.step - warm) / max(1.0, total - warm)))
        return self.peak * ramp * (decay if math.isfinite(total) else 1.0)

    def validation_due(self, count: int, had: int) -> bool:
        """Whether it is time for the next of so many validations, at equal distances, and one at the end.

        None but the last follows within half a distance of the one before: a plan that came late, or that was cut,
        would else be caught up with by several at once.
        """
        if self.total is None:
            return False
        apart = self.step - self.validated_step >= 0.5 * self.total / max(1, count)
        return self.done or (apart and self.step / self.total * count >= had + 1)

    def mark(self) -> None:
        """Measure the pace from here on: neither what was compiled before nor a validation counts as training."""
        self.marked_step, self.marked_elapsed = self.step, self.elapsed

    def pace_is_known(self) -> bool:
        """To be asked after each step while a budget has no plan: whether it can have one now."""
        spent = self.elapsed / (self.budget or math.inf)
        if self.step >= PROBE or spent >= EARLY:
            return True
        if self.marked_step == 0 and (self.step >= PROBE // 2 or spent >= EARLY / 2):
            self.mark()
        return False

    @property
    def seconds_per_step(self) -> float:
        """Pace since the last mark."""
        return (self.elapsed - self.marked_elapsed) / max(1, self.step - self.marked_step)

    def expect_validations(self, count: int) -> None:
        """Guess what a validation takes, of so many, where none has been measured: so many steps, within reason."""
        if self.validation_seconds == 0 and self.budget is not None:
            together = VALIDATING * max(0.0, self.budget - self.elapsed)
            self.validation_seconds = min(VALIDATION_STEPS * self.seconds_per_step, together / max(1, count))

    def fit_to_budget(self, seconds_per_step: float, validations_left: int) -> None:
        """Plan as many further steps as the budget leaves room for, after the validations still to come."""
        if self.budget is None:
            return
        left = self.budget - self.elapsed - self.validation_seconds * validations_left
        self.total = self.step + max(1, int(left / seconds_per_step))
