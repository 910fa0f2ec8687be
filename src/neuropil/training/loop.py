"""The training loop: draw, step, log, validate, keep; stops and resumes on the very same trajectory."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from neuropil.config import TrainConfig
from neuropil.errors import RunError
from neuropil.progress import Progress
from neuropil.training.checkpoint import (
    CHECKPOINT,
    DRAWN,
    WEIGHTS,
    Run,
    load_exactly,
    part_of,
    read_tensors,
    write_tensors,
)
from neuropil.training.encoders import encoder_patch
from neuropil.training.interrupt import asked_to_stop
from neuropil.training.objective import Batch, Objective
from neuropil.training.optimise import make_optimisers, moments, restore_moments, set_rate
from neuropil.training.schedule import Schedule
from neuropil.training.sinks import Journal, begun

__all__ = ["Batch", "Batches", "Validate", "train_loop"]


class Batches(Protocol):
    """Batches in a fixed order, starting at any step."""

    def __call__(self, first_step: int, rank: int, world: int) -> Iterator[Batch]:
        """Batches from `first_step` on, the share of process `rank` of `world`."""


class Validate(Protocol):
    """Scores what a run keeps on held-back volumes."""

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """At least "score" (lower is better) and "calibration" (what is stored beside the weights)."""


@dataclass
class Session:
    """What changes while training; only the loop owns one. `model` is `objective` as the engine wraps it."""

    model: nn.Module
    objective: Objective
    ema: dict[str, Tensor]
    optimisers: dict[str, torch.optim.Optimizer]
    schedule: Schedule
    journal: Journal
    best: float = float("inf")
    validations: int = 0
    losses: list[Tensor] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    saved_at: float = field(default_factory=time.monotonic)
    logged_at: tuple[int, float] = (0, 0.0)


def train_loop(fabric: Fabric, run: Run, objective: Objective, batches: Batches, validate: Validate) -> bool:
    """Train a run to its end, or from its checkpoint to its end.

    Parameters
    ----------
    run
        A run directory; its checkpoint, if there is one, is continued.
    objective
        What is trained, with its first weights.
    batches
        Training batches, as the objective wants them.
    validate
        Called on a copy of `objective.kept` with the averaged weights, by process 0, a fixed number of times a run.

    Returns
    -------
    bool
        Whether the run came to its end; False after Ctrl-C, when the state has been saved.

    Raises
    ------
    RunError
        If the gradient is not finite.
    """
    session = _start(fabric, run, objective)
    config, schedule = run.config.train, session.schedule
    main = fabric.global_rank == 0
    stream = batches(schedule.step, fabric.global_rank, fabric.world_size)
    clock = time.monotonic()
    session.logged_at = (schedule.step, schedule.elapsed)
    with (
        Progress("train", schedule.total, unit="step", done=schedule.step, enabled=main) as progress,
        closing(session.journal),
        asked_to_stop() as stop,
    ):
        while not schedule.done:
            _step(fabric, session, next(stream), config)
            now = time.monotonic()
            schedule.elapsed += now - clock
            clock = now
            _plan(fabric, session, config, progress)
            if schedule.step % config.log_every == 0:
                _log(session, progress, write=main)
            if schedule.validation_due(config.validations, session.validations):
                run = _validate(fabric, run, session, validate)
                clock = time.monotonic()
            if not schedule.done and _any_process(fabric, wanted=stop()):
                if main:
                    _save(run, session)
                fabric.barrier()
                return False
            if main and time.monotonic() - session.saved_at > 60 * config.checkpoint_minutes:
                _save(run, session)
    return True


def _any_process(fabric: Fabric, *, wanted: bool) -> bool:
    """Whether any process was asked to stop: all must leave after the same step, or the others wait for ever."""
    if fabric.world_size == 1:
        return wanted
    votes = fabric.all_reduce(torch.tensor(float(wanted), device=fabric.device), reduce_op="sum")
    return float(votes) > 0  # type: ignore[arg-type]


def _start(fabric: Fabric, run: Run, objective: Objective) -> Session:
    config = run.config.train
    if config.threads:
        torch.set_num_threads(config.threads)
    assert isinstance(objective, nn.Module)
    objective.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimisers = make_optimisers(objective.groups(), config)
    schedule = Schedule(None if config.budget else config.steps, config.budget, config.warmup, config.lr)
    wrapped, *fitted = fabric.setup(objective, *optimisers.values())
    ema = {name: tensor.detach().clone() for name, tensor in objective.kept.state_dict().items()}
    session = Session(wrapped, objective, ema, dict(zip(optimisers, fitted, strict=True)), schedule, Journal(run))
    if (run.path / CHECKPOINT).is_file():
        _restore(run, session)
    elif fabric.global_rank == 0:
        run.forget_rows_after(0)  # a run that was killed before its first checkpoint begins again
    if fabric.global_rank == 0:
        session.journal = begun(run, session.schedule.step)
    return session


def _step(fabric: Fabric, session: Session, batch: Batch, config: TrainConfig) -> None:
    step = session.schedule.step
    # what a step draws depends on seed, step and process only, so a resumed run draws the same
    torch.manual_seed((config.seed * 1_000_003 + step) * 1_009 + fabric.global_rank)
    set_rate(session.optimisers, session.schedule.learning_rate())
    losses = session.model({name: _placed(tensor, fabric.device) for name, tensor in batch.items()})
    loss = torch.stack(list(losses.values())).sum()
    fabric.backward(loss)
    for optimiser in session.optimisers.values():
        norm = fabric.clip_gradients(
            session.model,
            optimiser,
            max_norm=config.clip,
            error_if_nonfinite=False,  # type: ignore[arg-type]
        )
        if norm is not None and not bool(torch.isfinite(norm)):
            # before the step: the weights, and what is saved of them, are still good
            raise RunError(
                f"the gradient is not finite at step {step + 1} (loss {float(loss.detach()):g})",
                "a finite loss",
                "lower train.lr, or set train.precision=fp32; --resume goes on from the last checkpoint",
            )
        optimiser.step()
        optimiser.zero_grad()
    session.losses.append(loss.detach())
    session.schedule.step += 1
    decay = min(config.ema, session.schedule.step / (session.schedule.step + 9))
    average_into(session.ema, session.objective.kept.state_dict(), decay)
    session.numbers |= session.objective.after_update(session.schedule.step, session.schedule.total)


@torch.no_grad()
def average_into(ema: Mapping[str, Tensor], weights: Mapping[str, Tensor], decay: float) -> None:
    """Move averages in place: `decay` of what they were, the rest from the weights; counts are taken as they are."""
    real = [name for name, tensor in ema.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([ema[name] for name in real], [weights[name] for name in real], 1 - decay)
    for name in ema.keys() - set(real):
        ema[name].copy_(weights[name])


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.ndim == 5:
        return tensor.to(device, memory_format=torch.channels_last_3d)
    return tensor.to(device)


def _plan(fabric: Fabric, session: Session, config: TrainConfig, progress: Progress) -> None:
    """Turn a time budget into steps: once after a first measurement, again after each validation."""
    schedule = session.schedule
    # all processes plan after the same step
    if schedule.budget is not None and schedule.total is None and _any_process(fabric, wanted=schedule.pace_is_known()):
        pace = schedule.seconds_per_step
        schedule.expect_validations(config.validations)
        _replan(fabric, session, config.validations, pace)
    progress.update(schedule.step, schedule.total)


def _replan(fabric: Fabric, session: Session, validations_left: int, pace: float) -> None:
    schedule = session.schedule
    schedule.fit_to_budget(pace, validations_left)
    # every process must stop at the same step, so process 0's clock decides
    schedule.total = fabric.broadcast(schedule.total)
    if fabric.global_rank == 0:
        session.journal.log(
            kind="event", event="plan", step=schedule.step, total=schedule.total, elapsed=round(schedule.elapsed, 2)
        )


def _validate(fabric: Fabric, run: Run, session: Session, validate: Validate) -> Run:
    started = time.monotonic()
    schedule = session.schedule
    pace = schedule.seconds_per_step
    result: dict[str, Any] = {}
    if fabric.global_rank == 0:
        result = validate(_averaged(session, fabric.device))
        session.journal.log(kind="validation", step=schedule.step, elapsed=round(schedule.elapsed, 2), **result)
        if result["score"] <= session.best:
            session.best = float(result["score"])
            # weights and the decoding that was calibrated for them are one file: they cannot come apart
            weights = session.objective.exported(session.ema)
            about = {"step": schedule.step, "calibration": result["calibration"]}
            if patch := encoder_patch(run):
                about["patch"] = list(patch)  # no shape tells it, and files are moved without their run
            write_tensors(run.path / WEIGHTS, weights, about)
            run = run.updated(best={k: v for k, v in result.items() if k not in DRAWN} | {"step": schedule.step})
        if warned := _warnings(session.objective):
            run = run.updated(warnings=warned)
    session.objective.judged(fabric.broadcast(result))
    session.validations += 1
    schedule.validated_step = schedule.step
    seconds = time.monotonic() - started
    schedule.elapsed += seconds
    n = session.validations
    schedule.validation_seconds += (seconds - schedule.validation_seconds) / n
    if schedule.budget is not None and not schedule.done:
        _replan(fabric, session, max(0, run.config.train.validations - n), pace)
    schedule.mark()
    if fabric.global_rank == 0:
        _save(run, session)
    fabric.barrier()
    return run


def _warnings(objective: Objective) -> list[str]:
    """What whoever reads of the run must know; see `Objective`."""
    return list(getattr(objective, "warnings", tuple)())


def _averaged(session: Session, device: torch.device) -> nn.Module:
    model = copy.deepcopy(session.objective.kept)
    model.load_state_dict(session.ema)
    return model.to(device).eval()


def _log(session: Session, progress: Progress, *, write: bool) -> None:
    schedule = session.schedule
    loss = float(torch.stack(session.losses).mean())
    session.losses.clear()
    step, elapsed = session.logged_at
    rate = (schedule.step - step) / max(1e-9, schedule.elapsed - elapsed)
    session.logged_at = (schedule.step, schedule.elapsed)
    progress.note(f"loss {loss:.4f}")
    if write:
        session.journal.log(
            kind="train",
            step=schedule.step,
            loss=round(loss, 6),
            lr=schedule.learning_rate(),
            elapsed=round(schedule.elapsed, 2),
            steps_per_second=round(rate, 3),
            **{name: round(value, 6) for name, value in session.numbers.items()},
        )
    session.numbers.clear()


def _save(run: Run, session: Session) -> None:
    extra, values = session.objective.extra_state()
    tensors = {f"model.{n}": t for n, t in session.objective.kept.state_dict().items()}
    tensors |= {f"objective.{n}": t for n, t in _beside(session.objective).items()}
    tensors |= {f"ema.{n}": t for n, t in session.ema.items()}
    tensors |= {f"optimiser.{n}": t for n, t in moments(session.optimisers).items()}
    tensors |= {f"extra.{n}": t for n, t in extra.items()}
    tensors |= {f"loss.{i}": t for i, t in enumerate(session.losses)}
    state = {
        "schedule": session.schedule.state(),
        "best": session.best,
        "validations": session.validations,
        "numbers": session.numbers,
        "extra": values,
    }
    write_tensors(run.path / CHECKPOINT, tensors, state)
    session.saved_at = time.monotonic()


def _restore(run: Run, session: Session) -> None:
    where = str(run.path / CHECKPOINT)
    tensors, state = read_tensors(run.path / CHECKPOINT)
    load_exactly(session.objective.kept, part_of(tensors, "model."), where)
    beside = _beside(session.objective)
    stored = part_of(tensors, "objective.")
    if set(stored) != set(beside):
        raise RunError(
            f"'{where}' holds the state of another objective",
            "the settings that it was made with",
            "resume with the config.yaml that the run was begun with",
        )
    with torch.no_grad():
        for name, tensor in beside.items():
            tensor.copy_(stored[name])
    session.ema = {n: t.to(session.ema[n].device) for n, t in part_of(tensors, "ema.").items()}
    restore_moments(session.optimisers, part_of(tensors, "optimiser."))
    session.objective.load_extra_state(part_of(tensors, "extra."), state["extra"])
    device = next(iter(session.ema.values())).device
    losses = sorted(part_of(tensors, "loss.").items(), key=lambda item: int(item[0]))
    session.losses = [t.to(device) for _, t in losses]
    session.schedule = Schedule(**state["schedule"])
    session.best, session.validations, session.numbers = state["best"], state["validations"], state["numbers"]
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        return
    run.forget_rows_after(session.schedule.step)


def _beside(objective: Objective) -> dict[str, Tensor]:
    """Parameters and buffers of an objective that do not belong to what is kept."""
    return {name: t for name, t in objective.state_dict().items() if not name.startswith("kept.")}
