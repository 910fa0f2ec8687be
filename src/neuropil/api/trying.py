"""The verbs that try the whole: demo, bench, doctor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neuropil.api.learning import pretrain, train
from neuropil.api.looking import evaluate
from neuropil.api.segmenting import segment
from neuropil.errors import ConfigError
from neuropil.inputs import seconds


def bench(
    study: str, design: str | os.PathLike[str], out: str | os.PathLike[str], *, shard: str | None = None
) -> dict[str, Any]:
    """Run a controlled comparison, or what is missing of it, and write its table and plot.

    Parameters
    ----------
    study
        "label-efficiency": ways of pretraining by shares of labels by seeds.
    design
        A YAML file; see `neuropil.studies.design.Design`.
    out
        Folder of runs and results; what is there is not run again.
    shard
        "i/n": only every n-th training, for several machines that share the folder.
    """
    from neuropil.studies.design import read_design
    from neuropil.studies.run import run_study

    if study != "label-efficiency":
        raise ConfigError(f"study '{study}'", "label-efficiency")
    verbs: Any = {"pretrain": pretrain, "train": train, "segment": segment, "evaluate": evaluate}
    return run_study(read_design(design), out, verbs, shard=shard)


def doctor() -> dict[str, Any]:
    """Say what this installation has: versions, devices, memory, optional parts, and how to get what is missing."""
    from neuropil.doctor import examine

    return examine()


def demo(out: str | os.PathLike[str] = "demo", *, budget: float | str = 270.0, seed: int = 0) -> dict[str, Any]:
    """The main job on a phantom: make tissue, train, segment an unseen volume, score it, and write a report.

    Parameters
    ----------
    out
        A new folder.
    budget
        Training time, in seconds or as "4m".

    Returns
    -------
    dict
        The scores, and "report": where the page lies.
    """
    from neuropil.demo import run_demo

    return run_demo(Path(out), budget=seconds(budget), seed=seed)
