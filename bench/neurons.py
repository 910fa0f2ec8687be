"""Neurons on real data: train, segment and score over several seeds; the table of docs/results/neurons.md.

    NEUROPIL_DATA=... python bench/neurons.py fib25 --budget 40m --seeds 0 1 2
    NEUROPIL_DATA=... python bench/neurons.py fib25_cross --budget 40m --seeds 0
    NEUROPIL_DATA=... python bench/neurons.py isbi2012 --budget 20m --seeds 0 1 2
    NEUROPIL_DATA=... python bench/neurons.py fib25 --steps 12000 --seeds 0 --set train.threads=1
    python bench/neurons.py table

Resumable: runs lie under runs/bench, finished seeds are kept in docs/results/neurons_<experiment>_<budget>.json. With
--steps the machine may be busy: 12 000 are what 40 minutes on two idle cores make on FIB-25. The
threshold of each run is calibrated on slabs held back of its training volumes; the test volume is opened only to be
scored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuropil import api, open_volume
from neuropil.outputs import peak_memory
from neuropil.versions import versions
from neuropil.volume import Volume, require_kind
from runs import ROOT, keep, kept, length, machine, numbers, parser, segmented, spread, trained, training, with_steps

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


def run_seed(
    title: str, experiment: Experiment, seed: int, how_long: dict[str, Any], words: list[str]
) -> dict[str, Any]:
    """Train (or go on), segment the test volume, score it."""
    out = ROOT / "runs" / "bench" / f"{title}_s{seed}"
    run = trained(out, experiment.train, **how_long, set=[f"train.seed={seed}", *words])
    image, truth = experiment.test
    segmentation, account = segmented(run, image)
    found = {
        "seed": seed,
        **account,
        "threshold": run.calibration["threshold"],
        "validation": numbers(run.card["best"], SHOWN),
        "peak_memory_gb": round(peak_memory() / 2**30, 2),
        "settings": words,
        "test": numbers(api.evaluate(segmentation, truth)),
    }
    assigned = np.asarray(segmentation.numpy())
    for peer, volume in experiment.peers.items():
        inside = np.where(volume.numpy() > 0, assigned, 0)
        ours = Volume(inside, truth.voxel_size, kind="labels", name="ours where assigned")
        for title, labels, how in (
            (f"peer {peer}", volume, "neuropil"),
            (f"peer {peer}, assigned voxels", volume, "assigned"),
            (f"ours where {peer} assigned", ours, "assigned"),
        ):
            found[title] = numbers(api.evaluate(labels, truth, convention=how), SHOWN)
    return found


def table() -> str:
    """Markdown of all results, mean ± sd over seeds."""
    lines = [
        "| experiment | seeds | training | VOI split | VOI merge | VOI sum | ARAND | held-back VOI sum | segment s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("neurons_*_*.json")):
        name = path.stem.removeprefix("neurons_").rpartition("_")[0]
        runs = kept(path)["runs"]
        cells = [spread([r["test"][key] for r in runs]) for key in SHOWN]
        held = spread([r["validation"]["voi_sum"] for r in runs])
        seconds = spread([r["segment_seconds"] for r in runs], 1)
        lines.append(f"| {name} | {len(runs)} | {training(runs)} | " + " | ".join([*cells, held, seconds]) + " |")
    return "\n".join(lines)


def main() -> None:
    """See the module's docstring."""
    asked = with_steps(parser(__doc__, EXPERIMENTS, "40m")).parse_args()
    if asked.experiment != "table":
        word, how_long = length(asked)
        title = f"{asked.experiment}_{word}"
        path = RESULTS / f"neurons_{title}.json"
        runs = kept(path).get("runs", [])
        experiment = EXPERIMENTS[asked.experiment]()
        for seed in asked.seeds:
            if any(r["seed"] == seed for r in runs):
                continue
            runs.append(run_seed(title, experiment, seed, how_long, asked.set))
            seeds = " ".join(str(r["seed"]) for r in runs)
            given = f"--{next(iter(how_long))} {asked.steps or asked.budget}"
            command = f"python bench/neurons.py {asked.experiment} {given} --seeds {seeds}"
            keep({"command": command, "machine": machine(), "versions": versions(), "runs": runs}, path)
            print(json.dumps(runs[-1], indent=1))
    print(table())


if __name__ == "__main__":
    main()
