"""Training step and inference of our `unetr` against a reference UNETR of 18 M parameters, in one run.

    python bench/bench_unetr.py

Both see crops of 32 x 160 x 160 at 40 x 4 x 4 nm; their transformers have width 192, depth 6 and patch 4 x 16 x 16. The
reference runs as published (fp32) and under the precision and memory format that ours uses. Also measured: what the
transformer alone costs when it encodes a quarter of its tokens, as masked modelling does. Writes
docs/results/unetr_speed.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bench_speed import VOXELS, measure, seconds
from neuropil.config import load_config
from neuropil.infer.devices import cpu_has_bf16, keep_heap
from neuropil.models import build_encoder, build_model
from neuropil.versions import versions
from reference_unetr import CROP, ReferenceUNETR

RESULT = Path(__file__).parents[1] / "docs" / "results" / "unetr_speed.json"
VOXEL_SIZE = (40.0, 4.0, 4.0)
OFFSETS = 9
OURS, PEERS = "unetr, standardised, bf16", ("UNETR, fp32 (as published)", "UNETR, bf16")


def ours(norm: str) -> nn.Module:
    """Our network at its default size."""
    config = load_config("em_neurons", ["model.name=unetr", f"model.norm={norm}"]).model
    return build_model(config, VOXEL_SIZE, OFFSETS)


def encoding(share: float) -> float:
    """Seconds of forward and backward through the transformer alone, on a share of the tokens."""
    encoder = build_encoder(load_config("em_neurons", ["model.encoder=vit3d"]).model, VOXEL_SIZE)
    x = torch.randn(1, 1, *CROP)
    z, y, x_ = encoder.grid(CROP)  # type: ignore[operator]
    count = z * y * x_
    keep = torch.randperm(count)[: round(share * count)][None]

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
            tokens = encoder.encode(x, keep)  # type: ignore[operator]
        tokens.square().mean().backward()
        encoder.zero_grad()

    return seconds(step, 10)


def main() -> None:
    """Measure, print the table, write the JSON."""
    keep_heap()
    rows = {}
    nets: dict[str, tuple[Callable[[], nn.Module], int, bool, int]] = {
        OURS: (lambda: ours("standardised"), OFFSETS, True, 5),
        "unetr, group, bf16": (lambda: ours("group"), OFFSETS, True, 3),
        "unetr, standardised, fp32": (lambda: ours("standardised"), OFFSETS, False, 2),
        PEERS[1]: (ReferenceUNETR, 3, True, 2),
        PEERS[0]: (ReferenceUNETR, 3, False, 1),
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
        f"{what} vs {peer}": rows[peer][f"{what}_s"] / rows[OURS][f"{what}_s"]
        for peer in PEERS
        for what in ("train_step", "inference")
    }
    for name, ratio in ratios.items():
        print(f"{name:45} {ratio:6.1f} x")
    encoder = {"all_s": encoding(1.0), "quarter_s": encoding(0.25)}
    print(f"transformer alone: all tokens {encoder['all_s']:.3f} s, a quarter of them {encoder['quarter_s']:.3f} s")
    facts = {"crop": CROP, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "versions": versions()}
    result = {"command": "python bench/bench_unetr.py", **facts, "rows": rows, "ratios": ratios, "encoder": encoder}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
