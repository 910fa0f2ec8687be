"""Affinities on disk to labels on disk, in blocks: voxels a second with one and two workers, memory, and waterz beside.

    python bench/bench_blockwise.py                       # FIB-25 developer labels, made into affinities
    python bench/bench_blockwise.py --mirror 2 --block 256,256,256

Writes docs/results/blockwise_speed.json. waterz starts from the same affinities in memory (reading is not counted),
makes fragments of its own, and uses one thread, which is all it can. Every program runs in a fresh process whose
compiled code is cached; the labels of all block runs are checked to be those of the whole.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from skimage.metrics import variation_of_information

from bench_segment import made_up, quiet
from neuropil import api, open_volume
from neuropil.affinities import NEAREST
from neuropil.io import save_volume
from neuropil.outputs import peak_memory
from neuropil.volume import Volume

VOXEL = (8.0, 8.0, 8.0)
THRESHOLD = 0.5


def prepare(folder: Path, mirror: int, share: float) -> None:
    """Affinities, and the labels that they were made from; larger ones by mirroring."""
    with h5py.File(Path(os.environ["NEUROPIL_DATA"]) / "fib25/devtest_250x190x300.h5") as file:
        labels = file["labels"][:][tuple(slice(0, round(n * share)) for n in file["labels"].shape)]
    aff = made_up(labels)[:3]
    pad = [(0, n * (mirror - 1)) for n in labels.shape]
    # an edge belongs to the voxel above it: mirroring moves it by one voxel, which matters to the truth, not to speed
    aff, labels = np.pad(aff, [(0, 0), *pad], mode="symmetric"), np.pad(labels, pad, mode="symmetric")
    attrs = {"offsets": [list(o) for o in NEAREST]}
    save_volume(Volume(aff, VOXEL, (0, 0, 0), "czyx", "affinities", attrs=attrs), folder / "aff.zarr")
    np.save(folder / "truth.npy", labels)


def in_blocks(folder: Path, block: str, workers: int) -> dict[str, Any]:
    """Our labels by the command line's own road."""
    out = folder / f"w{workers}.zarr"
    started = time.perf_counter()
    shape = tuple(int(b) for b in block.split(","))
    found = api.segment(
        folder / "aff.zarr", out=out, threshold=THRESHOLD, block=shape, workers=workers, set=["jobs.memory_gb=16"]
    )
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "objects": found.attrs["objects"], "stages": found.attrs["timings"]}


def as_one(folder: Path) -> dict[str, Any]:
    """Our labels of the volume as one, from disk to disk."""
    started = time.perf_counter()
    found = api.segment(folder / "aff.zarr", out=folder / "whole.zarr", threshold=THRESHOLD, memory="100GB")
    return {
        "seconds": time.perf_counter() - started, "objects": found.attrs["objects"], "peak_bytes": peak_memory(),
    }  # fmt: skip


def by_waterz(folder: Path) -> dict[str, Any]:
    """waterz: watershed fragments and mean-affinity agglomeration, in memory."""
    import waterz

    affinities = open_volume(folder / "aff.zarr").numpy().astype(np.float32) / 255
    started = time.perf_counter()
    with quiet():
        labels = next(iter(waterz.agglomerate(affinities, [THRESHOLD])))
    seconds = time.perf_counter() - started
    np.save(folder / "waterz.npy", labels)
    return {"seconds": seconds, "objects": len(np.unique(labels)), "peak_bytes": peak_memory()}


def fresh(*words: str) -> dict[str, Any]:
    """What this file prints when it is asked to do one thing in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def voi(labels: np.ndarray, truth: np.ndarray) -> float:
    """Split and merge VOI over labelled truth, in bits."""
    inside = truth > 0
    return float(sum(variation_of_information(truth[inside], labels[inside])))


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every program once, compiled code cached before."""
    truth = np.load(folder / "truth.npy")
    fresh("--one", "warm", "--folder", str(folder))
    found = {"whole": fresh("--one", "whole", "--folder", str(folder))}
    for workers in (1, 2):
        words = ("--one", "blocks", "--folder", str(folder), "--block", args.block, "--workers", str(workers))
        found[f"blocks, {workers} workers"] = fresh(*words)
    if not args.without_waterz:
        found["waterz"] = fresh("--one", "waterz", "--folder", str(folder))
    whole = open_volume(folder / "whole.zarr").numpy()
    for workers in (1, 2):
        if not np.array_equal(open_volume(folder / f"w{workers}.zarr").numpy(), whole):
            sys.exit(f"{workers} workers gave other labels than the volume as one")
    for values in found.values():
        values["mvoxel_per_second"] = truth.size / 1e6 / values["seconds"]
    found["whole"]["voi"] = voi(whole, truth)
    if not args.without_waterz:
        found["waterz"]["voi"] = voi(np.load(folder / "waterz.npy").astype(np.int64), truth)
    return {"mvoxel": truth.size / 1e6, "runs": found}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=int, default=1, help="mirror the volume so many times along every axis")
    parser.add_argument("--share", type=float, default=1.0, help="use so much of every axis, for a try")
    parser.add_argument("--block", default="128,128,192")
    parser.add_argument("--without-waterz", action="store_true", help="for sizes at which it takes too long")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/results/blockwise_speed.json")
    parser.add_argument("--one", choices=("warm", "whole", "blocks", "waterz"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one == "blocks":
        print(json.dumps(in_blocks(args.folder, args.block, args.workers)))
    elif args.one == "waterz":
        print(json.dumps(by_waterz(args.folder)))
    elif args.one == "whole":
        print(json.dumps(as_one(args.folder)))
    elif args.one == "warm":
        tiny = open_volume(f"{args.folder / 'aff.zarr'}[0:32,0:32,0:32]")
        api.segment(tiny, out=args.folder / "warm.zarr", threshold=THRESHOLD, block=(16, 32, 32))
        print("{}")
    else:
        if "NEUROPIL_DATA" not in os.environ:
            parser.error("set NEUROPIL_DATA")
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), args.mirror, args.share)
            result = measure(Path(folder), args)
        for name, values in result["runs"].items():
            speed = values["mvoxel_per_second"]
            print(f"{name:20s} {values['seconds']:8.2f} s {speed:8.2f} Mvoxel/s  {values['objects']} objects")
        result |= {
            "command": "python bench/bench_blockwise.py "
            f"--mirror {args.mirror} --share {args.share:g} --block {args.block}",
            "cpu": platform.processor() or platform.machine(),
            "load_at_end": os.getloadavg()[0],
            "versions": {n: importlib.metadata.version(n) for n in ("neuropil", "numba", "tensorstore", "waterz")},
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
