"""The demo: the main job from tissue to report on an embedded phantom, with nothing downloaded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neuropil import api
from neuropil.errors import InputError
from neuropil.geometry import Int3
from neuropil.io.hdf5 import write_hdf5
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
    stages: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        print(f"── {name}", file=sys.stderr, flush=True)
        started = time.monotonic()
        result = work()
        stages[name.replace(" ", "_")] = time.monotonic() - started
        return result

    # two seeds are two animals: nothing of the test tissue is seen in training
    known, unseen = out / "known.h5", out / "unseen.h5"
    timed("make known tissue", lambda: phantom_file(known, 2 * seed, TRAIN_SHAPE))
    timed("make unseen tissue", lambda: phantom_file(unseen, 2 * seed + 1, TEST_SHAPE))
    timed(
        "train",
        lambda: api.train(
            [f"{known}:raw"], [f"{known}:labels"], out / "run", budget=budget, set=[f"train.seed={seed}"]
        ),
    )
    run = out / "run"
    affinities = timed("predict", lambda: api.predict(run, f"{unseen}:raw", out / "affinities.zarr"))
    labels = timed("segment", lambda: api.segment(affinities, out=out / "segmentation.zarr"))
    truth = f"{unseen}:labels"
    scores = timed("evaluate", lambda: api.evaluate(labels, truth))
    api.report(
        [run], out / "report.html", image=f"{unseen}:raw", segmentation=labels, truth=truth, affinities=affinities
    )
    return {
        **{k: v for k, v in scores.items() if k not in ("task", "convention", "ignore_border_nm")},
        "report": str(out / "report.html"),
        **{f"{stage}_seconds": round(spent, 1) for stage, spent in stages.items()},
    }


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
