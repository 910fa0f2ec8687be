"""Affinities on disk to labels on disk, in blocks: speed with one and two workers, memory, and waterz beside.

    neuropil predict RUN "$NEUROPIL_DATA/fib25/devtest_250x190x300.h5:raw" --out aff.zarr
    python bench/bench_blockwise.py aff.zarr --truth "$NEUROPIL_DATA/fib25/devtest_250x190x300.h5:labels"
    python bench/bench_blockwise.py aff.zarr --mirror 2 --block 256,256,256 --waterz 0.35
    python bench/bench_blockwise.py aff.zarr --mirror 5 --block 256,256,256
    python bench/bench_blockwise.py aff.zarr --mirror 4 --block 256,256,256 --contacts

Adds an entry to docs/results/blockwise_speed.json. waterz gets the same nearest affinities in memory (reading is not
counted), makes fragments of its own, and uses one thread, which is all it can. With --truth the threshold of each
program is chosen on the lower half of the volume along x, and the upper half is scored. Every program runs in a fresh
process whose compiled code is cached; the labels of all ways are checked to be the same. Larger volumes are mirrored.
With --contacts only one worker runs, and then the contacts of its blocks are merged again by one process, as those
scores are that boxes cannot merge: seconds and memory of both, what boxes leave, and whether the merge trees are equal.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from bench_segment import quiet
from memory import Peak
from neuropil import api, open_volume
from neuropil.affinities import NEAREST, as_offsets
from neuropil.config import Config, SegmentConfig, override
from neuropil.io import save_volume
from neuropil.jobs.begin import from_prediction
from neuropil.jobs.contract import whole_graph
from neuropil.metrics.evaluate import evaluate_arrays
from neuropil.outputs import peak_memory
from neuropil.post.agglomerate import hierarchy, segment
from neuropil.post.decoders import Neurons, Parts
from neuropil.volume import Volume
from runs import ROOT, keep, kept, machine

SWEEP = tuple(round(float(t), 2) for t in np.arange(0.1, 0.901, 0.02))
NINE = SWEEP[::5]
RESULTS = ROOT / "docs/results/blockwise_speed.json"
Voi = dict[str, float]


class Mirrored:
    """An array of (C, Z, Y, X) mirrored along z, y and x as often as asked, read by parts."""

    def __init__(self, array_CZYX: npt.NDArray[Any], times: int) -> None:
        self.array, self.dtype = array_CZYX, array_CZYX.dtype
        self.shape = (array_CZYX.shape[0], *(n * times for n in array_CZYX.shape[1:]))

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        """The part: every second copy runs backwards."""
        out = self.array[key[0]]
        for axis, part in enumerate(key[1:], 1):
            n = self.array.shape[axis]
            copy, at = np.divmod(np.arange(part.start, part.stop), n)
            out = out.take(np.where(copy % 2, n - 1 - at, at), axis)
        return out


def prepare(source: str, folder: Path, mirror: int) -> None:
    """The nearest affinities of a volume, mirrored, on disk."""
    volume = open_volume(source)
    offsets = list(as_offsets(volume.attrs["offsets"]))
    aff = volume.numpy()[[offsets.index(o) for o in NEAREST]]
    attrs = {"offsets": [list(o) for o in NEAREST]}
    made = Volume(Mirrored(aff, mirror), volume.voxel_size, (0, 0, 0), "czyx", "affinities", attrs=attrs)
    save_volume(made, folder / "aff.zarr")


def in_blocks(folder: Path, threshold: float, block: str, workers: int) -> dict[str, Any]:
    """Our labels by the command line's own road; the most that it and its workers held."""
    out, shape = folder / f"w{workers}.zarr", tuple(int(b) for b in block.split(","))
    started = time.perf_counter()
    found = api.segment(
        folder / "aff.zarr", out=out, threshold=threshold, block=shape, workers=workers, set=["jobs.memory_gb=16"]
    )
    seconds, stages = time.perf_counter() - started, found.attrs["timings"]
    peak = max(s["peak_bytes"] for s in stages.values())
    return {"seconds": seconds, "objects": found.attrs["objects"], "peak_bytes": peak, "stages": stages}


def as_one(folder: Path, threshold: float) -> dict[str, Any]:
    """Our labels of the volume as one, from disk to disk."""
    started = time.perf_counter()
    found = api.segment(folder / "aff.zarr", out=folder / "whole.zarr", threshold=threshold, memory="100GB")
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "objects": found.attrs["objects"], "peak_bytes": peak_memory()}


def in_memory(folder: Path, threshold: float) -> dict[str, Any]:
    """Our labels from an array to an array, on one thread: what waterz does."""
    volume = open_volume(folder / "aff.zarr")
    aff, config = volume.numpy(), SegmentConfig(threshold=threshold)
    segment(aff[:, :24, :24, :24], NEAREST, volume.voxel_size, config)
    started = time.perf_counter()
    labels = segment(aff, NEAREST, volume.voxel_size, config)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "objects": int(labels.max()), "peak_bytes": peak_memory()}


def by_waterz(folder: Path, threshold: float) -> dict[str, Any]:
    """waterz: watershed fragments and mean-affinity agglomeration, in memory, at one threshold."""
    import waterz

    affinities = open_volume(folder / "aff.zarr").numpy().astype(np.float32) / 255
    started = time.perf_counter()
    with quiet():
        labels = next(iter(waterz.agglomerate(affinities, [1 - threshold])))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "objects": len(np.unique(labels)), "peak_bytes": peak_memory()}


def sweeps(folder: Path, truth: str) -> dict[str, Any]:
    """VOI of both programs at every threshold, by halves; seconds of one threshold and of nine of ours."""
    import waterz

    volume, true = open_volume(folder / "aff.zarr"), open_volume(truth).numpy()
    aff, middle = volume.numpy(), true.shape[2] // 2

    def halves(labels: npt.NDArray[Any]) -> list[Voi]:
        parts = (slice(None, middle), slice(middle, None), slice(None))
        return [voi(true[..., part], labels[..., part], volume) for part in parts]

    def cut(thresholds: Sequence[float]) -> float:
        started = time.perf_counter()
        whole = hierarchy(aff, NEAREST, volume.voxel_size, SegmentConfig())
        for t in thresholds:
            whole.labels(t)
        return time.perf_counter() - started

    cut(SWEEP[:1])
    seconds = {"one threshold": cut(NINE[:1]), "nine thresholds": cut(NINE)}
    whole = hierarchy(aff, NEAREST, volume.voxel_size, SegmentConfig())
    ours = {t: halves(whole.labels(t)) for t in SWEEP}
    theirs = {}
    with quiet():
        for t, labels in zip(
            SWEEP[::-1], waterz.agglomerate(aff.astype(np.float32) / 255, [1 - t for t in SWEEP[::-1]]), strict=True
        ):
            theirs[t] = halves(labels.astype(np.int64))
    return {"neuropil": chosen(ours), "waterz": chosen(theirs), "seconds": seconds}


def voi(true: npt.NDArray[Any], labels: npt.NDArray[Any], volume: Volume) -> Voi:
    """Split, merge and sum, in bits."""
    found = evaluate_arrays(true, labels, volume.voxel_size, ignore_border_nm=None, convention="neuropil")
    return {key: float(found[f"voi_{key}"]) for key in ("split", "merge", "sum")}


def chosen(by_threshold: dict[float, list[Voi]]) -> dict[str, Any]:
    """The threshold that is best on the lower half, and what it gives; the best that any gives."""
    best = min(by_threshold, key=lambda t: by_threshold[t][0]["sum"])
    lower, upper, whole = by_threshold[best]
    any_best = min(values[2]["sum"] for values in by_threshold.values())
    return {"threshold": best, "lower": lower, "upper": upper, "whole": whole, "best_whole": any_best}


def merged_in_boxes(folder: Path) -> dict[str, Any]:
    """What the stages of boxes and the last one took of the contacts that one worker's blocks stored."""
    blocks = folder / "w1.blocks"
    found: dict[str, Any] = {}
    for stage in [*sorted(p.name for p in (blocks / "done").glob("contract_*")), "numbers", "graph"]:
        records = [json.loads(path.read_text()) for path in (blocks / "done" / stage).glob("*.json")]
        facts = {key: sum(r.get(key, 0) for r in records) for key in ("seconds", "pieces", "merges", "left")}
        found[stage] = facts | {"tasks": len(records), "peak_bytes": max(r["peak_bytes"] for r in records)}
    return found


def load_kernels() -> None:
    """Compiled code is read from its cache here, and not where time is measured."""
    noise = np.random.default_rng(0).integers(0, 256, (len(NEAREST), 16, 16, 16), np.uint8)
    segment(noise, NEAREST, (8.0, 8.0, 8.0), SegmentConfig(threshold=0.5))


def stored_parts(blocks: Path) -> Parts:
    """What the blocks of a finished job know of their pieces."""

    def parts() -> Iterator[tuple[Any, npt.NDArray[np.int64]]]:
        for n in range(len(list((blocks / "parts").glob("*.npz")))):
            with np.load(blocks / f"parts/{n}.npz") as part, np.load(blocks / f"numbers/{n}.npz") as table:
                yield part, table["numbers"]

    return parts


def merged_last(folder: Path, threshold: float, block: str) -> dict[str, Any]:
    """The stage `graph` once more, alone in a process: what boxes left, and the tree of all merges."""
    volume, out = open_volume(folder / "aff.zarr"), folder / "w1.zarr"
    config = override(Config(), [f"segment.threshold={threshold}", f"jobs.block=[{block}]"])
    job, _ = from_prediction(volume, NEAREST, config, out)
    fragments = int(np.load(job.folder / "numbers/count.npz")["count"])
    load_kernels()
    started = time.perf_counter()
    with Peak() as peak:
        whole_graph(job, stored_parts(job.folder), fragments)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_bytes": peak.most, "before_bytes": peak.before}


def merged_at_once(folder: Path) -> dict[str, Any]:
    """The same contacts merged by one process; its tree is compared with that of the boxes, bit for bit."""
    blocks, volume = folder / "w1.blocks", open_volume(folder / "aff.zarr")
    fragments = int(np.load(blocks / "numbers/count.npz")["count"])
    load_kernels()
    started = time.perf_counter()
    with Peak() as peak:
        graph = Neurons(NEAREST, volume.voxel_size, SegmentConfig()).graph(stored_parts(blocks), fragments)
    seconds = time.perf_counter() - started
    with np.load(blocks / "graph/graph.npz") as boxed:
        same = all(np.array_equal(boxed[k], graph[k]) for k in ("tree_pairs", "tree_scores", "tree_levels", "sizes"))
    facts = {"fragments": fragments, "contacts": len(graph["edges"]), "same_tree": bool(same)}
    return {"seconds": seconds, "peak_bytes": peak.most, "before_bytes": peak.before, **facts}


def measure_contacts(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One worker in blocks, and its contacts once more in one process."""
    here = ("--folder", str(folder), "--block", args.block, "--threshold", str(args.threshold))
    fresh("--one", "warm", *here)
    blocks = fresh("--one", "blocks", "--workers", "1", *here)
    boxed, last, at_once = merged_in_boxes(folder), fresh("--one", "last", *here), fresh("--one", "contacts", *here)
    if not at_once["same_tree"]:
        sys.exit("boxes gave another merge tree than one process")
    size = open_volume(folder / "aff.zarr").box.size / 1e6
    found = {"in boxes": boxed, "last of boxes": last, "at once": at_once}
    return {"mvoxel": size, "runs": {"blocks, 1 workers": blocks}, "contacts": found}


def say_contacts(found: dict[str, Any]) -> None:
    """What is left for the last process, and what both roads took."""
    total, boxed = found["at once"]["contacts"], found["in boxes"]
    print(f"{total} contacts of {found['at once']['fragments']} fragments")
    for stage, facts in boxed.items():
        if stage.startswith("contract"):
            left, took = facts["left"] / total, facts["seconds"]
            print(f"{stage:20s} {facts['tasks']:4d} tasks {took:7.2f} s in all; {left:6.1%} of the contacts left")
    for name in ("last of boxes", "at once"):
        facts = found[name]
        held = (facts["peak_bytes"] - facts["before_bytes"]) / 2**30
        print(
            f"{name:20s} {facts['seconds']:7.2f} s {facts['peak_bytes'] / 2**30:6.2f} GiB, {held:.2f} of them its own"
        )


def fresh(*words: str) -> dict[str, Any]:
    """What this file prints when it is asked to do one thing in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every program once, compiled code cached before."""
    here = ("--folder", str(folder), "--block", args.block)
    fresh("--one", "warm", *here)
    quality = fresh("--one", "sweeps", "--truth", args.truth, *here) if args.truth else {}
    ours, theirs = (
        quality[name]["threshold"] if quality else given
        for name, given in (("neuropil", args.threshold), ("waterz", args.waterz))
    )
    at = ("--threshold", str(ours))
    found = {} if args.mirror > 2 else {way: fresh("--one", way, *at, *here) for way in ("memory", "whole")}
    for workers in (1, 2):
        found[f"blocks, {workers} workers"] = fresh("--one", "blocks", "--workers", str(workers), *at, *here)
    if theirs is not None:
        found["waterz"] = fresh("--one", "waterz", "--threshold", str(theirs), *here)
    first = open_volume(folder / "w1.zarr")
    for other in ["w2.zarr", "whole.zarr"][: 1 + ("whole" in found)]:
        volume = open_volume(folder / other)
        if not all(np.array_equal(volume.read(b.write), first.read(b.write)) for b in first.blocks()):
            sys.exit(f"{other} holds other labels than one worker gave")
    size = first.box.size / 1e6
    for values in found.values():
        values["mvoxel_per_second"] = size / values["seconds"]
        values["core_hours_per_gigavoxel"] = values["seconds"] / 3600 / size * 1e3
    found["blocks, 2 workers"]["core_hours_per_gigavoxel"] *= 2
    return {"mvoxel": size, "runs": found, "quality": quality, "ratios": ratios(found, quality)}


def ratios(found: dict[str, Any], quality: dict[str, Any]) -> dict[str, float]:
    """What the goals are about."""
    speed = {name: values["mvoxel_per_second"] for name, values in found.items()}
    out = {"two workers to one": speed["blocks, 2 workers"] / speed["blocks, 1 workers"]}
    if "waterz" in speed:
        out |= {f"{name} to waterz": speed[name] / speed["waterz"] for name in speed if name != "waterz"}
    if quality:
        for part in ("upper", "whole"):
            out[f"VOI to waterz, {part}"] = quality["neuropil"][part]["sum"] / quality["waterz"][part]["sum"]
        out["nine thresholds to one"] = quality["seconds"]["nine thresholds"] / quality["seconds"]["one threshold"]
    return out


def one(args: argparse.Namespace) -> dict[str, Any]:
    """What a fresh process is asked to do."""
    if args.one == "warm":
        tiny = open_volume(f"{args.folder / 'aff.zarr'}[0:32,0:32,0:32]")
        api.segment(tiny, out=args.folder / "warm.zarr", threshold=0.5, block=(16, 32, 32))
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "warm": dict,
        "sweeps": lambda: sweeps(args.folder, args.truth),
        "memory": lambda: in_memory(args.folder, args.threshold),
        "whole": lambda: as_one(args.folder, args.threshold),
        "blocks": lambda: in_blocks(args.folder, args.threshold, args.block, args.workers),
        "waterz": lambda: by_waterz(args.folder, args.threshold),
        "last": lambda: merged_last(args.folder, args.threshold, args.block),
        "contacts": lambda: merged_at_once(args.folder),
    }
    return ways[args.one]()


def main() -> None:
    """Measure, print a table, add to the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("aff", nargs="?", help="affinities of a network, with offsets")
    parser.add_argument("--truth", help="true labels on the same grid: waterz is compared with")
    parser.add_argument("--mirror", type=int, default=1, help="mirror the volume so many times along every axis")
    parser.add_argument("--block", default="128,128,192")
    parser.add_argument("--threshold", type=float, default=0.4, help="without --truth")
    parser.add_argument("--waterz", type=float, help="without --truth: run waterz too, at this threshold")
    parser.add_argument("--contacts", action="store_true", help="only how contacts are merged: in boxes, and at once")
    parser.add_argument("--scratch", help="where volumes are written meanwhile")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args)))
        return
    if not args.aff or (args.truth and args.mirror > 1):
        parser.error("name the affinities; mirrored ones have no truth")
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        prepare(args.aff, Path(folder), args.mirror)
        result = (measure_contacts if args.contacts else measure)(Path(folder), args)
    if args.contacts:
        say_contacts(result["contacts"])
    for name, values in result["runs"].items():
        speed, held = result["mvoxel"] / values["seconds"], values["peak_bytes"] / 2**30
        print(
            f"{name:18s} {values['seconds']:8.1f} s {speed:7.2f} Mvoxel/s {held:6.2f} GiB  {values['objects']} objects"
        )
    print({name: round(value, 3) for name, value in result.get("ratios", {}).items()})
    words = f"--mirror {args.mirror} --block {args.block}" + (" --truth TRUTH" if args.truth else "")
    words += "" if args.truth else f" --threshold {args.threshold}"
    words += "" if args.waterz is None else f" --waterz {args.waterz}"
    words += " --contacts" if args.contacts else ""
    versions = {n: importlib.metadata.version(n) for n in ("neuropil", "numba", "tensorstore", "waterz")}
    load = psutil.getloadavg()[0]
    rest = ", contacts" if args.contacts else "" if "waterz" in result["runs"] else ", ours alone"
    title = f"{result['mvoxel']:.0f} Mvoxel{rest}"
    result |= {"command": f"python bench/bench_blockwise.py aff.zarr {words}", "load_at_end": load}
    keep(
        kept(RESULTS) | {title: result | {"machine": machine(), "versions": versions}},
        RESULTS,
    )


if __name__ == "__main__":
    main()
