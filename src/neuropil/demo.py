"""The demo: the main job from tissue to report on an embedded phantom, with nothing downloaded."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import psutil

from neuropil import api
from neuropil.errors import InputError
from neuropil.geometry import Int3
from neuropil.io.hdf5 import write_hdf5
from neuropil.report import Timing
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.volume import Volume

TRAIN_SHAPE: Int3 = (96, 160, 160)
TEST_SHAPE: Int3 = (96, 160, 160)


def run_demo(out: Path, *, budget: float, seed: int) -> dict[str, Any]:
    """Make two phantoms, train on one, segment and score the other, write the report; see `api.demo`."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"'{out}' is not empty", "a new folder", f"choose another --out, or remove '{out}'")
    out.mkdir(parents=True, exist_ok=True)
    timings: dict[str, Timing] = {}

    def timed(name: str, voxels: int, work: Any) -> Any:
        print(f"── {name}", file=sys.stderr, flush=True)
        started = time.monotonic()
        result = work()
        memory = psutil.Process().memory_info().rss
        timings[name] = Timing(time.monotonic() - started, memory, voxels)
        return result

    size = TEST_SHAPE[0] * TEST_SHAPE[1] * TEST_SHAPE[2]
    # two seeds are two animals: nothing of the test tissue is seen in training
    known, unseen = out / "known.h5", out / "unseen.h5"
    timed("make known tissue", size, lambda: phantom_file(known, 2 * seed, TRAIN_SHAPE))
    timed("make unseen tissue", size, lambda: phantom_file(unseen, 2 * seed + 1, TEST_SHAPE))
    timed(
        "train",
        0,
        lambda: api.train(
            [f"{known}:raw"], [f"{known}:labels"], out / "run", budget=budget, set=[f"train.seed={seed}"]
        ),
    )
    affinities = timed("predict", size, lambda: api.predict(out / "run", f"{unseen}:raw", out / "affinities.zarr"))
    labels = timed("segment", size, lambda: api.segment(out / "run", f"{unseen}:raw", out / "segmentation.zarr"))
    scores = timed("evaluate", size, lambda: api.evaluate(labels, f"{unseen}:labels"))
    page = api.report(
        [out / "run"],
        out / "report.html",
        image=f"{unseen}:raw",
        segmentation=labels,
        truth=f"{unseen}:labels",
        affinities=affinities.volume,
        timings=timings,
    )
    return {**scores, "report": str(page), "seconds": round(sum(t.seconds for t in timings.values()), 1)}


def phantom_file(path: Path, seed: int, shape: Int3) -> None:
    """Write an EM phantom as HDF5 with datasets raw, labels and mitochondria."""
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=seed, shape=shape))
    box = phantom.box
    write_hdf5(
        path,
        {
            "raw": Volume(phantom.image(box), box.voxel_size, kind="image"),
            "labels": Volume(phantom.neurons(box), box.voxel_size, kind="labels"),
            "mitochondria": Volume(phantom.mitochondria(box), box.voxel_size, kind="labels"),
        },
    )
