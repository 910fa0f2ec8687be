"""Where a threshold should come from when labels are few: rules compared on tissue that no arm trained on with labels.

    NEUROPIL_DATA=... python bench/calibration.py bench/experiments/fib25_small.yaml runs/studies/fib25_small \
        --test fib25/trvol_250_2.h5 --budgets 0.05 0.25 --seeds 0 1
    python bench/calibration.py table

Takes a finished study (`neuropil bench label-efficiency`). Every network predicts what it held back, what it learned
from, and the test volume; each rule chooses a threshold on the first two, and VOI is taken on the third. Resumable:
what is in docs/results/calibration.json is not done again. The volume that a rule was chosen on is no test of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from merges import judged, right_or_wrong
from neuropil.config import Config
from neuropil.data.normalise import Normaliser, fit_normaliser
from neuropil.data.sampling import split_region
from neuropil.errors import RunError
from neuropil.geometry import Box, Float3, Int3
from neuropil.infer.predict import predict_volume
from neuropil.infer.settings import predict_settings
from neuropil.inputs import opened_run
from neuropil.metrics.overlap import contingency
from neuropil.metrics.partition import scores
from neuropil.models import network_stride
from neuropil.post.agglomerate import hierarchy
from neuropil.studies.design import Cell, Design, labelled_part, read_design
from neuropil.studies.run import LEAST
from neuropil.tasks import neurons
from neuropil.tasks.base import Labelled, Predicted
from neuropil.training.checkpoint import Run
from neuropil.versions import versions
from neuropil.volume import Volume, open_volume, require_kind

RESULT = Path(__file__).parents[1] / "docs" / "results" / "calibration.json"
BEST = "best there (no rule)"
#: What a training does (`neuropil.tasks.neurons.from_few`).
DONE = "what is done"


def pair_of(image: str, labels: str) -> tuple[Volume, Volume]:
    """An image and its labels."""
    return require_kind(open_volume(image), "image"), require_kind(open_volume(labels), "labels")


class Network:
    """A finished run of a study, and what it predicts."""

    def __init__(self, path: Path) -> None:
        self.run = Run.open(path)
        self.config: Config = self.run.config
        self.model = self.run.load_model("cpu")
        z, y, x = network_stride(self.config.model, self.run.voxel_size)
        self.settings = predict_settings(self.config, (z, y, x))
        self.context: Int3 = (2 * z, 2 * y, 2 * x)

    def predicted(self, image: Volume, labels: Volume, box: Box, normaliser: Normaliser) -> Predicted:
        """What a validation of training sees of a box: uint8 affinities (C, Z, Y, X), and the labels."""
        around = box.grown(self.context).intersected(image.box)
        stored = predict_volume(
            self.model,
            image.crop(around),
            offsets=self.run.offsets,
            normalise=normaliser,
            settings=self.settings,
        )
        assert not isinstance(stored, Volume)
        return Predicted(np.ascontiguousarray(stored[(slice(None), *box.slices(around.start))]), labels.read(box))


def labelled_of(network: Network, design: Design, cell: Cell) -> tuple[list[Predicted], list[Predicted]]:
    """What a training held back of its labelled part, and what it learned from."""
    slabs, rest = [], []
    for pair, source in zip(design.train, network.run.card["sources"], strict=True):
        image, labels = pair_of(pair.image, pair.labels)
        part = labelled_part(labels.box, cell.budget, cell.seed, LEAST)
        image, labels = image.crop(part), labels.crop(part)
        learned, slab = split_region(labels.box, network.config.data)
        if slab is None or list(slab.start) != source["held_back"]["start"]:
            raise RunError(f"{cell.name} held back {source['held_back']}", f"{slab}, as the study says")
        normaliser = Normaliser.from_dict(source["normaliser"])
        slabs.append(network.predicted(image, labels, slab, normaliser))
        rest.append(network.predicted(image, labels, learned, normaliser))
    return slabs, rest


def chosen(network: Network, design: Design, cell: Cell) -> dict[str, tuple[float, tuple[float, ...]]]:
    """Rule → (threshold, channel biases), from the labelled part alone."""
    config, voxel_size = network.config, network.run.voxel_size
    slabs, rest = labelled_of(network, design, cell)
    by_voi = {where: neurons.calibrate(parts, voxel_size, config) for where, parts in _wheres(slabs, rest).items()}
    found = {f"VOI, {where}": (row["threshold"], tuple(row["bias"])) for where, row in by_voi.items()}
    bias = tuple(by_voi["slab"]["bias"])
    for where, parts in _wheres(slabs, rest).items():
        found[f"merges, {where}"] = (by_merges(parts, bias, network), bias)
    init = design.arms[cell.arm].init
    kept = {} if init is None else opened_run(init).calibration
    first = {} if init is None else {**kept, "rests_on": sys.maxsize}
    row = neurons.from_few(by_voi["slab"], Labelled(slabs, lambda most: [*slabs, *rest], first), voxel_size, config)
    found[DONE] = (row["threshold"], tuple(row["bias"]))
    if kept.get("threshold") in neurons.THRESHOLDS:
        found["that of the first weights"] = (kept["threshold"], tuple(kept["bias"]))
    return found


def by_merges(parts: Sequence[Predicted], bias: tuple[float, ...], network: Network) -> float:
    """The threshold at which merges turn from right to wrong: the rule of 2026-11-24 to 2026-12-01."""
    segment = network.config.segment.model_copy(update={"bias": bias})
    trees = []
    for stored, labels in parts:
        whole = hierarchy(stored, network.run.offsets, network.run.voxel_size, segment)
        trees.append(judged(whole.tree, contingency(labels, whole.fragments_ZYX)))
    return right_or_wrong(trees, neurons.THRESHOLDS)


def _wheres(slabs: list[Predicted], rest: list[Predicted]) -> dict[str, Sequence[Predicted]]:
    return {"slab": slabs, "all labelled voxels": [*slabs, *rest]}


def compared(network: Network, design: Design, cell: Cell, test: tuple[Volume, Volume]) -> dict[str, Any]:
    """VOI on the test volume at the threshold of each rule, and at the best of all thresholds."""
    image, labels = test
    normaliser = fit_normaliser(image, network.config.data)
    stored, truth = network.predicted(image, labels, labels.box.intersected(image.box), normaliser)
    voxel_size: Float3 = network.run.voxel_size

    @cache
    def sweep(bias: tuple[float, ...]) -> dict[float, float]:
        segment = network.config.segment.model_copy(update={"bias": bias})
        whole = hierarchy(stored, network.run.offsets, voxel_size, segment)
        table = contingency(truth, whole.fragments_ZYX)
        cuts = {t: table.regrouped(whole.lookup(t)) for t in neurons.THRESHOLDS}
        return {t: float(scores(cut, convention="neuropil")["voi_sum"]) for t, cut in cuts.items()}

    rules = chosen(network, design, cell)
    row = {name: {"threshold": t, "voi_sum": round(sweep(bias)[t], 5)} for name, (t, bias) in rules.items()}
    lowest, best = min((v, t) for bias in {b for _, b in rules.values()} for t, v in sweep(bias).items())
    return {**row, BEST: {"threshold": best, "voi_sum": round(lowest, 5)}}


def table(found: dict[str, Any]) -> str:
    """Markdown: mean ± sd of VOI over networks, for each budget."""
    lines = [
        "| rule | labels | networks | VOI on the test volume | beyond the best threshold |",
        "|---|---|---|---|---|",
    ]
    budgets = sorted({row["budget"] for row in found["runs"].values()})
    for budget in budgets:
        rows = [row["rules"] for row in found["runs"].values() if row["budget"] == budget]
        for rule in dict.fromkeys(rule for row in rows for rule in row):
            asked = [row for row in rows if rule in row]
            values = [row[rule]["voi_sum"] for row in asked]
            beyond = statistics.fmean(row[rule]["voi_sum"] - row[BEST]["voi_sum"] for row in asked)
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            lines.append(
                f"| {rule} | {budget:.0%} | {len(asked)} | {statistics.fmean(values):.2f}{spread} | {beyond:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="the YAML file of a finished study, or `table`")
    parser.add_argument("folder", type=Path, nargs="?", help="where it was run")
    parser.add_argument("--test", help="HDF5 file in NEUROPIL_DATA with raw and labels, or sections of it: x.h5[16:20]")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.05, 0.25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--arms", nargs="+", help="only these")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    found: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.is_file() else {"runs": {}}
    if asked.study != "table":
        if asked.folder is None or asked.test is None:
            parser.error("a study needs its folder and --test")
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
        design, where = read_design(asked.study), f"{os.environ['NEUROPIL_DATA']}/{asked.test}"
        if found.setdefault("test", asked.test) != asked.test:
            parser.error(f"{asked.out} holds results on {found['test']}: give another --out")
        file, bracket, part = where.partition("[")
        test = pair_of(f"{file}:raw{bracket}{part}", f"{file}:labels{bracket}{part}")
        for cell in design.cells():
            wanted = (
                cell.budget in asked.budgets and cell.seed in asked.seeds and cell.arm in (asked.arms or [cell.arm])
            )
            if not wanted or DONE in found["runs"].get(cell.name, {"rules": {}})["rules"]:
                continue
            rules = compared(Network(asked.folder / "runs" / cell.name), design, cell, test)
            found["runs"][cell.name] = {"budget": cell.budget, "rules": rules}
            found |= {"command": " ".join(["python", "bench/calibration.py", *sys.argv[1:]]), "versions": versions()}
            asked.out.write_text(json.dumps(found, indent=1) + "\n")
            print(cell.name, {name: row["voi_sum"] for name, row in rules.items()}, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
