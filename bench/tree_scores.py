"""Tree scores of published automatic traces on the aligned BigNeuron projections, and of our own beside them.

    python bench/tree_scores.py [--ours DIR] [--split dev] [--out docs/results/tree_scores]

NEUROPIL_DATA/bigneuron/dev.zip holds gold trees, seven tracers' results and their consensus. The images are maximum
projections, so all trees are projected onto the image plane (z = 0) before they are scored; the same in 3-D stands
beside it. Distances in voxels, convention vaa3d, tolerance 2. `--ours` names a folder of ID.swc (voxels, or with a unit
in the header): one more row. Writes the table as .md and everything as .json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bigneuron import PUBLISHED, TRACERS, Neurons, opened, read
from neuropil.config.trees import TreeScoreConfig
from neuropil.errors import NeuropilError
from neuropil.metrics.tree import tree_scores
from neuropil.metrics.tree_pair import TreePair
from neuropil.skeleton import Skeleton

KEYS = ("esa", "dsa", "pds", "precision", "recall", "f1", "f1_auc", "length_ratio", "diadem", "critical_f1")


def scored(gold: Skeleton, trace: Skeleton) -> dict[str, float]:
    """The scores in the plane, and ESA, F1 in 3-D."""
    config = TreeScoreConfig()
    plane = tree_scores(TreePair(gold.projected(), trace.projected(), step_nm=1.0, config=config))
    space = tree_scores(TreePair(gold, trace, step_nm=1.0, config=config))
    return {k: plane[k] for k in KEYS if k in plane} | {"esa_3d": space["esa"], "f1_3d": space["f1"]}


def collected(neurons: Neurons, rows: list[dict[str, str]], ours: Path | None) -> dict[str, dict[str, Any]]:
    """Neuron → tracer → scores, or the message of why there are none."""
    found = {}
    for neuron in (row["id"] for row in rows):
        paths = {t: neurons.path(neuron, name) for t, name in PUBLISHED.items() if neurons.has(neuron, name)}
        if ours is not None:
            paths["ours"] = ours / f"{neuron}.swc"
        gold = neurons.gold(neuron)
        found[neuron] = {tracer: attempt(gold, path) for tracer, path in paths.items()}
        print(neuron, {t: round(s["esa"], 2) if "esa" in s else s for t, s in found[neuron].items()}, flush=True)
    return found


def attempt(gold: Skeleton, path: Path) -> dict[str, Any]:
    """Scores, or {"failed": why}."""
    try:
        return scored(gold, read(path))
    except NeuropilError as error:
        return {"failed": error.got}


def table(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a tracer: medians over its traces, and how many of the neurons that any tracer was run on it lacks."""
    run_on = [n for n, scores in found.items() if any(t in scores for t in TRACERS)]
    rows = []
    for tracer in (*PUBLISHED, "ours"):
        scores = [found[n][tracer] for n in found if tracer in found[n]]
        good = [s for s in scores if "failed" not in s]
        if not good:
            continue
        base = list(found) if tracer == "ours" else run_on
        row = {"tracer": tracer, "n": len(good), "missing": len(base) - len(good), "of": len(base)}
        rows.append(row | {k: float(np.median([s[k] for s in good if k in s])) for k in (*KEYS, "esa_3d", "f1_3d")})
    best = [min((s["esa"] for t, s in found[n].items() if t in TRACERS and "esa" in s)) for n in run_on]
    best_f1 = [max((s["f1"] for t, s in found[n].items() if t in TRACERS and "f1" in s)) for n in run_on]
    oracle = {"tracer": "best of the seven, per neuron", "n": len(best), "missing": 0, "of": len(best)}
    return [*rows, oracle | {"esa": float(np.median(best)), "f1": float(np.median(best_f1))}]


def page(rows: list[dict[str, Any]], command: str, neurons: int) -> str:
    """The table as Markdown."""
    traced = max(row["of"] for row in rows if row["tracer"] in TRACERS)
    columns = ("esa", "dsa", "pds", "precision", "recall", "f1", "length_ratio", "diadem", "esa_3d", "f1_3d")
    heads = ("ESA", "DSA", "PDS", "P", "R", "F1", "length ratio", "DIADEM", "ESA 3-D", "F1 3-D")
    lines = [
        "# Automatic traces of BigNeuron neurons",
        "",
        f"Made by `{command}`; numbers of every neuron are in `tree_scores.json`.",
        "",
        f"The {neurons} neurons whose projection lies on its gold tree; {traced} have automatic traces. Trees are",
        "projected onto the image plane (z = 0) and compared in voxels: convention `vaa3d`, apart from 2 voxels on.",
        "Medians over the traces there are; *missing* counts neurons that some tracer has a trace of and this one has",
        "not (published sets leave failures out), so the medians of tracers that miss many flatter them. The last two",
        "columns are the same trees in 3-D.",
        "",
        "| tracer | n | missing | " + " | ".join(heads) + " |",
        "|---|---|---|" + "---|" * len(heads),
    ]
    for row in sorted(rows, key=lambda r: r["esa"]):
        cells = [f"{row[k]:.2f}" if k in row else "" for k in columns]
        lines.append(f"| {row['tracer']} | {row['n']} | {row['missing']}/{row['of']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=Path, help="folder of ID.swc")
    parser.add_argument("--split", help="only neurons of this split of index.csv")
    parser.add_argument("--out", type=Path, default=Path("docs/results/tree_scores"))
    args = parser.parse_args()
    start = time.monotonic()
    with opened() as neurons:
        rows = [r for r in neurons.aligned if args.split in (None, r["split"])]
        found = collected(neurons, rows, args.ours)
    made = table(found)
    command = " ".join(["python", *sys.argv])
    text = page(made, command, len(rows))
    print(text)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".md").write_text(text)
    report = {"command": command, "seconds": round(time.monotonic() - start, 1), "table": made, "neurons": found}
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
