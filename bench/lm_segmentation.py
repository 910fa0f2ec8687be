"""Segment, then trace, against tracing the image: stained neurons whose trees were never trained on.

    python bench/lm_segmentation.py phantoms --budget 12m --seeds 0
    NEUROPIL_DATA=... python bench/lm_segmentation.py bigneuron --budget 12m --seeds 0
    python bench/lm_segmentation.py table

A network of the recipe lm_neuron learns from some neurons and their SWC files. Others are then traced twice with the
same default settings, from the image and from the network's prediction, and scored as in bench/tracing.py. Phantoms:
confocal stacks, other seeds are held out. BigNeuron projections: the half that tracing was tuned on is learned from,
neurons of the other are held out (`--held` of them, evenly from all). Resumable: runs lie under runs/bench, and neurons
that are in docs/results/lm_segmentation.json are not traced again. Experiments may run one after the other only.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bigneuron import opened
from neuropil import api
from neuropil.errors import NeuropilError
from neuropil.io.swc import read_swc, write_swc
from neuropil.skeleton import Skeleton
from neuropil.synth.lm import LMPhantom
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.training.checkpoint import Run
from neuropil.versions import versions
from neuropil.volume import Volume
from runs import ROOT, keep, kept, machine, parser
from tracing import scored

RESULTS = ROOT / "docs" / "results" / "lm_segmentation"
RUNS = ROOT / "runs" / "bench"
KEYS = ("esa", "dsa", "precision", "recall", "f1")
#: Harder than the demo's: grainy, blurred, beaded, crossed.
HARD = {"noise": 0.6, "blur": 0.5, "gaps": 0.5, "crossings": 0.2}
LEARNED, FIRST_HELD = 4, 100


@dataclass(frozen=True)
class Case:
    """An image and its tree; trees of projections lie in the image plane."""

    name: str
    image: Volume
    tree: Skeleton
    flat: bool = False

    def scores(self, path: Path) -> dict[str, float]:
        """Of a traced tree; distances in the voxels' longest side."""
        tree = read_swc(path)
        found = scored(self.tree, tree.projected() if self.flat else tree, max(self.image.voxel_size))
        return {k: found[k] for k in KEYS}


def phantom(seed: int) -> Case:
    """A confocal stack of one neuron."""
    config = LMPhantomConfig.confocal(seed=seed, shape=(24, 128, 128), cable_um=250.0, **HARD)
    made = LMPhantom(config)
    name = f"phantom {seed}"
    return Case(name, Volume(made.image(made.box), config.voxel_size, kind="image", name=name), made.skeletons()[0])


@contextmanager
def phantoms(held: int) -> Iterator[tuple[list[Case], list[Case]]]:
    """Neurons to learn from, and others."""
    yield [phantom(s) for s in range(LEARNED)], [phantom(FIRST_HELD + s) for s in range(held)]


@contextmanager
def bigneuron(held: int) -> Iterator[tuple[list[Case], list[Case]]]:
    """One half of the aligned projections, and some of the other."""
    with opened() as neurons:

        def case(row: dict[str, str]) -> Case:
            name = row["id"]
            image = Volume(neurons.image(name)[None], (1.0, 1.0, 1.0), kind="image", name=name)
            return Case(name, image, neurons.gold(name).projected(), flat=True)

        other = neurons.aligned[1::2]
        chosen = np.unique(np.linspace(0, len(other) - 1, held).round().astype(int))
        yield [case(row) for row in neurons.aligned[::2]], [case(other[i]) for i in chosen]


EXPERIMENTS = {"phantoms": phantoms, "bigneuron": bigneuron}
#: Settings beside those of the recipe: crops that fit into the phantoms.
WORDS = {"phantoms": ["data.crop=[16,64,64]"], "bigneuron": []}


def learned(out: Path, cases: list[Case], budget: str, words: list[str]) -> Run:
    """The run in a folder: begun, gone on with, or found complete."""
    trees = out.with_name(out.name + "_trees")
    trees.mkdir(parents=True, exist_ok=True)
    files = [trees / f"{case.name.replace(' ', '_')}.swc" for case in cases]
    for case, file in zip(cases, files, strict=True):
        write_swc(case.tree, file, units="nm")
    images = [case.image for case in cases]
    if not (out / "run.json").is_file():
        api.train(images, files, out, recipe="lm_neuron", budget=budget, set=words)
    elif Run.open(out).card["status"] != "complete":
        api.train(images, files, out, recipe="lm_neuron", resume=True)
    return Run.open(out)


def both(case: Case, run: Run) -> dict[str, Any]:
    """Scores of the tree traced in the image and of the one traced in the prediction; why, where there is none."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("image", "segmented"):
            out, start = Path(folder) / f"{way}.swc", time.process_time()
            try:
                api.trace(case.image if way == "image" else api.predict(run.path, case.image), out)
                found[way] = case.scores(out)
            except NeuropilError as error:
                found[way] = {"failed": error.got.removeprefix(f"{case.name}: ")}
            found[way]["cpu_seconds"] = round(time.process_time() - start, 2)
    return found


def experiment(done: dict[str, Any], name: str, seed: int, asked: Any) -> Iterator[None]:
    """Fill `done` with a seed's run and, neuron by neuron, its scores."""
    with EXPERIMENTS[name](asked.held) as (learn, held):
        words = [f"train.seed={seed}", "train.validations=2", *WORDS[name], *asked.set]
        run = learned(RUNS / f"lm_{name}_{asked.budget}_s{seed}", learn, asked.budget, words)
        last = run.rows("train")[-1]
        done["run"] = {
            "budget": asked.budget,
            "settings": words,
            "steps": last["step"],
            "train_seconds": round(last["elapsed"], 1),
            "learned_from": len(learn),
            "threshold": run.calibration["foreground"],
            "held_back_dice": run.card["best"]["dice"],
        }
        neurons = done.setdefault("neurons", {})
        for case in held:
            if case.name not in neurons:
                neurons[case.name] = both(case, run)
                print(case.name, {way: row.get("f1", "failed") for way, row in neurons[case.name].items()}, flush=True)
                yield


def table(found: dict[str, Any]) -> str:
    """All results as Markdown."""
    lines = [
        "# Segment, then trace",
        "",
        "Made by these commands, then `python bench/lm_segmentation.py table`; all numbers: `lm_segmentation.json`.",
        "",
        "```",
        *found["commands"],
        "```",
        "",
        "A network of the recipe `lm_neuron` learned from some neurons; others were traced from the image and from its",
        "prediction, both with the default settings. Medians over the neurons that both ways traced; distances in",
        "voxels (of stacks, their longest side), tolerance 2. *Better* counts the neurons whose F1 is higher.",
    ]
    heads = ("ESA", "DSA", "P", "R", "F1")
    for name in EXPERIMENTS:
        for seed, row in sorted(found.get(name, {}).items()):
            run, neurons = row["run"], list(row["neurons"].values())
            good = [n for n in neurons if all("f1" in n[way] for way in ("image", "segmented"))]
            lines += ["", f"## {name}, {seed}: {run['learned_from']} learned, {len(neurons)} held out", ""]
            lines += [f"{run['steps']} steps in {run['train_seconds'] / 60:.0f} min; Dice of the slabs held back"]
            lines[-1] += f" {run['held_back_dice']:.2f}."
            lines += ["", f"| traced from | traced | {' | '.join(heads)} | better |", "|---|---|" + "---|" * 6]
            for way, other in (("image", "segmented"), ("segmented", "image")):
                traced = sum("f1" in n[way] for n in neurons)
                cells = [f"{np.median([n[way][k] for n in good]):.{2 if k in KEYS[:2] else 3}f}" for k in KEYS]
                wins = sum(n[way]["f1"] > n[other]["f1"] for n in good)
                title = "the image" if way == "image" else "the prediction"
                lines.append(f"| {title} | {traced}/{len(neurons)} | {' | '.join(cells)} | {wins}/{len(good)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Do what is left of one experiment, or write the table."""
    read = parser(__doc__, EXPERIMENTS, "12m")
    read.add_argument("--held", type=int, default=12, help="neurons that are held out")
    asked = read.parse_args()
    store = RESULTS.with_suffix(".json")
    found = kept(store)
    if asked.experiment == "table":
        RESULTS.with_suffix(".md").write_text(table(found))
        print(table(found))
        return
    seeds = " ".join(map(str, asked.seeds))
    words = "".join(f" --set {word}" for word in asked.set)
    command = f"python bench/lm_segmentation.py {asked.experiment} --budget {asked.budget} --held {asked.held}"
    command += f" --seeds {seeds}{words}"
    if command not in found.setdefault("commands", []):
        found["commands"].append(command)
    found |= {"machine": machine(), "versions": versions()}
    for seed in asked.seeds:
        done = found.setdefault(asked.experiment, {}).setdefault(f"seed {seed}", {})
        for _ in experiment(done, asked.experiment, seed, asked):
            keep(found, store)


if __name__ == "__main__":
    main()
