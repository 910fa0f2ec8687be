"""The same labels, bit for bit, whatever the blocks and whoever does the work, on what a network predicted.

    neuropil predict RUN "$NEUROPIL_DATA/fib25/devtest_250x190x300.h5:raw" --out aff.zarr
    python bench/invariance.py aff.zarr                 # 20 random block shapes x 4 ways to work
    python bench/invariance.py aff.zarr --shapes 40 --seed 1
    python bench/invariance.py mito.zarr --shapes 5     # any other prediction, by a run of mitochondria for instance

Ways: one process; two processes; a local Dask cluster of two; three shards in random order. Every result is compared
with that of the whole volume in memory; ends with an error at the first voxel that differs. Finished shapes are kept in
docs/results/invariance.json (of organelles invariance_mitochondria.json, ..), so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from neuropil import api, open_volume
from neuropil.errors import IncompleteError
from neuropil.geometry import Int3
from neuropil.versions import versions
from neuropil.volume import Volume
from runs import ROOT, keep, kept, machine

RESULTS = ROOT / "docs/results"
WAYS: dict[str, dict[str, Any]] = {
    "one process": {},
    "two processes": {"workers": 2},
    "Dask, local, two workers": {"dask": "local", "workers": 2},
    "three shards, random order": {"shards": 3},
}


def made(aff: str, out: Path, cut: dict[str, Any], block: Int3, how: dict[str, Any], rng: random.Random) -> Volume:
    """Labels made in blocks in one of the ways."""
    words: dict[str, Any] = {"out": out, "block": block, "set": ["jobs.memory_gb=16"], **cut}
    count = how.get("shards")
    if count is None:
        return api.segment(aff, **words, **how)
    while True:  # each does what it can of the stage, and says what is left for the others
        for index in rng.sample(range(count), count):
            try:
                return api.segment(aff, **words, shard=f"{index}/{count}")
            except IncompleteError as error:
                if "other shards" not in str(error):
                    raise


def shapes(volume: Volume, count: int, rng: random.Random) -> list[Int3]:
    """Random blocks, no two alike, from about a hundred to two of them."""
    found: set[Int3] = set()
    while len(found) < count:
        z, y, x = (rng.randint(max(24, n // 5), n) for n in volume.box.shape)
        if (z, y, x) != volume.box.shape:
            found.add((z, y, x))
    return sorted(found)


def main() -> None:
    """Compare, shape after shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("aff", help="what `neuropil predict` wrote")
    parser.add_argument("--shapes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threshold", type=float, default=0.4, help="of affinities; others keep their run's settings")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    source = open_volume(args.aff)
    task = str(source.attrs.get("task", "neurons"))
    cut = {"threshold": args.threshold} if task == "neurons" else {}
    results = RESULTS / ("invariance.json" if task == "neurons" else f"invariance_{task}.json")
    whole = api.segment(args.aff, **cut, memory="100GB").numpy()
    what = {**cut, "shape": list(whole.shape), "objects": len(np.unique(whole))}
    before = kept(results)
    done = before["equal"] if {k: before.get(k) for k in what} == what else []
    chosen = shapes(source, args.shapes, rng)
    for block, (way, how) in itertools.product(chosen, WAYS.items()):
        if [list(block), way] in done:
            continue
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "x.zarr"
            labels = made(args.aff, out, cut, block, how, rng)
            if not np.array_equal(labels.numpy(), whole):
                sys.exit(f"blocks of {block}, {way}: other labels than the whole volume gives")
            shutil.rmtree(folder, ignore_errors=True)
            Path(folder).mkdir()
        done.append([list(block), way])
        print(f"{len(done)}: blocks of {block}, {way}: equal", flush=True)
        name = "aff.zarr" if task == "neurons" else "mito.zarr"
        command = f"python bench/invariance.py {name} --shapes {args.shapes} --seed {args.seed}"
        keep({**what, "command": command, "machine": machine(), "versions": versions(), "equal": done}, results)


if __name__ == "__main__":
    main()
