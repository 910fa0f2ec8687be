"""Speed of affinities to labels, stage by stage, beside waterz from the same fragments in the same run.

    python bench/bench_segment.py                     # affinities made from the FIB-25 developer labels
    python bench/bench_segment.py --aff aff.zarr      # affinities of a network (attribute `offsets`)

Writes docs/results/segment_speed.json. Both programs use one thread; compiling is done before the clock starts.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import variation_of_information

from neuropil import open_volume
from neuropil.affinities import NEAREST, affinities_from_labels, as_offsets
from neuropil.config import SegmentConfig
from neuropil.post import mutex
from neuropil.post.agglomerate import hierarchy
from neuropil.post.fragments import label_fragments, nearest_edges
from neuropil.post.graph import region_graph
from neuropil.post.merging import Rule, merge_tree

OFFSETS = (*NEAREST, (-4, 0, 0), (0, -4, 0), (0, 0, -4))
SWEEP = tuple(np.linspace(0.1, 0.9, 9))


def made_up(labels_ZYX: np.ndarray) -> np.ndarray:
    """Affinities of true labels under membranes some voxels wide and smooth noise; not those of any network."""
    rng = np.random.default_rng(0)
    true = affinities_from_labels(labels_ZYX, OFFSETS)[0]
    wall = gaussian_filter(1 - true[:3].min(0).astype(np.float32), 1.0)
    out = np.empty(true.shape, np.uint8)
    for c in range(len(OFFSETS)):
        noise = gaussian_filter(rng.normal(size=labels_ZYX.shape).astype(np.float32), 2.0)
        logit = 6 * np.minimum(gaussian_filter(true[c].astype(np.float32), 0.8), 1 - 1.5 * wall) - 2.5
        out[c] = np.rint(255 / (1 + np.exp(-logit - 1.5 * noise / noise.std())))
    return out


def seconds(call: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Wall time of every repeat, and the last answer."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = call()
        times.append(time.perf_counter() - start)
    return times, answer


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what compiled code prints."""
    kept, sink = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    os.dup2(sink, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(sink)


def measure(aff: np.ndarray, offsets: Any, voxel: Any, repeats: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each stage, and facts about the answers."""
    import waterz

    config = SegmentConfig(threshold=0.5)
    rule = Rule(config.score, config.quantile, config.contact)
    for score in ("mean", "quantile"):
        small = aff[:, :24, :24, :24]
        hierarchy(small, offsets, voxel, config.model_copy(update={"score": score})).labels(0.5)
    times: dict[str, list[float]] = {}
    times["fragments"], (pieces, _) = seconds(
        lambda: label_fragments(nearest_edges(aff, offsets), voxel, config.fragments), repeats
    )
    times["graph"], graph = seconds(lambda: region_graph(pieces, aff, offsets), repeats)
    times["agglomeration"], tree = seconds(lambda: merge_tree(graph, rule), repeats)
    times["whole, one threshold"], labels = seconds(lambda: hierarchy(aff, offsets, voxel, config).labels(0.5), repeats)

    def nine() -> None:
        whole = hierarchy(aff, offsets, voxel, config)
        for threshold in SWEEP:
            whole.labels(float(threshold))

    times["whole, sweep of nine"], _ = seconds(nine, repeats)
    floats = np.ascontiguousarray(nearest_edges(aff, offsets), np.float32) / 255
    copies = [pieces.astype(np.uint64) for _ in range(repeats)]  # waterz writes into its fragments
    with quiet():
        times["waterz graph + agglomeration"], theirs = seconds(
            lambda: next(iter(waterz.agglomerate(floats, [0.5], fragments=copies.pop()))), repeats
        )
    near = variation_of_information(tree.cut(0.5)[pieces], theirs.astype(np.int64))
    facts = {
        "fragments": int(graph.nodes),
        "contacts": len(graph.edges),
        "objects": int(labels.max()),
        "voi_to_waterz": float(sum(near)),
    }
    if len(offsets) > 3:
        part = aff[:, :64, :128, :128]
        mutex.segment(part[:, :16], offsets, voxel, config)
        mutex_times, _ = seconds(lambda: mutex.segment(part, offsets, voxel, config), repeats)
        facts["mutex_mvoxel_s"] = part[0].size / 1e6 / min(mutex_times)
    return times, facts


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aff", help="affinities to use instead of made-up ones")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/results/segment_speed.json")
    args = parser.parse_args()
    if args.aff:
        volume = open_volume(args.aff)
        aff, voxel = np.asarray(volume.read(volume.box)), volume.voxel_size
        offsets = as_offsets(volume.attrs["offsets"])
    elif "NEUROPIL_DATA" in os.environ:
        with h5py.File(Path(os.environ["NEUROPIL_DATA"]) / "fib25/devtest_250x190x300.h5") as file:
            aff, offsets, voxel = made_up(file["labels"][:]), OFFSETS, (8.0, 8.0, 8.0)
    else:
        parser.error("give --aff, or set NEUROPIL_DATA")
    times, facts = measure(aff, offsets, voxel, args.repeats)
    mvoxel = aff[0].size / 1e6
    best = {stage: min(values) for stage, values in times.items()}
    ratios = {
        "graph + agglomeration vs waterz": best["waterz graph + agglomeration"]
        / (best["graph"] + best["agglomeration"]),
        "sweep of nine vs one": best["whole, sweep of nine"] / best["whole, one threshold"],
    }
    for stage, values in times.items():
        print(f"{stage:32s} {min(values):8.3f} s (worst {max(values):.3f}) {mvoxel / min(values):9.1f} Mvoxel/s")
    for name, value in {**ratios, **facts}.items():
        print(f"{name:32s} {value:.4g}")
    result = {
        "command": " ".join(
            ["python", "bench/bench_segment.py", *(["--aff AFF"] if args.aff else []), f"--repeats {args.repeats}"]
        ),
        "affinities": "of a network" if args.aff else "made up from true labels",
        "mvoxel": mvoxel,
        "seconds": times,
        "ratios_of_best": ratios,
        "facts": facts,
        "cpu": platform.processor() or platform.machine(),
        "load_at_end": os.getloadavg()[0],
        "versions": {n: importlib.metadata.version(n) for n in ("neuropil", "numba", "numpy", "waterz")},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
