"""Training step and inference of `resunet` against a reference UNETR of 18 M parameters, in one run.

    python bench/bench_speed.py

Both networks see crops of 32 x 160 x 160 at 40 x 4 x 4 nm. The UNETR runs as published (fp32, default memory format)
and, for fairness, also under the precision and memory format that ours uses. Writes docs/results/speed.json.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from neuropil.config import load_config
from neuropil.infer.devices import cpu_has_bf16, keep_heap
from neuropil.models import build_model
from neuropil.tasks.losses import affinity_loss
from neuropil.versions import versions
from reference_unetr import CROP, ReferenceUNETR

RESULT = Path(__file__).parents[1] / "docs" / "results" / "speed.json"
VOXELS = CROP[0] * CROP[1] * CROP[2]


def seconds(work: Callable[[], None], repeats: int) -> float:
    """The fastest of some repeats, after one that is not counted."""
    work()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def measure(net: nn.Module, channels: int, *, fast: bool, repeats: int) -> dict[str, float]:
    """Seconds of a training step and of a forward pass."""
    layout = torch.channels_last_3d if fast else torch.contiguous_format
    net = net.to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(1, 1, *CROP).contiguous(memory_format=layout)
    target = (torch.rand(1, channels, *CROP) > 0.3).to(torch.uint8).contiguous(memory_format=layout)
    valid = torch.ones_like(target)
    optimiser = torch.optim.AdamW(net.parameters(), fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast and cpu_has_bf16()):
            logits = net(x)
        affinity_loss(logits, target, valid, kind="bce", balance=True, dice_weight=0).backward()
        optimiser.step()
        optimiser.zero_grad()

    @torch.inference_mode()
    def infer() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast and cpu_has_bf16()):
            net(x)

    return {"train_step_s": seconds(step, repeats), "inference_s": seconds(infer, repeats)}


def main() -> None:
    """Measure, print the table, write the JSON."""
    keep_heap()
    config = load_config("em_neurons").model
    slim = load_config("em_neurons", ["model.channels=[16,32,64,128]"]).model
    rows = {}
    nets: dict[str, tuple[Callable[[], nn.Module], int, bool, int]] = {
        "resunet, bf16": (lambda: build_model(config, (40, 4, 4), 9), 9, True, 5),
        "resunet 16-32-64-128, bf16": (lambda: build_model(slim, (40, 4, 4), 9), 9, True, 5),
        "resunet, fp32": (lambda: build_model(config, (40, 4, 4), 9), 9, False, 2),
        "UNETR, bf16": (ReferenceUNETR, 3, True, 2),
        "UNETR, fp32 (as published)": (ReferenceUNETR, 3, False, 1),
    }
    for name, (make, channels, fast, repeats) in nets.items():
        net = make()
        rows[name] = {
            "parameters": sum(p.numel() for p in net.parameters()),
            **measure(net, channels, fast=fast, repeats=repeats),
        }
        mvx = VOXELS / rows[name]["inference_s"] / 1e6
        print(f"{name:28} step {rows[name]['train_step_s']:7.3f} s   inference {mvx:6.2f} Mvoxel/s", flush=True)
    ratios = {
        f"{ours}: {what} vs {peer}": rows[peer][f"{what}_s"] / rows[ours][f"{what}_s"]
        for ours in ("resunet, bf16", "resunet 16-32-64-128, bf16")
        for peer in ("UNETR, fp32 (as published)", "UNETR, bf16")
        for what in ("train_step", "inference")
    }
    for name, ratio in ratios.items():
        print(f"{name:75} {ratio:6.1f} x")
    RESULT.write_text(
        json.dumps(
            {
                "command": "python bench/bench_speed.py",
                "crop": CROP,
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "versions": versions(),
                "rows": rows,
                "ratios": ratios,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
