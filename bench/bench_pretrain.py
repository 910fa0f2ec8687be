"""What masking saves and what deciding costs: a training step of masked modelling, as ratios in one run.

    python bench/bench_pretrain.py

Rows: MAE with three quarters hidden; the same network encoding every patch (the least ratio there is: one patch is
hidden); loss-ranked masks; agents. With the peak memory of each. JSON: docs/results/pretrain_speed.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parents[1] / "docs" / "results" / "pretrain_speed.json"
ROWS = {
    "mae, 75 % hidden": ("mae", []),
    "mae, every patch encoded": ("mae", ["pretrain.mask.ratio=0.0001"]),
    "loss-ranked": ("mae", ["pretrain.mask.policy=loss_ranked"]),
    "decision_mim": ("decision_mim", []),
}


def measure(recipe: str, words: list[str], steps: int, threads: int) -> dict[str, Any]:
    """Seconds of a step (median over rounds of 8, so that rollouts and updates are in) and peak memory."""
    import torch

    from neuropil.config import load_config
    from neuropil.infer.devices import keep_heap
    from neuropil.registry import PRETEXTS

    keep_heap()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = load_config(recipe, words)
    objective = PRETEXTS.resolve(recipe)(config, (8.0, 8.0, 8.0))
    optimiser = torch.optim.AdamW(objective.kept.parameters(), lr=1e-3, fused=True)
    size = torch.full((config.train.batch, 3), 8.0)
    image = torch.rand(config.train.batch, 1, 64, 64, 64)
    rounds, done = [], 0
    for number in range(steps // 8 + 1):
        started = time.perf_counter()
        for _ in range(8):
            with torch.autocast("cpu", torch.bfloat16):
                loss = objective({"image": image, "voxel_size": size, "index": torch.arange(len(image)) + done})
            loss["network"].backward()
            torch.nn.utils.clip_grad_norm_(objective.kept.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            done += 1
            objective.after_update(done, steps)
        if number:
            rounds.append((time.perf_counter() - started) / 8)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    step, mean = statistics.median(rounds), statistics.fmean(rounds)
    return {"step_s": round(step, 4), "mean_step_s": round(mean, 4), "peak_memory_gb": round(memory, 2)}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    from neuropil.versions import versions

    rows = {}
    for name, (recipe, words) in ROWS.items():
        # a process each, so that memory is its own
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows[name] = pool.apply(measure, (recipe, words, arguments.steps, arguments.threads))
        print(f"{name:28} {rows[name]}", flush=True)
    base = rows["mae, 75 % hidden"]["mean_step_s"]
    ratios = {name: round(row["mean_step_s"] / base, 3) for name, row in rows.items()}
    print("relative to MAE:", ratios)
    command = f"python bench/bench_pretrain.py --steps {arguments.steps} --threads {arguments.threads}"
    found = {
        "command": command,
        "cores": os.cpu_count(),
        "versions": versions(),
        "rows": rows,
        "relative_to_mae": ratios,
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
