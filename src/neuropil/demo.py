"""The demos: the main jobs from tissue to report on embedded phantoms, with nothing downloaded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuropil import api
from neuropil.errors import InputError
from neuropil.geometry import Int3
from neuropil.io.base import file_errors
from neuropil.io.hdf5 import write_hdf5
from neuropil.io.swc import write_swc
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.lm import LMPhantom
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.volume import Volume

TRAIN_SHAPE: Int3 = (96, 160, 160)
TEST_SHAPE: Int3 = (96, 160, 160)
#: What is tried as it comes, and then trained on: it has seen FIB-25, never a phantom.
MODEL = "zoo:em-neurons-fib25"
NEURON = LMPhantomConfig.confocal()


def run_demo(out: Path, *, budget: float, seed: int) -> dict[str, Any]:
    """Make two phantoms; segment one as a shipped model can, and trained on the other; report; see `api.demo`."""
    _new_folder(out)
    timed = _Stages()
    # two seeds are two animals: nothing of the test tissue is seen in training
    known, unseen = out / "known.h5", out / "unseen.h5"
    timed("make known tissue", lambda: phantom_file(known, 2 * seed, TRAIN_SHAPE))
    timed("make unseen tissue", lambda: phantom_file(unseen, 2 * seed + 1, TEST_SHAPE))
    truth = f"{unseen}:labels"
    untrained = timed(f"segment with {MODEL}", lambda: api.segment(MODEL, f"{unseen}:raw", out=out / "untrained.zarr"))
    before = api.evaluate(untrained, truth)
    print(f"VOI {before['voi_sum']:.3f}, ARAND {before['arand']:.3f} with no label of this tissue", file=sys.stderr)
    timed(
        "train",
        lambda: api.train(
            [f"{known}:raw"],
            [f"{known}:labels"],
            out / "run",
            init=MODEL,
            budget=budget,
            set=[f"train.seed={seed}"],
        ),
    )
    run = out / "run"
    affinities = timed("predict", lambda: api.predict(run, f"{unseen}:raw", out / "affinities.zarr"))
    labels = timed("segment", lambda: api.segment(affinities, out=out / "segmentation.zarr"))
    scores = timed("evaluate", lambda: api.evaluate(labels, truth))
    api.report(
        [run], out / "report.html", image=f"{unseen}:raw", segmentation=labels, truth=truth, affinities=affinities
    )
    return {
        **{k: v for k, v in scores.items() if k not in ("task", "convention", "ignore_border_nm")},
        **{f"untrained_{k}": before[k] for k in ("voi_split", "voi_merge", "voi_sum", "arand")},
        "report": str(out / "report.html"),
        **timed.seconds(),
    }


def run_lm_demo(out: Path, *, seed: int) -> dict[str, Any]:
    """Make a light-microscopy phantom, trace its neuron, score the tree, write the report; see `api.demo`."""
    _new_folder(out)
    timed = _Stages()
    image, truth, traced = f"{out / 'stack.h5'}:raw", out / "true.swc", out / "traced.swc"
    timed("make a neuron", lambda: lm_phantom_files(out / "stack.h5", truth, seed))
    timed("trace", lambda: api.trace(image, traced))
    report = out / "report.html"
    scores = timed("evaluate", lambda: api.evaluate(traced, truth, task="trees", image=image, report=report))
    shown = ("task", "convention", "tolerance", "unit", "step_nm", "sweep")
    return {**{k: v for k, v in scores.items() if k not in shown}, "report": str(report), **timed.seconds()}


def lm_phantom_files(stack: Path, tree: Path, seed: int) -> None:
    """Write a confocal phantom as HDF5 with dataset raw, and its neuron as SWC."""
    phantom = LMPhantom(replace(NEURON, seed=seed))
    box = phantom.box
    write_hdf5(stack, {"raw": Volume(phantom.image(box), box.voxel_size, kind="image")})
    write_swc(phantom.skeletons()[0], tree, units="um")


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


class _Stages:
    """Says what is going on, and how long it took."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        print(f"── {name}", file=sys.stderr, flush=True)
        started = time.monotonic()
        result = work()
        self._spent[name.replace(" ", "_")] = time.monotonic() - started
        return result

    def seconds(self) -> dict[str, float]:
        return {f"{stage}_seconds": round(spent, 1) for stage, spent in self._spent.items()}


def _new_folder(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise InputError(f"'{out}' is not empty", "a new folder", f"choose another --out, or remove '{out}'")
    with file_errors(str(out), "making"):
        out.mkdir(parents=True, exist_ok=True)
