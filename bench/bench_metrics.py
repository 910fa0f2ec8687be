"""Contingency + VOI + ARAND against scikit-image's two calls, in the same run, on the same labels.

    python bench/bench_metrics.py [--repeats 5] [--out docs/results/metrics_speed.json]

Labels are the FIB-25 developer test volume of NEUROPIL_DATA and an over-segmentation of it (every object cut by a
24-voxel lattice, ids shuffled), or Voronoi cells of the same shape when there is no real data; both as uint64.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (250, 190, 300)


def volumes() -> tuple[str, np.ndarray, np.ndarray]:
    """Where the truth came from, truth and prediction, uint64."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices(SHAPE, np.int64)
    path = Path(os.environ.get("NEUROPIL_DATA", "")) / "fib25/devtest_250x190x300.h5"
    if path.is_file():
        import h5py

        with h5py.File(path) as file:
            truth, source = file["labels"][...].astype(np.uint64), f"NEUROPIL_DATA/fib25/{path.name}"
    else:
        from scipy.spatial import cKDTree

        seeds = rng.random((220, 3)) * SHAPE
        points = np.stack([z, y, x], axis=-1).reshape(-1, 3)
        truth, source = (cKDTree(seeds).query(points)[1] + 1).reshape(SHAPE).astype(np.uint64), "Voronoi cells"
    lattice = (z // 24) * 10_000 + (y // 24) * 100 + x // 24
    pieces = np.unique(truth.astype(np.int64) * 1_000_000 + lattice, return_inverse=True)[1].reshape(SHAPE)
    ids = rng.permutation(int(pieces.max()) + 1).astype(np.uint64) + np.uint64(1)
    return source, truth, ids[pieces]


def ours(truth: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    from neuropil.metrics.overlap import contingency
    from neuropil.metrics.partition import scores

    got = scores(contingency(truth, pred), convention="skimage")
    return {k: float(got[k]) for k in ("voi_split", "voi_merge", "arand")}


def theirs(truth: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    from skimage.metrics import adapted_rand_error, variation_of_information

    split, merge = variation_of_information(truth, pred)
    return {"voi_split": float(split), "voi_merge": float(merge), "arand": float(adapted_rand_error(truth, pred)[0])}


def measured(run: Callable[..., dict[str, float]], truth: np.ndarray, pred: np.ndarray) -> dict[str, Any]:
    tracemalloc.start()
    scores = run(truth, pred)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"scores": scores, "peak_MiB": peak / 2**20, "seconds": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results/metrics_speed.json"))
    args = parser.parse_args()
    source, truth, pred = volumes()
    runs = {"neuropil": ours, "scikit-image": theirs}
    for run in runs.values():  # compile and warm up
        run(truth[:8], pred[:8])
    table = {name: measured(run, truth, pred) for name, run in runs.items()}
    for _ in range(args.repeats):  # alternating, so that both see the same machine
        for name, run in runs.items():
            start = time.perf_counter()
            run(truth, pred)
            table[name]["seconds"].append(time.perf_counter() - start)
    for row in table.values():
        row["median_s"] = statistics.median(row["seconds"])
        row["Mvoxel_per_s"] = truth.size / row["median_s"] / 1e6
    ratio = table["scikit-image"]["median_s"] / table["neuropil"]["median_s"]
    print(f"{source} {truth.shape} uint64, {len(np.unique(truth))} / {len(np.unique(pred))} ids")
    for name, row in table.items():
        print(
            f"{name:13s} {row['median_s']:8.3f} s {row['Mvoxel_per_s']:8.1f} Mvoxel/s {row['peak_MiB']:8.1f} MiB peak"
        )
    print(f"ratio {ratio:.1f}x")
    report = {
        "command": " ".join(["python", *sys.argv]),
        "labels": source,
        "shape": truth.shape,
        "results": table,
        "ratio": ratio,
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "numba", "scikit-image", "scipy")},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
