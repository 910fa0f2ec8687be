"""`predict_volume` against MONAI's SlidingWindowInferer: same network, weights, image, largest tile and overlap.

    python bench/bench_predict.py [--repeats 3] [--threads 2] [--out docs/results/predict_speed.json]

Every measurement is a process of its own (so that peak memory is its own), and the contenders take turns. The job is
the same for all: raw uint8 in, uint8 affinities out. The first shape is that of the FIB-25 developer test volume. On
the second, tiles of the asked size fit exactly, so that nothing is gained by fitting them: the least favourable case.
MONAI runs in gaussian mode, once as it is (fp32) and once with the precision and memory layout that we use.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from memory import Peak

CASES = {"devtest": (250, 190, 300), "exact": (168, 168, 240)}
TILE, OVERLAP = (96, 96, 96), (24, 24, 24)
VOXEL_SIZE = (8.0, 8.0, 8.0)
CONTENDERS = {
    "neuropil": "bf16, in memory",
    "neuropil zarr": "bf16, streamed from and to OME-Zarr",
    "monai same": "bf16, channels last",
    "monai fitted": "bf16, channels last, with the tile that neuropil fitted",
    "monai": "fp32, as it is",
}


def image(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth noise with the statistics of nothing in particular; speed does not depend on it."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(np.random.default_rng(0).standard_normal(shape, np.float32), 2)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def network(seed: int = 0) -> Any:
    import torch

    from neuropil.models.resunet import ResUNet
    from neuropil.plan import default_offsets

    torch.manual_seed(seed)
    offsets = default_offsets(VOXEL_SIZE)
    net = ResUNet(VOXEL_SIZE, len(offsets), (16, 32, 64, 96), blocks=1, norm_kind="group").eval()
    torch.nn.init.normal_(net.head.weight, std=1.0)
    return net, offsets


def normalise(raw: np.ndarray) -> np.ndarray:
    return (raw.astype(np.float32) - 128) / 60


def ours(raw: np.ndarray, folder: Path, *, stream: bool) -> Any:
    from neuropil.infer.predict import PredictSettings, predict_volume
    from neuropil.io.zarr import create_zarr, finish
    from neuropil.volume import Volume, open_volume

    net, offsets = network()
    settings = PredictSettings(TILE, OVERLAP, net.stride, None, 2**30, "none", 1, "bf16", "cpu")
    common: dict[str, Any] = {"offsets": offsets, "normalise": normalise, "settings": settings}
    if not stream:
        volume = Volume(raw, VOXEL_SIZE, kind="image")
        return lambda: predict_volume(net, volume, **common)
    source = create_zarr(folder / "raw.zarr", raw.shape, "uint8", VOXEL_SIZE, kind="image")
    for block in source.blocks():
        source.write(block.write, raw[block.write.slices()])
    finish(folder / "raw.zarr")

    def run() -> Any:
        volume, path = open_volume(folder / "raw.zarr"), folder / "out.zarr"
        shape = (len(offsets), *volume.shape)
        out = create_zarr(path, shape, "uint8", VOXEL_SIZE, axes="czyx", kind="affinities")
        predict_volume(net, volume, out=out, **common)
        finish(path)
        return open_volume(path)

    return run


def theirs(raw: np.ndarray, *, fast: bool, fitted: bool) -> Any:
    import torch
    from monai.inferers import SlidingWindowInferer

    from neuropil.geometry import Box
    from neuropil.infer.devices import cpu_has_bf16
    from neuropil.infer.tiles import plan_tiles

    net, _ = network()
    layout = torch.channels_last_3d if fast else torch.contiguous_format
    net = net.to(memory_format=layout)
    box = Box((0, 0, 0), raw.shape, VOXEL_SIZE)
    tile = plan_tiles(box, TILE, OVERLAP, net.stride).tile if fitted else TILE
    share = [o / t - 1e-6 for o, t in zip(OVERLAP, tile, strict=True)]
    # (a hair less overlap, because MONAI rounds its step down)
    inferer = SlidingWindowInferer(tile, 1, share, mode="gaussian", padding_mode="reflect")

    def probability(x: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast and cpu_has_bf16()):
            logits = net(x.contiguous(memory_format=layout))
        return logits.float().sigmoid()

    def run() -> Any:
        with torch.inference_mode():
            out = inferer(torch.from_numpy(normalise(raw))[None, None], probability)[0]
            return (out * 255).round_().clamp_(0, 255).to(torch.uint8).numpy()

    return run


def measure(contender: str, case: str, threads: int) -> dict[str, Any]:
    """One timed run, in this process."""
    import torch

    torch.set_num_threads(threads)
    raw = image(CASES[case])
    with tempfile.TemporaryDirectory() as folder:
        if contender.startswith("neuropil"):
            run = ours(raw, Path(folder), stream=contender.endswith("zarr"))
        else:
            run = theirs(raw, fast=contender != "monai", fitted=contender.endswith("fitted"))
        if contender.endswith("zarr"):
            del raw
        net, _ = network()
        with torch.inference_mode():
            net(torch.zeros(1, 1, 32, 32, 32))  # what is loaded at the first use is not part of the job
        with Peak() as memory:
            start, cpu = time.perf_counter(), time.process_time()
            result = run()
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        got = result if isinstance(result, np.ndarray) else result.numpy()
    mean = [round(float(channel.mean()), 2) for channel in got]
    return {
        "seconds": seconds,
        "cpu_s": cpu,
        "peak_MiB": memory.most / 2**20,
        "added_MiB": (memory.most - memory.before) / 2**20,
        "mean": mean,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--out", type=Path, default=Path("docs/results/predict_speed.json"))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure, args.threads)))
        return
    results = {case: _compared(case, args) for case in args.cases}
    report = {
        "command": "python bench/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "tile": TILE,
        "overlap": OVERLAP,
        "voxel_size_nm": VOXEL_SIZE,
        "contenders": CONTENDERS,
        "network": "ResUNet, channels 16-32-64-96",
        "results": results,
        "cpu": _cpu(),
        "threads": args.threads,
        "repeats": args.repeats,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "monai", "numpy", "tensorstore")},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


def _compared(case: str, args: argparse.Namespace) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in args.contenders}
    for repeat in range(args.repeats):
        # the order is turned round every time, so that no one always runs on the warmer machine
        for name in args.contenders[:: -1 if repeat % 2 else 1]:
            command = [sys.executable, __file__, "--measure", name, case, "--threads", str(args.threads)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    voxels = float(np.prod(CASES[case]))
    table: dict[str, Any] = {}
    for name, measured in runs.items():
        seconds = statistics.median(m["seconds"] for m in measured)
        table[name] = {
            "seconds": [m["seconds"] for m in measured],
            "cpu_s": [m["cpu_s"] for m in measured],
            "Mvoxel_per_s": voxels / seconds / 1e6,
            "peak_MiB": max(m["peak_MiB"] for m in measured),
            "added_MiB": max(m["added_MiB"] for m in measured),
            "mean": measured[0]["mean"],
        }
    print(f"\n{case} {CASES[case]}, {args.threads} threads\n{'':15} Mvoxel/s  ratio   cpu s   peak MiB  added MiB")
    for name, row in table.items():
        row["neuropil_ratio"] = table[args.contenders[0]]["Mvoxel_per_s"] / row["Mvoxel_per_s"]
        print(
            f"{name:15} {row['Mvoxel_per_s']:8.3f} {row['neuropil_ratio']:6.2f} {statistics.median(row['cpu_s']):7.1f} "
            f"{row['peak_MiB']:10.0f} {row['added_MiB']:10.0f}"
        )
    return {"shape": CASES[case], **table}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
