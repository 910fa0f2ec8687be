"""Where the numbers of a run go beside its metrics.jsonl, which is always written: TensorBoard, Weights & Biases.

A sink is made by a function of the table SINKS, ``(run directory, settings, first step) -> Sink``, and is told every
row that `metrics.jsonl` gets. After a resume the rows from the first step on are told again.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from neuropil.config import Config
from neuropil.errors import ConfigError
from neuropil.registry import SINKS
from neuropil.training.checkpoint import Run, write_atomic

#: Package that a sink of ours needs, and the extra that brings it.
_NEEDS = {"tensorboard": ("tensorboard", "tensorboard"), "wandb": ("wandb", "wandb")}
#: Of a row, what places it and is no number to draw.
_PLACE = ("kind", "event", "step")
#: Folder or file of a run directory that a sink writes to.
TENSORBOARD, WANDB = "tensorboard", "wandb.json"


class Sink(Protocol):
    """Takes rows of numbers."""

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take one row, as `Run.log` writes it: kind, step, and values."""

    def close(self) -> None:
        """Write what is left."""


class Journal:
    """What a training loop logs to: the run's own rows, and whatever else was asked for.

    Parameters
    ----------
    run
        Its rows are written first: they are what resuming and reports read.
    sinks
        Told afterwards.
    """

    def __init__(self, run: Run, sinks: Sequence[Sink] = ()) -> None:
        self._run, self._sinks = run, tuple(sinks)

    def log(self, **row: Any) -> None:
        """Append one row everywhere."""
        self._run.log(**row)
        for sink in self._sinks:
            sink(row)

    def close(self) -> None:
        """Close all sinks."""
        for sink in self._sinks:
            sink.close()


def begun(run: Run, first_step: int) -> Journal:
    """The journal of a session that begins after `first_step` steps."""
    return Journal(run, [SINKS.resolve(name)(run.path, run.config, first_step) for name in run.config.train.sinks])


def check_sinks(config: Config) -> None:
    """Meet a sink that is unknown or not installed before a run begins.

    Raises
    ------
    ConfigError
        Saying how to install what is missing.
    """
    for name in config.train.sinks:
        SINKS.resolve(name)
        if name in _NEEDS:
            _required(name)


def _required(name: str) -> Any:
    package, extra = _NEEDS[name]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"train.sinks = {name}, but the package '{package}' cannot be imported ({error})",
            f"an installed {package}",
            f"pip install 'neuropil[{extra}]', or leave out --set train.sinks=[{name}]",
        ) from None


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a row by "kind/name"; tables such as the sweep stay in metrics.jsonl.

    Examples
    --------
    >>> scalars({"kind": "train", "step": 3, "loss": 0.5, "sweep": []})
    {'train/loss': 0.5}
    """
    kind = row.get("event") or row.get("kind", "row")
    return {
        f"{kind}/{name}": float(value)
        for name, value in row.items()
        if name not in _PLACE and isinstance(value, int | float) and math.isfinite(value)
    }


class TensorBoard:
    """Scalars for TensorBoard, in the run's folder `tensorboard`: `tensorboard --logdir runs`."""

    def __init__(self, folder: Path, config: Config, first_step: int) -> None:
        _required("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        # what an interrupted session wrote beyond its checkpoint is forgotten, as in metrics.jsonl
        self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=first_step + 1)  # type: ignore[no-untyped-call]

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take one row."""
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, int(row["step"]))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()  # type: ignore[no-untyped-call]


class WandB:
    """Scalars for Weights & Biases; its own variables (WANDB_PROJECT, WANDB_MODE=offline, ...) say where to.

    A resumed run goes on as the same run there, by the id that lies in the run directory.
    """

    def __init__(self, folder: Path, config: Config, first_step: int) -> None:
        wandb = _required("wandb")
        note = folder / WANDB
        known = json.loads(note.read_text())["id"] if note.is_file() else None
        self._run = wandb.init(
            id=known,
            name=folder.name,
            dir=str(folder),
            resume="allow",
            config=config.model_dump(mode="json"),
        )
        write_atomic(note, (json.dumps({"id": self._run.id}) + "\n").encode())
        # by our steps, not its own, which may never go back as a resumed run does
        self._run.define_metric("*", step_metric="step")

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take one row."""
        if values := scalars(row):
            self._run.log({**values, "step": int(row["step"])})

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()
