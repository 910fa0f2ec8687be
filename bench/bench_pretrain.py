"""What masking saves and what deciding costs: a training step of masked modelling, as ratios in one run.

    python bench/bench_pretrain.py
    python bench/bench_pretrain.py --rows multiscale --out docs/results/multiscale_speed.json

Rows: MAE with three quarters hidden; the same network encoding every patch (the least ratio there is: one patch is
hidden); loss-ranked masks; agents; two views of each crop, restored only, and matched too; a U-Net that restores hidden
patches, and one that restores and matches two views. With the peak memory of each. JSON: --out. Rows take turns.
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
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parents[1] / "docs" / "results" / "pretrain_speed.json"
#: What all rows are compared with; it runs whatever rows are chosen.
BASE = "mae, 75 % hidden"
UNET = "model.channels=[16,48,96,192]"
#: Steps that a row takes before the next one's turn, so that rollouts and updates are in.
ROUND = 8
ROWS: dict[str, tuple[str, list[str]]] = {
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


def worker(line: Connection, recipe: str, words: list[str], steps: int, threads: int) -> None:
    """Take eight steps whenever asked; answer with seconds of the clock and of the processor, at last with GB held."""
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
    done = 0
    while line.recv():
        started, spent = time.perf_counter(), time.process_time()
        for _ in range(ROUND):
            with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
                index = torch.arange(len(image)) + done
                loss = objective({"image": image, **views, "voxel_size": size, "index": index})
            loss["network"].backward()
            torch.nn.utils.clip_grad_norm_(objective.kept.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            done += 1
            objective.after_update(done, steps)
        line.send((time.perf_counter() - started, time.process_time() - spent))
    line.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def measured(rows: dict[str, tuple[str, list[str]]], steps: int, threads: int) -> dict[str, dict[str, Any]]:
    """Seconds of a step and peak memory of each row; the rows take turns, as a machine may slow down for a while."""
    context = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    for name, (recipe, words) in rows.items():
        lines[name], theirs = context.Pipe()
        context.Process(target=worker, args=(theirs, recipe, words, steps, threads), daemon=True).start()
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for number in range(steps // ROUND + 1):
        for name, line in lines.items():
            line.send("on")
            spent = line.recv()
            # in the first round kernels are made and memory is claimed
            took[name] += [spent] if number else []
    found = {}
    for name, line in lines.items():
        line.send("")
        clock, busy = ([row[i] / ROUND for row in took[name]] for i in (0, 1))
        found[name] = {
            "step_s": round(statistics.median(clock), 4),
            "mean_step_s": round(statistics.fmean(clock), 4),
            "processor_s": round(statistics.fmean(busy), 4),
            "peak_memory_gb": round(line.recv(), 2),
        }
        print(f"{name:28} {found[name]}", flush=True)
    return found


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rows", nargs="*", default=[""], help="beginnings of names; all when empty")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    from neuropil.versions import versions

    wanted = tuple(arguments.rows)
    chosen_rows = {name: row for name, row in ROWS.items() if name == BASE or name.startswith(wanted)}
    rows = measured(chosen_rows, arguments.steps, arguments.threads)
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
