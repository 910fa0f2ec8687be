"""Tree distances on big trees: ESA, and all tree scores, against a k-d tree over densely sampled cable.

    python bench/bench_trees.py [--nodes 100000] [--repeats 5] [--out docs/results/tree_speed.json]

The tree is a random branching walk with edges of 2.5 steps; the trace is the same tree with every node moved by about
1.7 steps. The peer samples both trees as Vaa3D does, fills the other tree with points (one a step, and 10 a step) and
asks SciPy's cKDTree for the nearest: a distance to points, not to cable, so always too large. CPU seconds (the best of
the repeats) are what to compare where other work shares the machine; everything runs on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from neuropil.config.trees import TreeScoreConfig
from neuropil.metrics.tree import structure_distances, tree_scores
from neuropil.metrics.tree_pair import Tree, TreePair
from neuropil.registry import TREE_METRICS
from neuropil.skeleton import Skeleton

EDGE = 2.5


def neuron(count: int, seed: int) -> Skeleton:
    """A random branching walk: branches of up to 400 nodes that start anywhere on what is there."""
    rng = np.random.default_rng(seed)
    nodes, parent, made = np.zeros((count, 3)), np.full(count, -1), 1
    while made < count:
        start, length = int(rng.integers(0, made)), min(400, count - made)
        heading = rng.normal(size=3)
        steps = heading / np.linalg.norm(heading) + np.cumsum(rng.normal(size=(length, 3)) * 0.1, axis=0)
        steps *= EDGE / np.linalg.norm(steps, axis=1, keepdims=True)
        nodes[made : made + length] = nodes[start] + np.cumsum(steps, axis=0)
        parent[made : made + length] = np.arange(made - 1, made + length - 1)
        parent[made] = start
        made += length
    return Skeleton(nodes, np.ones(count), parent, np.zeros(count, int))


def vaa3d_samples(tree: Tree) -> np.ndarray:
    return tree.samples((tree.lengths + 1.5).astype(np.int64), inside=False)[0]


def peer(pair: TreePair, points_a_step: float) -> float:
    """ESA from the nearest point of densely sampled cable."""
    dense = [t.samples(np.ceil(t.lengths * points_a_step).astype(np.int64) + 1, inside=False)[0]
             for t in (pair.truth, pair.test)]  # fmt: skip
    there = cKDTree(dense[1]).query(vaa3d_samples(pair.truth))[0].mean()
    back = cKDTree(dense[0]).query(vaa3d_samples(pair.test))[0].mean()
    return float((there + back) / 2)


def timed(run: Callable[[], Any], repeats: int) -> dict[str, Any]:
    result, seconds, busy = run(), [], []  # compiled before it is timed
    for _ in range(repeats):
        start, begun = time.perf_counter(), time.process_time()
        result = run()
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - begun)
    return {"result": result, "seconds": seconds, "median_s": statistics.median(seconds), "cpu_s": min(busy)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results/tree_speed.json"))
    args = parser.parse_args()
    truth = neuron(args.nodes, 0)
    moved = truth.nodes_nm + np.random.default_rng(1).normal(size=truth.nodes_nm.shape)
    test = Skeleton(moved, truth.radius_nm, truth.parent, truth.kind)

    def pair() -> TreePair:
        return TreePair(truth, test, step_nm=1.0, config=TreeScoreConfig())

    rows = {
        "ESA, DSA, PDS (exact, nearest cable)": timed(lambda: structure_distances(pair())["esa"], args.repeats),
        "peer: cKDTree, 1 point a step": timed(lambda: peer(pair(), 1.0), args.repeats),
        "peer: cKDTree, 10 points a step": timed(lambda: peer(pair(), 10.0), max(1, args.repeats // 3)),
    }
    for name in TREE_METRICS:
        rows[f"one metric: {name}"] = timed(lambda name=name: len(TREE_METRICS.resolve(name)(pair())), 1)
    rows["all tree scores"] = timed(lambda: len(tree_scores(pair())), 1)
    for name, row in rows.items():
        value = f"ESA {row['result']:.4f}" if isinstance(row["result"], float) else f"{row['result']} scores"
        print(f"{name:40s} {row['median_s']:8.3f} s   CPU {row['cpu_s']:7.3f} s   {value}")
    ours = rows["ESA, DSA, PDS (exact, nearest cable)"]["cpu_s"]
    ratios = {name: row["cpu_s"] / ours for name, row in rows.items() if name.startswith("peer")}
    report = {
        "command": " ".join(["python", *sys.argv]),
        "nodes": args.nodes,
        "samples": len(vaa3d_samples(pair().truth)),
        "results": rows,
        "peer_over_ours": ratios,
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "numba", "scipy")},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
