"""What benchmarks over several seeds share: runs that go on, their account, results kept as they come, and means."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from neuropil import api
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume

ROOT = Path(__file__).parents[1]


def trained(out: Path, pairs: list[tuple[Volume, Volume]], **how: Any) -> Run:
    """The run in a folder, which is begun, gone on with, or found complete; `how` it begins as `api.train` takes it."""
    images, labels = [image for image, _ in pairs], [truth for _, truth in pairs]
    if not (out / "run.json").is_file():
        api.train(images, labels, out, **how)
    elif Run.open(out).card["status"] != "complete":
        api.train(images, labels, out, resume=True)
    return Run.open(out)


def segmented(run: Run, image: Volume) -> tuple[Volume, dict[str, Any]]:
    """Labels of a volume, and what making them and the network took."""
    started = time.monotonic()
    labels = api.segment(run.path, image)
    seconds, last = time.monotonic() - started, run.rows("train")[-1]
    return labels, {
        "budget_seconds": run.config.train.budget,
        "train_seconds": last["elapsed"],
        "steps": last["step"],
        "segment_seconds": round(seconds, 2),
    }


def numbers(scores: dict[str, Any], keys: Iterable[str] | None = None) -> dict[str, float]:
    """Only the scores that are numbers, or some of them."""
    return {k: v for k, v in scores.items() if isinstance(v, int | float) and (keys is None or k in keys)}


def spread(values: list[float], digits: int = 3) -> str:
    """Mean ± sd, or the only value."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def training(rows: list[dict[str, Any]]) -> str:
    """How long networks were trained, for a cell of a table."""
    return f"{rows[0]['train_seconds'] / 60:.0f} min, {spread([r['steps'] for r in rows], 0)} steps"


def machine() -> dict[str, Any]:
    """Cores and memory."""
    return {"cores": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 2**30)}


def kept(path: Path) -> dict[str, Any]:
    """What a file of results holds; nothing where there is none."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def keep(found: dict[str, Any], path: Path) -> None:
    """Write results; who is killed meanwhile keeps the old ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    partial.replace(path)


def parser(doc: str | None, experiments: Iterable[str], budget: str) -> argparse.ArgumentParser:
    """The arguments of a benchmark that trains: an experiment or `table`, --budget, --seeds, --set."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("experiment", choices=[*experiments, "table"])
    made.add_argument("--budget", default=budget)
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--set", action="append", default=[])
    return made


def with_steps(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with --steps beside --budget: the same training however busy the machine is."""
    made.add_argument("--steps", type=int, help="instead of --budget")
    return made


def length(asked: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """How long to train: a word for names of files, and as `api.train` takes it."""
    return (f"{asked.steps}steps", {"steps": asked.steps}) if asked.steps else (asked.budget, {"budget": asked.budget})
