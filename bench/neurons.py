"""Neurons on real data: train, segment and score over several seeds; the table of docs/results/neurons.md.

    NEUROPIL_DATA=... python bench/neurons.py fib25 --budget 40m --seeds 0 1 2
    NEUROPIL_DATA=... python bench/neurons.py fib25_cross --budget 40m --seeds 0
    NEUROPIL_DATA=... python bench/neurons.py isbi2012 --budget 20m --seeds 0 1 2
    python bench/neurons.py table

Resumable: runs lie under runs/bench, finished seeds are kept in docs/results/neurons_<experiment>.json. The threshold
of each run is calibrated on slabs held back of its training volumes; the test volume is opened only to be scored.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from neuropil import api, open_volume
from neuropil.training.checkpoint import Run
from neuropil.versions import versions
from neuropil.volume import Volume, require_kind

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SHOWN = ("voi_split", "voi_merge", "voi_sum", "arand")


@dataclass(frozen=True)
class Experiment:
    """Training pairs, the test pair, and what else is scored on it for comparison."""

    train: list[tuple[Volume, Volume]]
    test: tuple[Volume, Volume]
    peers: dict[str, Volume]


def _volume(path: str, kind: str) -> Volume:
    return require_kind(open_volume(f"{os.environ['NEUROPIL_DATA']}/{path}"), kind)


def _pair(path: str, part: str = "") -> tuple[Volume, Volume]:
    return _volume(f"{path}:raw{part}", "image"), _volume(f"{path}:labels{part}", "labels")


def fib25() -> Experiment:
    """Both cubes for training; the developer volume, which shares no voxel with them, for the test."""
    pairs = [_pair("fib25/trvol_250_1.h5"), _pair("fib25/trvol_250_2.h5")]
    return Experiment(pairs, _pair("fib25/devtest_250x190x300.h5"), {})


def fib25_cross() -> Experiment:
    """Cube 2 alone for training; cube 1 for the test, beside the published flood-filling result there."""
    ffn = _volume("fib25/trvol_250_1_ffn_baseline.h5:ffn_segmentation", "labels")
    return Experiment([_pair("fib25/trvol_250_2.h5")], _pair("fib25/trvol_250_1.h5"), {"published FFN": ffn})


def isbi2012() -> Experiment:
    """Sections 0-15 for training, 16-19 for the test (50 x 4 x 4 nm)."""
    train, test = (_pair("isbi2012/dev_z00_19.h5", f"[{part}]") for part in ("0:16", "16:20"))
    return Experiment([train], test, {})


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    "fib25": fib25,
    "fib25_cross": fib25_cross,
    "isbi2012": isbi2012,
}


def run_seed(name: str, experiment: Experiment, seed: int, budget: float, words: list[str]) -> dict[str, Any]:
    """Train (or go on), segment the test volume, score it."""
    out = ROOT / "runs" / "bench" / f"{name}_s{seed}"
    images, labels = [list(part) for part in zip(*experiment.train, strict=True)]
    if not (out / "run.json").is_file():
        api.train(images, labels, out, budget=budget, set=[f"train.seed={seed}", *words])
    elif Run.open(out).card["status"] != "complete":
        api.train(images, labels, out, resume=True)
    run = Run.open(out)
    image, truth = experiment.test
    started = time.monotonic()
    segmentation = api.segment(out, image)
    seconds = time.monotonic() - started
    rows = run.rows("train")
    found = {
        "seed": seed,
        "budget_seconds": run.config.train.budget,
        "train_seconds": rows[-1]["elapsed"],
        "steps": rows[-1]["step"],
        "threshold": run.calibration["threshold"],
        "validation": {k: run.card["best"][k] for k in SHOWN},
        "segment_seconds": round(seconds, 2),
        "peak_memory_gb": round(psutil.Process().memory_info().rss / 2**30, 2),
        "settings": words,
        "test": {k: v for k, v in api.evaluate(segmentation, truth).items() if isinstance(v, int | float)},
    }
    assigned = np.asarray(segmentation.numpy())
    for peer, volume in experiment.peers.items():
        found[f"peer {peer}"] = {k: v for k, v in api.evaluate(volume, truth).items() if k in SHOWN}
        found[f"peer {peer}, assigned voxels"] = {
            k: v for k, v in api.evaluate(volume, truth, convention="assigned").items() if k in SHOWN
        }
        where = volume.numpy() > 0
        inside = Volume(np.where(where, assigned, 0), truth.voxel_size, kind="labels", name="ours where assigned")
        found[f"ours where {peer} assigned"] = {
            k: v for k, v in api.evaluate(inside, truth, convention="assigned").items() if k in SHOWN
        }
    return found


def table() -> str:
    """Markdown of all results, mean ± sd over seeds."""
    lines = [
        "| experiment | seeds | training | VOI split | VOI merge | VOI sum | ARAND | held-back VOI sum | segment s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in EXPERIMENTS:
        path = RESULTS / f"neurons_{name}.json"
        if not path.is_file():
            continue
        runs = json.loads(path.read_text())["runs"]
        cells = [_spread([r["test"][key] for r in runs]) for key in SHOWN]
        held = _spread([r["validation"]["voi_sum"] for r in runs])
        training = f"{runs[0]['train_seconds'] / 60:.0f} min, {_spread([r['steps'] for r in runs], 0)} steps"
        seconds = _spread([r["segment_seconds"] for r in runs], 1)
        lines.append(f"| {name} | {len(runs)} | {training} | " + " | ".join([*cells, held, seconds]) + " |")
    return "\n".join(lines)


def _spread(values: list[float], digits: int = 3) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "table"])
    parser.add_argument("--budget", default="40m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    if arguments.experiment == "table":
        print(table())
        return
    budget = float(arguments.budget.rstrip("m")) * 60
    path = RESULTS / f"neurons_{arguments.experiment}.json"
    known = json.loads(path.read_text())["runs"] if path.is_file() else []
    experiment = EXPERIMENTS[arguments.experiment]()
    for seed in arguments.seeds:
        if any(r["seed"] == seed for r in known):
            continue
        known.append(run_seed(arguments.experiment, experiment, seed, budget, arguments.set))
        command = f"python bench/neurons.py {arguments.experiment} --budget {arguments.budget} --seeds " + " ".join(
            str(r["seed"]) for r in known
        )
        machine = {"cores": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 2**30)}
        path.write_text(
            json.dumps({"command": command, "machine": machine, "versions": versions(), "runs": known}, indent=1) + "\n"
        )
        print(json.dumps(known[-1], indent=1))
    print(table())


if __name__ == "__main__":
    main()
