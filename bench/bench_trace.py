"""Speed and memory of tracing: a made-up stack of branching tubes under noise, and every segment of real labels.

    python bench/bench_trace.py                        # 256 x 256 x 256
    NEUROPIL_DATA=... python bench/bench_trace.py      # the 3-D fly neuron and the FIB-25 labels too

Writes docs/results/trace_speed.json. Every stack is traced in a process of its own, whose peak memory above what it
held before (interpreter, libraries and the image itself) is given per voxel. Compiling is done before the clock
starts. On a shared machine look at the processor seconds: they are those of all threads.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from memory import Peak
from neuropil import open_volume
from neuropil.config import TraceConfig
from neuropil.tracing import trace as tracing
from neuropil.tracing.background import survey
from neuropil.tracing.foreground import neurite_voxels
from neuropil.tracing.pick import candidates
from neuropil.tracing.skeletonize import segments, skeletons
from neuropil.volume import Volume, require_kind

RESULTS = Path(__file__).parents[1] / "docs/results/trace_speed.json"


def made_up(edge: int) -> Volume:
    """A uint8 stack with a soma and sixty random smooth neurites of radius 1.5 to 2.5 voxels, blurred and noisy."""
    rng = np.random.default_rng(0)
    centre = np.full(3, edge / 2)
    line = np.ones((edge, edge, edge), bool)
    for _ in range(60):
        way = rng.normal(size=3)
        place = centre + 0.05 * edge * rng.normal(size=3)
        for _ in range(edge):
            way += 0.15 * rng.normal(size=3)
            way /= np.linalg.norm(way)
            place = place + 0.7 * way
            if not ((place >= 1) & (place < edge - 1)).all():
                break
            line[tuple(place.astype(int))] = False
    away = distance_transform_edt(line).astype(np.float32)
    ball = np.linalg.norm(np.indices(line.shape) - centre.reshape(3, 1, 1, 1), axis=0) < edge / 20
    image = gaussian_filter(((away <= 2) | ball).astype(np.float32), 0.8) * 110 + 20
    noisy = rng.poisson(image) + rng.normal(0, 4, image.shape)
    return Volume(np.clip(noisy, 0, 255).astype(np.uint8), (1000, 1000, 1000), kind="image", name=f"tubes {edge}")


def stack(name: str) -> Volume:
    """A stack by its name."""
    if name.startswith("tubes"):
        return made_up(int(name.split()[1]))
    whole = open_volume(f"{os.environ['NEUROPIL_DATA']}/lm_small/fly_neuron_119x415x409.tif", voxel_size=(1000,) * 3)
    return Volume(whole.numpy(), whole.voxel_size, kind="image", name=name)


def measured(name: str, repeats: int) -> dict[str, Any]:
    """Seconds of the repeats and stages, and bytes a voxel, of tracing one stack."""
    config = TraceConfig()
    tracing.trace(made_up(48), config)
    volume = stack(name)
    size = volume.box.size
    times, busy = [], []
    with Peak() as peak:
        for _ in range(repeats):
            start, worked = time.perf_counter(), time.process_time()
            tree = tracing.trace(volume, config)
            times.append(time.perf_counter() - start)
            busy.append(time.process_time() - worked)
    marks = [time.process_time()]
    found = survey(volume, config.enhance)
    marks.append(time.process_time())
    voxels = neurite_voxels(volume, config, found)
    marks.append(time.process_time())
    candidates(voxels, config, None)
    marks.append(time.process_time())
    names = ("survey", "evidence and depth", "march to tree")
    stages = {
        stage: round(last - first, 3) for stage, (first, last) in zip(names, itertools.pairwise(marks), strict=True)
    }
    return {
        "stack": name,
        "shape": list(volume.shape),
        "neurite_voxels": len(voxels),
        "nodes": len(tree.skeleton.parent),
        "seconds": [round(t, 3) for t in times],
        "mvoxel_s": round(size / 1e6 / min(times), 2),
        "processor_seconds": [round(t, 3) for t in busy],
        "mvoxel_s_of_one_processor": round(size / 1e6 / min(busy), 2),
        "bytes_a_voxel": round((peak.most - peak.before) / size, 2),
        "stages_processor_seconds": stages,
    }


def labels_measured() -> dict[str, Any]:
    """Skeletons of all segments of the FIB-25 developer labels."""
    path = f"{os.environ['NEUROPIL_DATA']}/fib25/devtest_250x190x300.h5:labels"
    config = TraceConfig()
    whole = require_kind(open_volume(path), "labels")
    volume = Volume(whole.numpy(), whole.voxel_size, kind="labels", name=path)
    list(skeletons(volume, config, segments(volume, config)[:1]))
    start, worked = time.perf_counter(), time.process_time()
    wanted = segments(volume, config)
    trees = [tree for _, tree in skeletons(volume, config, wanted)]
    seconds, busy = time.perf_counter() - start, time.process_time() - worked
    return {
        "labels": "fib25 devtest",
        "segments": len(wanted),
        "seconds": round(seconds, 2),
        "processor_seconds": round(busy, 2),
        "mvoxel_s": round(volume.box.size / 1e6 / seconds, 2),
        "cable_um": round(sum(t.length_nm() for t in trees) / 1000, 1),
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    names = [f"tubes {args.edge}", *(["fly neuron"] if "NEUROPIL_DATA" in os.environ else [])]
    rows = []
    for name in names:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measured, (name, args.repeats)))
        row = rows[-1]
        print({k: row[k] for k in ("stack", "mvoxel_s", "mvoxel_s_of_one_processor", "bytes_a_voxel")})
    found: dict[str, Any] = {"stacks": rows}
    if "NEUROPIL_DATA" in os.environ:
        found["labels"] = labels_measured()
        print(found["labels"])
    found |= {
        "command": f"python bench/bench_trace.py --edge {args.edge} --repeats {args.repeats}",
        "cpu": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "load_at_end": os.getloadavg()[0],
        "versions": {n: importlib.metadata.version(n) for n in ("neuropil", "numba", "numpy", "scipy")},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
