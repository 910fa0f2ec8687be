"""The training loop: draw, step, log, validate, keep; stops and resumes on the very same trajectory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from neuropil.config import TrainConfig
from neuropil.errors import RunError
from neuropil.models import build_model
from neuropil.progress import Progress
from neuropil.training.checkpoint import CHECKPOINT, WEIGHTS, Run, load_exactly, read_tensors, write_tensors
from neuropil.training.interrupt import asked_to_stop
from neuropil.training.losses import affinity_loss
from neuropil.training.schedule import PROBE, Schedule

Batch = dict[str, Tensor]


class Batches(Protocol):
    """Batches in a fixed order, starting at any step."""

    def __call__(self, first_step: int, rank: int, world: int) -> Iterator[Batch]:
        """Batches from `first_step` on, the share of process `rank` of `world`."""


class Validate(Protocol):
    """Scores a network on held-back volumes."""

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """At least "score" (lower is better) and "calibration" (what to store for decoding)."""


@dataclass
class Session:
    """What changes while training; only the loop owns one. `model` is `network` as the engine wraps it."""

    model: nn.Module
    network: nn.Module
    ema: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    best: float = float("inf")
    validations: int = 0
    losses: list[Tensor] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)
    logged_at: tuple[int, float] = (0, 0.0)


def train_loop(fabric: Fabric, run: Run, batches: Batches, validate: Validate, init: str | None) -> bool:
    """Train a run to its end, or from its checkpoint to its end.

    Parameters
    ----------
    run
        A run directory; its checkpoint, if there is one, is continued.
    batches
        Training batches: image (B, 1, Z, Y, X) float, affinities and valid (B, C, Z, Y, X).
    validate
        Called on the averaged weights by process 0, a fixed number of times a run.
    init
        A run directory or a .safetensors file to take the first weights from, all of them.

    Returns
    -------
    bool
        Whether the run came to its end; False after Ctrl-C, when the state has been saved.

    Raises
    ------
    RunError
        If the gradient is not finite.
    """
    session = _start(fabric, run, init)
    config, schedule = run.config.train, session.schedule
    main = fabric.global_rank == 0
    stream = batches(schedule.step, fabric.global_rank, fabric.world_size)
    clock = time.monotonic()
    session.logged_at = (schedule.step, schedule.elapsed)
    with (
        Progress("train", schedule.total, unit="step", done=schedule.step, enabled=main) as progress,
        asked_to_stop() as stop,
    ):
        while not schedule.done:
            _step(fabric, session, next(stream), config)
            now = time.monotonic()
            schedule.elapsed += now - clock
            clock = now
            _plan(fabric, run, session, progress)
            if schedule.step % config.log_every == 0:
                _log(run, session, progress, write=main)
            if _validation_due(session, config):
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


def _start(fabric: Fabric, run: Run, init: str | None) -> Session:
    config = run.config.train
    torch.manual_seed(config.seed)
    if config.threads:
        torch.set_num_threads(config.threads)
    model = build_model(run.config.model, run.voxel_size, len(run.offsets))
    if init:
        load_exactly(model, read_tensors(Path(init))[0], init)
    model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    plain = model.no_decay() if hasattr(model, "no_decay") else set()
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in plain], "weight_decay": config.weight_decay},
        {"params": [p for n, p in model.named_parameters() if n in plain], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.lr, fused=True)
    schedule = Schedule(None if config.budget else config.steps, config.budget, config.warmup, config.lr)
    wrapped, optimiser = fabric.setup(model, optimiser)
    network: nn.Module = wrapped.module  # type: ignore[assignment]
    ema = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    session = Session(wrapped, network, ema, optimiser, schedule)
    if (run.path / CHECKPOINT).is_file():
        _restore(run, session)
    elif fabric.global_rank == 0:
        run.forget_rows_after(0)  # a run that was killed before its first checkpoint begins again
    return session


def _step(fabric: Fabric, session: Session, batch: Batch, config: TrainConfig) -> None:
    rate = session.schedule.learning_rate()
    for group in session.optimiser.param_groups:
        group["lr"] = rate
    image = batch["image"].to(fabric.device, memory_format=torch.channels_last_3d)
    target = batch["affinities"].to(fabric.device, memory_format=torch.channels_last_3d)
    valid = batch["valid"].to(fabric.device, memory_format=torch.channels_last_3d)
    logits = session.model(image)
    loss = affinity_loss(logits, target, valid, kind=config.loss, balance=config.balance, dice_weight=config.dice)
    fabric.backward(loss)
    norm = fabric.clip_gradients(
        session.model,
        session.optimiser,
        max_norm=config.clip,
        error_if_nonfinite=False,  # type: ignore[arg-type]
    )
    if norm is not None and not bool(torch.isfinite(norm)):
        # before the step: the weights, and what is saved of them, are still good
        raise RunError(
            f"the gradient is not finite at step {session.schedule.step + 1} (loss {float(loss.detach()):g})",
            "a finite loss",
            "lower train.lr, or set train.precision=fp32; --resume goes on from the last checkpoint",
        )
    session.optimiser.step()
    session.optimiser.zero_grad()
    session.losses.append(loss.detach())
    session.schedule.step += 1
    decay = min(config.ema, session.schedule.step / (session.schedule.step + 9))
    weights = session.network.state_dict()
    with torch.no_grad():
        torch._foreach_lerp_(list(session.ema.values()), [weights[name] for name in session.ema], 1 - decay)


def _plan(fabric: Fabric, run: Run, session: Session, progress: Progress) -> None:
    """Turn a time budget into steps: once after a first measurement, again after each validation."""
    schedule, config = session.schedule, run.config.train
    if schedule.budget is not None and schedule.total is None and schedule.step >= PROBE:
        if schedule.validation_seconds == 0:
            schedule.validation_seconds = schedule.elapsed / PROBE * 20
        _replan(fabric, run, session, config.validations)
    progress.update(schedule.step, schedule.total)


def _replan(fabric: Fabric, run: Run, session: Session, validations_left: int) -> None:
    schedule = session.schedule
    training = schedule.elapsed - schedule.validation_seconds * session.validations
    schedule.fit_to_budget(training / schedule.step, validations_left)
    # every process must stop at the same step, so process 0's clock decides
    schedule.total = fabric.broadcast(schedule.total)
    if fabric.global_rank == 0:
        run.log(
            kind="event", event="plan", step=schedule.step, total=schedule.total, elapsed=round(schedule.elapsed, 2)
        )


def _validation_due(session: Session, config: TrainConfig) -> bool:
    schedule = session.schedule
    if schedule.total is None:
        return False
    return schedule.done or schedule.step / schedule.total * config.validations >= session.validations + 1


def _validate(fabric: Fabric, run: Run, session: Session, validate: Validate) -> Run:
    started = time.monotonic()
    schedule = session.schedule
    if fabric.global_rank == 0:
        result = validate(_averaged(run, session, fabric.device))
        run.log(kind="validation", step=schedule.step, elapsed=round(schedule.elapsed, 2), **result)
        if result["score"] <= session.best:
            session.best = float(result["score"])
            # weights and the decoding that was calibrated for them are one file: they cannot come apart
            write_tensors(
                run.path / WEIGHTS, session.ema, {"step": schedule.step, "calibration": result["calibration"]}
            )
            run = run.updated(best={k: v for k, v in result.items() if k != "sweep"} | {"step": schedule.step})
    session.validations += 1
    seconds = time.monotonic() - started
    schedule.elapsed += seconds
    n = session.validations
    schedule.validation_seconds += (seconds - schedule.validation_seconds) / n
    if schedule.budget is not None and not schedule.done:
        _replan(fabric, run, session, max(0, run.config.train.validations - n))
    if fabric.global_rank == 0:
        _save(run, session)
    fabric.barrier()
    return run


def _averaged(run: Run, session: Session, device: torch.device) -> nn.Module:
    model = build_model(run.config.model, run.voxel_size, len(run.offsets))
    model.load_state_dict(session.ema)
    return model.to(device).eval()


def _log(run: Run, session: Session, progress: Progress, *, write: bool) -> None:
    schedule = session.schedule
    loss = float(torch.stack(session.losses).mean())
    session.losses.clear()
    step, elapsed = session.logged_at
    rate = (schedule.step - step) / max(1e-9, schedule.elapsed - elapsed)
    session.logged_at = (schedule.step, schedule.elapsed)
    progress.note(f"loss {loss:.4f}")
    if write:
        run.log(
            kind="train",
            step=schedule.step,
            loss=round(loss, 6),
            lr=schedule.learning_rate(),
            elapsed=round(schedule.elapsed, 2),
            steps_per_second=round(rate, 3),
        )


def _save(run: Run, session: Session) -> None:
    tensors = {f"model.{n}": t for n, t in session.network.state_dict().items()}
    tensors |= {f"ema.{n}": t for n, t in session.ema.items()}
    optimiser = session.optimiser.state_dict()["state"]
    tensors |= {f"optimiser.{i}.{k}": torch.as_tensor(t) for i, s in optimiser.items() for k, t in s.items()}
    tensors |= {f"loss.{i}": t for i, t in enumerate(session.losses)}
    tensors["rng"] = torch.get_rng_state()
    state = {
        "schedule": session.schedule.state(),
        "best": session.best,
        "validations": session.validations,
    }
    write_tensors(run.path / CHECKPOINT, tensors, state)
    session.saved_at = time.monotonic()


def _restore(run: Run, session: Session) -> None:
    tensors, state = read_tensors(run.path / CHECKPOINT)
    load_exactly(session.network, _part(tensors, "model."), str(run.path / CHECKPOINT))
    session.ema = {n: t.to(session.ema[n].device) for n, t in _part(tensors, "ema.").items()}
    optimiser = session.optimiser.state_dict()
    parameters = [p for group in session.optimiser.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optimiser.").items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        # the fused optimiser walks parameter and moments by memory address: they must lie in memory alike
        moments.setdefault(int(index), {})[key] = tensor if tensor.ndim == 0 else torch.empty_like(like).copy_(tensor)
    session.optimiser.load_state_dict({**optimiser, "state": moments})
    device = parameters[0].device
    losses = sorted(_part(tensors, "loss.").items(), key=lambda item: int(item[0]))
    session.losses = [t.to(device) for _, t in losses]
    torch.set_rng_state(tensors["rng"])
    session.schedule = Schedule(**state["schedule"])
    session.best, session.validations = state["best"], state["validations"]
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        return
    run.forget_rows_after(session.schedule.step)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
