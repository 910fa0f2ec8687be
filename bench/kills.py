"""Kill work in blocks (-9) at random moments until it is done, many times over: the bytes must always be the same.

    python bench/kills.py                   # 25 runs on a made-up volume, each killed up to three times
    python bench/kills.py --runs 100 --workers 2

Prints a line a kill; ends with an error at the first difference. Nothing is timed.
"""

from __future__ import annotations

import argparse
import random
import shutil
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
#: Kills of one run.
MOST = 3
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


def carried(words: list[str], out: Path, straight: Path, rng: random.Random) -> int:
    """One run, killed some times and then carried to its end; how often it was killed."""
    kills = 0
    for _ in range(rng.randint(1, MOST)):
        if not kill_once(words, out, rng):
            break
        kills += 1
        print(f"  kill {kills}: {len(records(out))} of {len(records(straight))} tasks done", flush=True)
    before = records(out)
    subprocess.run(words, check=True, capture_output=True)
    if any(records(out).get(name) != at for name, at in before.items()):
        sys.exit("a task that was done was done again")
    if contents(out) != contents(straight):
        sys.exit("other bytes than those of an undisturbed run")
    return kills


def main() -> None:
    """Kill, carry on, compare, repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=25, help="runs that are killed at least once")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, kills, runs, number = random.Random(args.seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        aff, straight = Path(folder) / "aff.zarr", Path(folder) / "straight.zarr"
        made_up(aff)
        subprocess.run(command(aff, straight, 1), check=True, capture_output=True)
        while runs < args.runs:
            out, number = Path(folder) / f"x{number}.zarr", number + 1
            found = carried(command(aff, out, args.workers), out, straight, rng)
            runs, kills = runs + (found > 0), kills + found
            print(f"run {number}: killed {found} times, the same bytes", flush=True)
            shutil.rmtree(out)
            shutil.rmtree(out.with_suffix(".blocks"), ignore_errors=True)
    print(f"{kills} kills in {runs} runs, all carried to their end with the bytes of an undisturbed one")


if __name__ == "__main__":
    main()
