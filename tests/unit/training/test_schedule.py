from __future__ import annotations

import itertools

import pytest

from neuropil.training.schedule import LONGEST_WARMUP, PROBE, Schedule


def _at(step: int, **changes: object) -> Schedule:
    values = {"total": 1000, "budget": None, "warmup": 0.05, "peak": 0.1, "step": step} | changes
    return Schedule(**values)  # type: ignore[arg-type]


def test_rate_rises_then_falls_to_nothing() -> None:
    rates = [_at(s).learning_rate() for s in range(1000)]
    top = rates.index(max(rates))
    assert 45 <= top <= 55
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert all(a < b for a, b in itertools.pairwise(rates[: top + 1]))
    assert rates[-1] < 1e-6


def test_warmup_is_bounded() -> None:
    assert _at(LONGEST_WARMUP, total=10**6).learning_rate() == pytest.approx(0.1, rel=1e-3)


def test_budget_becomes_steps_and_leaves_time_for_validation() -> None:
    schedule = _at(40, total=None, budget=100.0, elapsed=10.0, validation_seconds=5.0)
    schedule.fit_to_budget(0.25, validations_left=6)
    assert schedule.total == 40 + int((100 - 10 - 30) / 0.25)


def test_what_validations_may_take_leaves_time_to_train() -> None:
    """Before any was measured: twenty steps each, but never more than a quarter of what is left."""
    slow = _at(22, total=None, budget=120.0, elapsed=31.0, marked_step=11, marked_elapsed=16.0)
    slow.expect_validations(6)
    slow.fit_to_budget(slow.seconds_per_step, validations_left=6)
    assert slow.total == pytest.approx(22 + 0.75 * 89 / (15 / 11), abs=1)
    fast = _at(40, total=None, budget=1800.0, elapsed=8.0, marked_step=20, marked_elapsed=4.0)
    fast.expect_validations(6)
    assert fast.validation_seconds == pytest.approx(20 * 0.2)
    measured = _at(40, total=None, budget=100.0, validation_seconds=3.0)
    measured.expect_validations(6)
    assert measured.validation_seconds == 3.0


def _validated(schedule: Schedule, count: int) -> list[int]:
    """The steps that are followed by a validation."""
    found: list[int] = []
    while not schedule.done:
        schedule.step += 1
        if schedule.validation_due(count, len(found)):
            found.append(schedule.step)
            schedule.validated_step = schedule.step
    return found


def test_validations_come_at_equal_distances_and_at_the_end() -> None:
    assert _validated(_at(0, total=60), 6) == [10, 20, 30, 40, 50, 60]
    assert _validated(_at(0, total=7), 3) == [3, 5, 7]
    assert _validated(_at(0, total=2), 6) == [1, 2]


def test_a_late_plan_is_not_caught_up_with_by_several_validations_at_once() -> None:
    found = _validated(_at(21, total=47), 6)
    assert found[-1] == 47
    assert found[0] == 22
    assert min(b - a for a, b in itertools.pairwise(found[:-1])) == 4


def test_an_exhausted_budget_still_ends() -> None:
    schedule = _at(500, total=None, budget=10.0, elapsed=20.0)
    schedule.fit_to_budget(1.0, validations_left=1)
    assert schedule.total == 501
    schedule.step = 501
    assert schedule.done


def test_pace_counts_from_the_mark() -> None:
    schedule = _at(20, elapsed=100.0)
    schedule.mark()
    schedule.step, schedule.elapsed = 30, 105.0
    assert schedule.seconds_per_step == 0.5


def _planned(seconds: float, budget: float, first: float = 0.0) -> tuple[int, float]:
    """After how many steps of so many seconds (the first one longer) a budget is planned, and by what pace."""
    schedule = _at(0, total=None, budget=budget)
    schedule.elapsed = first
    while True:
        schedule.step += 1
        schedule.elapsed += seconds
        if schedule.pace_is_known():
            return schedule.step, schedule.seconds_per_step


def test_a_budget_is_planned_by_the_second_half_of_the_first_steps() -> None:
    step, pace = _planned(0.1, 1800.0, first=20.0)
    assert (step, pace) == (PROBE, pytest.approx(0.1))


def test_a_slow_machine_plans_before_its_budget_is_used_up() -> None:
    step, pace = _planned(2.6, 100.0)
    assert 25.0 <= step * 2.6 <= 28.0
    assert pace == pytest.approx(2.6)
    # where a single step takes all there is, it is the measurement
    assert _planned(10.0, 8.0) == (1, pytest.approx(10.0))


def test_without_a_plan_the_rate_only_warms_up() -> None:
    assert _at(10**6, total=None, budget=1.0).learning_rate() == pytest.approx(0.1)


def test_state_round_trip() -> None:
    schedule = _at(7, elapsed=3.5)
    assert Schedule(**schedule.state()) == schedule
