"""Two choices of the networks on this machine: no norm layers, and attention in bf16 by two matrix products.

    python bench/bench_layers.py

Training steps of `resunet` on one crop of 64³ by norm, and forward + backward of attention by kernel; medians.
JSON: docs/results/layers_speed.json.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from neuropil.infer.devices import keep_heap
from neuropil.models.resunet import ResUNet
from neuropil.models.transformer import attention
from neuropil.tasks.losses import affinity_loss
from neuropil.versions import versions

RESULT = Path(__file__).parents[1] / "docs" / "results" / "layers_speed.json"
CHANNELS = (16, 32, 64, 128)
#: Crops, heads, tokens, width of a head.
SHAPES = ((4, 6, 128, 32), (4, 6, 512, 32), (1, 6, 800, 32))


def milliseconds(work: Callable[[], None], repeats: int) -> float:
    """Median time of some work after three tries that do not count."""
    times = []
    for _ in range(repeats + 3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return round(1000 * statistics.median(times[3:]), 2)


def step_of(kind: str) -> float:
    """A training step of a network with norms of some kind."""
    torch.manual_seed(0)
    net = ResUNet((8, 8, 8), 9, CHANNELS, blocks=1, norm_kind=kind).to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    image = torch.randn(1, 1, 64, 64, 64)
    target = (torch.rand(1, 9, 64, 64, 64) > 0.2).to(torch.uint8).to(memory_format=torch.channels_last_3d)

    def work() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(image)
        affinity_loss(logits, target, torch.ones_like(target), kind="bce", balance=True, dice_weight=0.0).backward()
        optimiser.step()
        optimiser.zero_grad()

    return milliseconds(work, 9)


def attention_of(kernel: Callable[..., torch.Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> float:
    """Forward and backward of attention."""
    q, k, v = (torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3))
    return milliseconds(lambda: kernel(q, k, v).sum().backward(), 7)


def main() -> None:
    """See the module's docstring."""
    keep_heap()
    norms = {kind: step_of(kind) for kind in ("group", "standardised")}
    print("training step, ms:", norms, f"ratio {norms['group'] / norms['standardised']:.2f}", flush=True)
    rows = {}
    for shape in SHAPES:
        fused = attention_of(F.scaled_dot_product_attention, shape, torch.bfloat16)
        ours = attention_of(attention, shape, torch.bfloat16)
        rows["x".join(map(str, shape))] = {"fused_ms": fused, "ours_ms": ours, "ratio": round(fused / ours, 2)}
        print("attention", shape, rows["x".join(map(str, shape))], flush=True)
    found = {"command": "python bench/bench_layers.py", "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    found |= {"versions": versions(), "step_ms": norms, "attention_bf16": rows}
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
