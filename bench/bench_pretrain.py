"""What masking saves and what deciding costs: a training step of masked modelling, as ratios in one run.

    python bench/bench_pretrain.py
    python bench/bench_pretrain.py --rows multiscale --out docs/results/multiscale_speed.json

Rows: MAE with three quarters hidden; the same network encoding every patch (the least ratio there is: one patch is
hidden); loss-ranked masks; agents; two views of each crop, restored only, and matched too; a U-Net that restores hidden
patches, and one that restores and matches two views. With the peak memory of each. JSON: --out.
On a busy machine look at the seconds of the processor, which other work hardly changes.
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
#: What all rows are compared with; it runs whatever rows are chosen.
BASE = "mae, 75 % hidden"
UNET = "model.channels=[16,48,96,192]"
ROWS = {
    BASE: ("mae", []),
    "mae, every patch encoded": ("mae", ["pretrain.mask.ratio=0.0001"]),
    "loss-ranked": ("mae", ["pretrain.mask.policy=loss_ranked"]),
    "decision_mim": ("decision_mim", []),
    "multiscale, restoring only": (
        "multiscale",
        ["model.name=unetr", "pretrain.multiscale.contrast=0", "pretrain.multiscale.cross=0"],
    ),
    "multiscale": ("multiscale", ["model.name=unetr"]),
    "mae, U-Net": ("mae", ["model.name=resunet", UNET]),
    "multiscale, U-Net": ("multiscale", []),
}


def measure(recipe: str, words: list[str], steps: int, threads: int) -> dict[str, Any]:
    """Seconds of a step (median over rounds of 8, so that rollouts and updates are in) and peak memory."""
    import torch

    from neuropil.config import load_config
    from neuropil.infer.devices import cpu_has_bf16, keep_heap
    from neuropil.registry import PRETEXTS

    keep_heap()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = load_config(recipe, words)
    objective = PRETEXTS.resolve(recipe)(config, (8.0, 8.0, 8.0))
    optimiser = torch.optim.AdamW(objective.kept.parameters(), lr=1e-3, fused=True)
    size = torch.full((config.train.batch, 3), 8.0)
    image = torch.rand(config.train.batch, 1, 64, 64, 64)
    views = {name: torch.rand_like(image) for name in objective.views()}
    rounds, busy, done = [], [], 0
    for number in range(steps // 8 + 1):
        started, spent = time.perf_counter(), time.process_time()
        for _ in range(8):
            with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
                index = torch.arange(len(image)) + done
                loss = objective({"image": image, **views, "voxel_size": size, "index": index})
            loss["network"].backward()
            torch.nn.utils.clip_grad_norm_(objective.kept.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            done += 1
            objective.after_update(done, steps)
        if number:
            rounds.append((time.perf_counter() - started) / 8)
            busy.append((time.process_time() - spent) / 8)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    step, mean = statistics.median(rounds), statistics.fmean(rounds)
    return {
        "step_s": round(step, 4),
        "mean_step_s": round(mean, 4),
        "processor_s": round(statistics.fmean(busy), 4),
        "peak_memory_gb": round(memory, 2),
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rows", nargs="*", default=[""], help="beginnings of names; all when empty")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    from neuropil.versions import versions

    rows = {}
    for name, (recipe, words) in ROWS.items():
        if name != BASE and not name.startswith(tuple(arguments.rows)):
            continue
        # a process each, so that memory is its own
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows[name] = pool.apply(measure, (recipe, words, arguments.steps, arguments.threads))
        print(f"{name:28} {rows[name]}", flush=True)
    base = rows[BASE]
    ratios = {name: round(row["mean_step_s"] / base["mean_step_s"], 3) for name, row in rows.items()}
    busy = {name: round(row["processor_s"] / base["processor_s"], 3) for name, row in rows.items()}
    print("relative to MAE:", ratios)
    print("processor, relative to MAE:", busy)
    chosen = "" if arguments.rows == [""] else f" --rows {' '.join(repr(r) for r in arguments.rows)}"
    chosen += "" if arguments.out == RESULT else f" --out {arguments.out}"
    command = f"python bench/bench_pretrain.py --steps {arguments.steps} --threads {arguments.threads}{chosen}"
    found = {
        "command": command,
        "cores": os.cpu_count(),
        "versions": versions(),
        "rows": rows,
        "relative_to_mae": ratios,
        "processor_relative_to_mae": busy,
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
