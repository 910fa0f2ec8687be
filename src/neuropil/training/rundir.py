"""The run directory of some work: a new one, or the one to go on with after checking that it is the same work."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuropil.config import Config
from neuropil.errors import RunError
from neuropil.training.checkpoint import CARD, Run
from neuropil.versions import versions


def origin(config: Config, parameters: int) -> dict[str, Any]:
    """What every card says of where a run comes from."""
    return {
        "recipe": config.recipe,
        "parameters": parameters,
        "seed": config.train.seed,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": versions(),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
    }


def open_or_create(out: str | os.PathLike[str], config: Config, card: Mapping[str, Any], *, resume: bool) -> Run:
    """Start a run directory, or open the one to resume.

    Parameters
    ----------
    card
        What a new run's card says; of these, "sources" and "init" must be the same when resuming.

    Raises
    ------
    RunError
        If there is a run already and `resume` is not asked for, or it is another run.
    """
    if not resume:
        if (Path(out) / CARD).is_file():
            raise RunError(f"'{out}' already holds a run", "a new directory", "go on with it by --resume")
        return Run.create(out, config, card)
    run = Run.open(out)
    if run.card["sources"] != card["sources"]:
        raise RunError(
            f"'{out}' was trained on {[s['image'] for s in run.card['sources']]}",
            "the same volumes, in the same order, when resuming",
            "give them as before, or start a new run with --init",
        )
    if card["init"] is not None and not _same_weights(card["init"], run.card["init"]):
        raise RunError(
            f"--init with --resume of '{out}'",
            "no --init: the run began with its own first weights",
            "leave out --init, or begin another run without --resume",
        )
    if run.config != config:
        changed = [k for k in config.model_dump() if getattr(config, k) != getattr(run.config, k)]
        raise RunError(
            f"the settings of '{out}' differ in {', '.join(changed)}",
            "the settings of the first session when resuming",
            "leave out --recipe, --set, --budget and --steps: they are read from the run",
        )
    return run


def _same_weights(one: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether first weights are the same, and were taken the same way."""
    return other is not None and all(one[key] == other.get(key) for key in ("path", "sha256", "account"))
