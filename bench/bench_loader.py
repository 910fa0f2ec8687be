"""Crops a second of the training loader, beside what a training step needs.

    python bench/bench_loader.py [--step-ms 120] [--seconds 8] [--out docs/results/loader.json]

Without --step-ms the step of the default network is measured here (forward and backward of one crop, all cores).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.config import AugmentConfig, Config, DataConfig
from neuropil.data.batches import Order, make_loader
from neuropil.data.sampling import Sampler, prepare
from neuropil.data.targets import AffinityTargets
from neuropil.geometry import Float3, Int3
from neuropil.infer.devices import cpu_has_bf16
from neuropil.plan import default_offsets
from neuropil.volume import Volume

CASES: list[tuple[str, Float3, Int3, Int3]] = [
    ("isotropic 8 nm", (8.0, 8.0, 8.0), (64, 64, 64), (160, 160, 160)),
    ("sections 40×4×4 nm", (40.0, 4.0, 4.0), (24, 160, 160), (40, 400, 400)),
]
SETS = {
    "none": AugmentConfig(
        flip=False,
        rotate90=False,
        **dict.fromkeys(("elastic", "slip", "shift", "noise", "intensity", "blur"), 0),
        **dict.fromkeys(("missing_section", "low_contrast_section", "defocus_section", "intensity_section"), 0),
    ),
    "default": AugmentConfig(),
    "everything": AugmentConfig(**dict.fromkeys(("elastic", "rotate", "rescale", "blur", "cut_blur", "noise"), 1)),
}


def pair(voxel_size: Float3, shape: Int3) -> tuple[Volume, Volume]:
    rng = np.random.default_rng(0)
    small = rng.integers(1, 400, [-(-n // 10) for n in shape])
    labels = small.repeat(10, 0).repeat(10, 1).repeat(10, 2)[: shape[0], : shape[1], : shape[2]]
    image = rng.integers(0, 255, shape).astype(np.uint8)
    return Volume(image, voxel_size, kind="image"), Volume(labels.astype(np.uint64), voxel_size, kind="labels")


def cpu_ms(sampler: Sampler, seconds: float) -> tuple[float, float]:
    """Mean CPU time and wall time of one sample in ms, made in this thread."""
    for i in range(8):
        sampler(10_000 + i)
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        sampler(done)
        done += 1
    return (time.process_time() - cpu) / done * 1e3, (time.perf_counter() - wall) / done * 1e3


def crops_per_second(sampler: Sampler, config: DataConfig, seconds: float) -> float:
    loader = iter(make_loader(sampler, Order(1), config))
    for _ in range(4):
        next(loader)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(loader)
        done += 1
    return done / (time.perf_counter() - start)


def step_ms(voxel_size: Float3, crop: Int3, loader: Any = None, steps: int = 5) -> float:
    """One optimiser step of the default network on one crop; with a loader, waiting for its batches included."""
    import torch

    from neuropil.models import build_model

    offsets = default_offsets(voxel_size)
    model = build_model(Config().model, voxel_size, len(offsets))
    optimiser = torch.optim.AdamW(model.parameters())
    fixed = {"image": torch.rand(1, 1, *crop), "affinities": torch.zeros(1, len(offsets), *crop, dtype=torch.uint8)}
    start = 0.0
    for step in range(steps + 1):
        if step == 1:
            start = time.perf_counter()
        batch = fixed if loader is None else next(loader)
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(batch["image"]).float(), batch["affinities"].float()
            )
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return (time.perf_counter() - start) / steps * 1e3


def measured(given: float | None, seconds: float) -> list[dict[str, Any]]:
    rows = []
    for name, voxel_size, crop, shape in CASES:
        offsets = default_offsets(voxel_size)
        need = given if given is not None else step_ms(voxel_size, crop)
        for set_name, augment in SETS.items():
            config = DataConfig(augment=augment)
            targets = AffinityTargets.of(offsets, config, voxel_size)
            sampler = Sampler(prepare([pair(voxel_size, shape)], config), crop, targets, config, 0)
            cpu, wall = cpu_ms(sampler, seconds / 4)
            row = {"case": name, "crop": crop, "augment": set_name, "cpu_ms": cpu, "wall_ms": wall, "step_ms": need}
            for workers, kind in ((1, "thread"), (2, "thread"), (1, "process"), (2, "process")):
                chosen = config.model_copy(update={"workers": workers, "worker_kind": kind})
                row[f"{workers} {kind}"] = crops_per_second(sampler, chosen, seconds / 4)
            row["ratio_one_thread"] = row["1 thread"] * need / 1e3
            rows.append(row)
        if given is None:
            for kind in ("thread", "process"):
                chosen = DataConfig(workers=1, worker_kind=kind)
                targets = AffinityTargets.of(offsets, chosen, voxel_size)
                sampler = Sampler(prepare([pair(voxel_size, shape)], chosen), crop, targets, chosen, 0)
                loader = iter(make_loader(sampler, Order(1), chosen))
                rows.append(
                    {
                        "case": name,
                        "step_ms_with_loader": step_ms(voxel_size, crop, loader),
                        "kind": kind,
                        "step_ms": need,
                    }
                )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'case':20} {'augment':12} {'CPU ms':>7} {'1 thread/s':>11} {'2 thr.':>7} {'1 proc.':>8} {'2 proc.':>8} "
        f"{'step ms':>8} {'× need':>7}"
    )
    for r in rows:
        if "augment" in r:
            print(
                f"{r['case']:20} {r['augment']:12} {r['cpu_ms']:7.1f} {r['1 thread']:11.1f} {r['2 thread']:7.1f} "
                f"{r['1 process']:8.1f} {r['2 process']:8.1f} {r['step_ms']:8.0f} {r['ratio_one_thread']:7.1f}"
            )
        else:
            fed = f"{r['step_ms_with_loader']:.0f} ms fed by one {r['kind']}"
            print(f"{r['case']:20} step {r['step_ms']:.0f} ms alone, {fed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-ms", type=float, default=None, help="what one training step on one crop takes")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each row")
    parser.add_argument("--out", type=Path, default=Path("docs/results/loader.json"))
    arguments = parser.parse_args()
    rows = measured(arguments.step_ms, arguments.seconds)
    show(rows)
    result = {
        "command": "python bench/bench_loader.py " + " ".join(sys.argv[1:]),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {p: metadata.version(p) for p in ("numpy", "numba", "torch", "neuropil")},
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
