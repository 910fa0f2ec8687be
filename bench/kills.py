"""Kill work in blocks (-9) at random moments until it is done, many times over: the bytes must always be the same.

    python bench/kills.py                   # 25 kills on a made-up volume
    python bench/kills.py --kills 100 --workers 2

Prints a line a kill; ends with an error at the first difference. Nothing is timed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from neuropil.io import save_volume
from neuropil.volume import Volume

NEUROPIL = str(Path(sys.executable).with_name("neuropil"))
SHAPE = (40, 60, 64)
OFFSETS = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]


def made_up(path: Path) -> None:
    """Smooth random affinities."""
    rng = np.random.default_rng(0)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 1.5) for _ in OFFSETS])
    data = np.clip(150 + 1200 * smooth, 0, 255).astype(np.uint8)
    save_volume(Volume(data, (8, 8, 8), (0, 0, 0), "czyx", "affinities", attrs={"offsets": OFFSETS}), path)


def command(aff: Path, out: Path, workers: int) -> list[str]:
    """What is killed."""
    words = [NEUROPIL, "segment", str(aff), "--out", str(out), "--block", "16,24,24", "--threshold", "0.55"]
    return [*words, "--workers", str(workers)]


def records(out: Path) -> dict[str, int]:
    """When each task was recorded as done."""
    folder = out.with_suffix(".blocks") / "done"
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("[0-9]*.json")}


def contents(out: Path) -> dict[str, bytes]:
    """The bytes of all levels of the labels."""
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("c/*")) if p.is_file()}


def kill_once(words: list[str], out: Path, rng: random.Random) -> bool:
    """Let it do a few tasks, then kill it; False if it was done before."""
    before = records(out)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    more = len(before) + rng.randint(0, 6)
    while len(records(out)) < more and process.poll() is None:
        time.sleep(0.001)
    time.sleep(rng.random() * 0.08)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    now = records(out)
    if any(now.get(name) != at for name, at in before.items()):
        sys.exit("a task that was done was done again")
    return alive


def main() -> None:
    """Kill, compare, repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, kills, finished = random.Random(args.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        aff, straight = Path(folder) / "aff.zarr", Path(folder) / "straight.zarr"
        made_up(aff)
        subprocess.run(command(aff, straight, 1), check=True, capture_output=True)
        while kills < args.kills:
            out = Path(folder) / f"x{finished}.zarr"
            if kill_once(command(aff, out, args.workers), out, rng):
                kills += 1
                print(f"kill {kills}: {len(records(out))} of {len(records(straight))} tasks done", flush=True)
                if len(records(out)) < 0.8 * len(records(straight)):
                    continue
            subprocess.run(command(aff, out, args.workers), check=True, capture_output=True)
            if contents(out) != contents(straight):
                sys.exit(f"run {finished} ended with other bytes")
            finished += 1
            print(f"run {finished} ended with the same bytes", flush=True)
    print(f"{kills} kills, {finished} runs carried to their end, all with the bytes of an undisturbed one")


if __name__ == "__main__":
    main()
