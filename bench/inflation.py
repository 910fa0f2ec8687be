"""Does inflation help? A 2-D transformer that knows natural images, made 3-D, against the same network from scratch.

    NEUROPIL_DATA=... python bench/inflation.py pretrain --scale cpu    # masked autoencoding on 950 photographs
    NEUROPIL_DATA=... python bench/inflation.py run --scale cpu --seeds 0 1 2 3 4
    python bench/inflation.py table --scale cpu                         # docs/results/inflation.md and .json

Resumable: what is under runs/inflation/SCALE is gone on with, each training leaves one result file, and a study that
was begun with other settings or another split is refused. All arms have the same network (`unetr` on `vit_inflated`),
steps, learning rate and crops, and a seed draws the same labels and the same crops for each of them:

- scratch: fresh weights;
- center, average: `neuropil inflate` of the pretrained transformer;
- random: `neuropil inflate` (center) of a 2-D transformer with random weights, to tell weights from layout.

Tracks:

- flat: projections of BigNeuron, one section deep, where center and average are the same weights. Learned from: fly
  neurons. Held out: other fly neurons ("neurons", the score of the goal), and all other organisms ("organisms").
- slab: confocal phantoms, patches five sections deep. Held out: other phantoms ("phantoms", the score of the goal), and
  such with all four knobs at one half ("harder phantoms").

- fly (a scale of its own, `--scale fly`): the 3-D fly neuron, patches five sections deep. Learned from: three pieces of
  its upper half. Held out: the lower half. The tree is another program's automatic trace (rivulet2), which is no truth:
  what is scored is how soon a network does as that program does.

The threshold comes from what each training holds back of its own labels. F1 is taken over voxels whose truth is known
(not in the shell around a neurite), clDice with that shell left empty; means over items, so that each neuron counts
alike. The goal: relative F1 +8.71 % over scratch at the smallest label budget.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import inflation_table
from inflation_data import Item, Items, fly_stack, phantoms, projections
from inflation_mae import fresh, pretrain, publish
from inflation_scales import DEEP_ARMS, SCALES, Scale, Track
from neuropil import api
from neuropil.config import Config
from neuropil.data.tree_labels import tree_labels
from neuropil.errors import NeuropilError, RunError
from neuropil.inputs import seconds
from neuropil.metrics.masks import cldice
from neuropil.studies.design import labelled_few
from neuropil.tasks import trees
from neuropil.tasks.foreground import THRESHOLDS, counted, overlap_at
from neuropil.training.checkpoint import Run
from neuropil.versions import versions
from neuropil.volume import Volume
from runs import ROOT, keep, kept, machine

RESULTS = ROOT / "docs" / "results" / "inflation"
RECIPE = "lm_neuron"


@dataclass(frozen=True)
class Cell:
    """One training: a track, an arm, so many labelled items, and a seed."""

    track: Track
    arm: str
    labelled: int
    seed: int

    @property
    def name(self) -> str:
        """A name for files."""
        return f"{self.track.name}_{self.arm}_{self.labelled}_s{self.seed}"


class Study:
    """A scale's folder: the pretrained transformer, items, runs and results."""

    def __init__(self, scale: Scale, folder: Path) -> None:
        self.scale, self.folder = scale, folder
        self._items: dict[str, Items] = {}

    def items(self, track: Track) -> Items:
        """What a track learns from and is judged on."""
        if track.name not in self._items:
            where = self.folder / "items" / track.name
            if track.source == "projections":
                self._items[track.name] = projections(where, track.window)
            elif track.source == "stack":
                self._items[track.name] = fly_stack(where)
            else:
                drawn = phantoms(where, max(track.labelled), track.tested, track.shapes, track.cable_um)
                self._items[track.name] = drawn
        return self._items[track.name]

    def claim(self) -> None:
        """Write down who is held out and how it is trained before anything is; refuse a folder that says otherwise.

        Raises
        ------
        RunError
            If the folder holds a study of other settings or another split.
        """
        said = json.loads(
            json.dumps(
                {
                    "network": self.scale.facts(),
                    "tracks": {track.name: track.facts() for track in self.scale.tracks},
                    "split": {track.name: self.items(track).account() for track in self.scale.tracks},
                }
            )
        )
        known = kept(self.folder / "study.json")
        if known and known != said:
            raise RunError(f"'{self.folder}' was begun with other settings or another split", "a new --folder")
        keep(said, self.folder / "study.json")

    def cells(self, seeds: list[int]) -> Iterator[Cell]:
        """All that is to be trained, seeds outermost: every arm has a first result early."""
        for seed, track in itertools.product(seeds, self.scale.tracks):
            for labelled, arm in itertools.product(track.labelled, track.arms):
                yield Cell(track, arm, labelled, seed)

    def result(self, cell: Cell) -> Path:
        """Its one file."""
        return self.folder / "results" / f"{cell.name}.json"

    def rows(self) -> list[dict[str, Any]]:
        """All results that are there."""
        return [json.loads(path.read_text()) for path in sorted((self.folder / "results").glob("*.json"))]

    def inflated(self, track: Track, arm: str, seed: int) -> Run:
        """The inflated encoder of an arm: of the pretrained transformer, or of one with random weights by the seed."""
        source, depth = self.folder / "pretrain" / "vit2d.safetensors", arm
        if arm == "random":
            source, depth = self.folder / "random" / f"vit2d_s{seed}.safetensors", "center"
            if not source.is_file():
                publish(fresh(self.scale.masked, seed).encoder, source)
        elif not source.is_file():
            raise RunError(f"no pretrained transformer '{source}'", "a file", "first: bench/inflation.py pretrain")
        name = f"{track.name}_{arm}" + (f"_s{seed}" if arm == "random" else "")
        out = self.folder / "encoders" / name
        if not (out / "run.json").is_file():
            words = [f"inflate.heads={self.scale.masked.shape.heads}"]
            api.inflate(source, out, depth=depth, mode=track.mode, patch=track.patch, set=words)
        return Run.open(out)


def network_words(encoder: Run) -> list[str]:
    """Settings of the network around an inflated encoder, for one from scratch as for the others."""
    vit = encoder.config.model.vit.model_dump(mode="json", exclude={"taps", "decoder", "drop_path", "checkpointing"})
    own = {f"model.vit.{key}": value for key, value in vit.items() if key != "inflated"}
    own |= {f"model.vit.inflated.{key}": value for key, value in vit["inflated"].items()}
    own |= {"model.name": "unetr", "model.encoder": "vit_inflated"}
    return [f"{key}={json.dumps(value)}" for key, value in own.items()]


def run_cell(study: Study, cell: Cell) -> dict[str, Any]:
    """Train (or go on), predict the test, score it."""
    track, items = cell.track, study.items(cell.track)
    out = study.folder / "runs" / cell.name
    few = [items.learned[i] for i in labelled_few(len(items.learned), cell.labelled / len(items.learned), cell.seed)]
    encoder = study.inflated(track, "random" if cell.arm == "scratch" else cell.arm, cell.seed)
    images, truths = [item.volume for item in few], [str(item.tree) for item in few]
    started = time.process_time()
    if not (out / "run.json").is_file():
        words = [*study.scale.words, *track.words, *network_words(encoder), f"train.seed={cell.seed}"]
        init = None if cell.arm == "scratch" else encoder.path
        api.train(images, truths, out, recipe=RECIPE, steps=track.steps, init=init, set=words)
    elif Run.open(out).card["status"] != "complete":
        api.train(images, truths, out, resume=True)
    run, learned = Run.open(out), time.process_time()
    scored = [{"name": i.name, "group": i.group, **score(run, i)} for i in items.test]
    groups = dict.fromkeys(row["group"] for row in scored)
    keys = ("f1", "cldice", "best_f1")
    return {
        "track": track.name,
        "arm": cell.arm,
        "labelled": cell.labelled,
        "seed": cell.seed,
        "test": {
            group: {k: round(statistics.fmean(r[k] for r in scored if r["group"] == group), 5) for k in keys}
            for group in groups
        },
        "threshold": run.calibration["foreground"],
        "held_back_f1": run.card["best"]["dice"],
        "steps": track.steps,
        "cpu_seconds": {
            "train": round(learned - started, 1),
            "test": round(time.process_time() - learned, 1),
        },
        "of": [item.name for item in few],
        "items": scored,
    }


def score(run: Run, item: Item) -> dict[str, float]:
    """F1 and clDice at the run's own threshold, and the best F1 that any threshold would have given."""
    image = item.volume
    stored = api.predict(run, image)
    assert isinstance(stored, Volume)
    found = stored.numpy()[0]
    foreground, known = truth_of(item, image, run.config)
    counts = counted(found, foreground, known)
    threshold = run.calibration["foreground"]
    mask = (found >= np.ceil(255 * threshold)) & known
    return {
        "f1": overlap_at(counts, threshold)["dice"],
        "cldice": round(cldice(foreground, mask)["cldice"], 5),
        "best_f1": max(overlap_at(counts, t)["dice"] for t in THRESHOLDS),
    }


def truth_of(item: Item, image: Volume, config: Config) -> tuple[Any, Any]:
    """Where the foreground is, and where that is known, (Z, Y, X)."""
    labels = tree_labels(str(item.tree), image, None, config).numpy()
    taught = trees.targets(config, item.voxel_size)(labels.astype(np.uint32), np.ones(labels.shape, np.bool_))
    return taught["targets"][0] > 0, taught["valid"][0] > 0


def wanted(cell: Cell, asked: argparse.Namespace) -> bool:
    """Whether a cell is among those that were asked for."""
    pairs = ((asked.tracks, cell.track.name), (asked.arms, cell.arm), (asked.labelled, cell.labelled))
    return all(some is None or own in some for some, own in pairs)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["pretrain", "run", "table"])
    parser.add_argument("--scale", choices=list(SCALES), default="cpu")
    parser.add_argument("--budget", help="of pretraining, such as 12m; the scale's steps by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tracks", nargs="+", help="only some of them")
    parser.add_argument("--arms", nargs="+", choices=DEEP_ARMS, help="only some of them")
    parser.add_argument("--labelled", type=int, nargs="+", help="only these label budgets")
    parser.add_argument("--folder", type=Path, help="runs/inflation/SCALE by default")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    scale = SCALES[args.scale]
    study = Study(scale, args.folder or ROOT / "runs" / "inflation" / args.scale)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.part == "pretrain":
        budget = seconds(args.budget) if args.budget else None
        print(json.dumps(pretrain(scale.masked, study.folder / "pretrain", budget, device), indent=1))
    elif args.part == "run":
        study.claim()
        for cell in study.cells(args.seeds):
            if wanted(cell, args) and not study.result(cell).is_file():
                row = run_cell(study, cell)
                keep(row, study.result(cell))
                print(cell.name, row["test"], row["cpu_seconds"], flush=True)
    else:
        publish_table(study, args.scale, args.results)


def publish_table(study: Study, scale: str, out: Path) -> None:
    """Write the results of a scale beside those of others."""
    found = kept(out.with_suffix(".json"))
    found[scale] = {
        **kept(study.folder / "study.json"),
        "pretraining": kept(study.folder / "pretrain" / "pretrain.json"),
        "machine": machine(),
        "versions": versions(),
        "runs": [{k: v for k, v in row.items() if k != "items"} for row in study.rows()],
    }
    keep(found, out.with_suffix(".json"))
    text = inflation_table.page(found)
    out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except NeuropilError as error:
        sys.exit(f"error: {error}")
