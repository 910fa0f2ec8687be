"""How long a large SWC file takes to read and to write, and what a tree takes to become voxels.

    python bench/bench_swc.py [--nodes 1000000] [--repeats 3] [--out docs/results/swc_speed.json]

A random forest of unbranched runs: as we write it (sorted), shuffled (children before parents), with a comment behind
every line, with commas between the numbers, with 1.#IND for every radius, and with a `d` in every radius' exponent,
which alone is read line by line. Voxels: a smooth path of 10⁵ nodes through 256³ voxels. Fastest of the repeats,
seconds of processor time and of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neuropil.config.tree_targets import TreeTargetConfig
from neuropil.data.trees import rasterised
from neuropil.geometry import Box
from neuropil.io.swc import examine_swc, write_swc
from neuropil.skeleton import Skeleton
from neuropil.versions import versions

RESULT = Path(__file__).parents[1] / "docs" / "results" / "swc_speed.json"


def forest(nodes: int) -> Skeleton:
    """Runs of some hundred nodes that begin at earlier nodes."""
    rng = np.random.default_rng(0)
    parent = np.arange(nodes) - 1
    forks = np.flatnonzero(rng.random(nodes) < 0.003)
    parent[forks] = (rng.random(len(forks)) * forks).astype(int)
    parent[0] = -1
    return Skeleton(rng.random((nodes, 3)) * 1e6, rng.random(nodes) * 500, parent, rng.integers(2, 5, nodes))


def path_through(extent_nm: float, nodes: int) -> Skeleton:
    """A smooth path that is reflected at the sides of a cube."""
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.normal(0, 3, (nodes, 3)), axis=0)
    steps *= 50 / np.maximum(np.linalg.norm(steps, axis=1), 1)[:, None]
    place = np.abs((np.cumsum(steps, axis=0) + extent_nm) % (2 * extent_nm) - extent_nm)
    return Skeleton(place, np.full(nodes, 150.0), np.arange(nodes) - 1, np.full(nodes, 3))


def fastest(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Seconds of processor time and of the clock."""
    found = []
    for _ in range(repeats):
        began = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    return {"cpu_s": round(min(f[0] for f in found), 2), "clock_s": round(min(f[1] for f in found), 2)}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    tree = forest(asked.nodes)
    times: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        names = ("sorted", "shuffled", "commented", "commas", "no_radius", "line_by_line")
        paths = {name: Path(folder) / f"{name}.swc" for name in names}
        times["write"] = fastest(lambda: write_swc(tree, paths["sorted"]), asked.repeats)
        lines = paths["sorted"].read_text().splitlines()
        head, body = [line for line in lines if line[0] == "#"], [line for line in lines if line[0] != "#"]
        words = [line.split() for line in body]
        changed = {
            "commented": (f"{line} # odd" for line in body),
            "commas": (",".join(w) for w in words),
            "no_radius": (" ".join([*w[:5], "1.#IND", w[6]]) for w in words),
            "line_by_line": (" ".join([*w[:5], "1.5d0", w[6]]) for w in words),
        }
        for name, rows in changed.items():
            paths[name].write_text("\n".join([*head, *rows]))
        np.random.default_rng(0).shuffle(body)
        paths["shuffled"].write_text("\n".join([*head, *body]))
        for name, path in paths.items():
            times[f"read_{name}"] = fastest(lambda path=path: examine_swc(path), asked.repeats)  # type: ignore[misc]
            print(name, times[f"read_{name}"], flush=True)
    box = Box((0, 0, 0), (256, 256, 256), (100.0, 100.0, 100.0))
    path = path_through(25_600.0, 100_000)
    rasterised([path], Box((0, 0, 0), (8, 8, 8), box.voxel_size), TreeTargetConfig())
    times["voxels_256_cubed_100k_nodes"] = fastest(lambda: rasterised([path], box, TreeTargetConfig()), asked.repeats)
    print(times["voxels_256_cubed_100k_nodes"], flush=True)
    found = {
        "command": f"python bench/bench_swc.py --repeats {asked.repeats}",
        "nodes": asked.nodes,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    asked.out.write_text(json.dumps({**found, "versions": versions(), "seconds": times}, indent=1) + "\n")


if __name__ == "__main__":
    main()
