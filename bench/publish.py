"""Finished studies for the documentation: docs/results/studies/NAME.json has every number; .md and .svg are made of it.

    python bench/publish.py bench/experiments/gala_transfer.yaml runs/studies/gala_transfer --machine WORDS
    python bench/publish.py table

The first takes over the results of a study (`neuropil bench label-efficiency`) for the arms, budgets and seeds that the
YAML file names; `table` makes all tables and plots again from what is stored.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from neuropil.errors import RunError
from neuropil.studies.design import Design, read_design
from neuropil.studies.run import rows_of
from neuropil.studies.table import markdown, plot_svg
from runs import ROOT

STUDIES = ROOT / "docs" / "results" / "studies"
#: What is kept of a best validation beside its scores.
KEPT = (
    "threshold",
    "foreground",
    "score",
    "voi_sum",
    "arand",
    "iou",
    "f1_50",
    "fragments",
    "decoding",
    "rests_on",
    "step",
)


#: What is kept of agents at the end of pretraining: nats, share of the greatest entropy, how much more often than by
#: chance some places are hidden, and the correlation of what is hidden with edges.
AGENTS = ("agents_kl", "agents_entropy_share", "agents_place_share", "frequency_excess", "mask_edges")


def agents(folder: Path, arms: Collection[str]) -> dict[str, dict[str, float]]:
    """How far the agents of each encoder came from an even choice, and in how many updates."""
    found = {}
    for metrics in sorted(folder.glob("runs/*_encoder_s*/metrics.jsonl")):
        if metrics.parent.name.rpartition("_encoder_s")[0] not in arms:
            continue
        rows = [row for row in map(json.loads, metrics.read_text().splitlines()) if "agents_kl" in row]
        if rows:
            updates = {row["ppo_policy_loss"] for row in rows if "ppo_policy_loss" in row}
            found[metrics.parent.name] = {k: rows[-1][k] for k in AGENTS if k in rows[-1]} | {"updates": len(updates)}
    return found


def taken(yaml_file: Path, folder: Path, machine: str) -> dict[str, Any]:
    """What is stored of a study: its design as written, its rows without sweeps, command, machine, versions."""
    design = read_design(yaml_file)
    rows = rows_of(design, folder)
    if not rows:
        raise RunError(f"'{folder}' holds no result of '{yaml_file}'", "a study that has begun", "run it first")
    kept = [{**row, "calibration": {k: row["calibration"][k] for k in KEPT if k in row["calibration"]}} for row in rows]
    versions = kept[-1]["versions"]
    for row in kept:
        del row["versions"]
    return {
        "command": f"neuropil bench label-efficiency {_short(yaml_file)} --out runs/studies/{yaml_file.stem}",
        "machine": machine,
        "versions": versions,
        # as it was written: where data lie is no business of the documentation
        "design": yaml.safe_load(yaml_file.read_text()),
        **({"agents": found} if (found := agents(folder, design.arms)) else {}),
        "rows": kept,
    }


def written(name: str, stored: dict[str, Any], where: Path) -> None:
    """The table and the plot beside the numbers."""
    design = Design.model_validate(stored["design"])
    (where / f"{name}.md").write_text(markdown(design, stored["rows"]))
    (where / f"{name}.svg").write_text(plot_svg(design, stored["rows"]))


def _short(path: Path) -> str:
    return os.path.relpath(path, ROOT) if path.is_absolute() else path.as_posix()


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="the YAML file of a study, or `table`")
    parser.add_argument("folder", type=Path, nargs="?", help="where it was run")
    parser.add_argument("--machine", help="what it was run on, in words")
    asked = parser.parse_args()
    if asked.study != "table":
        if asked.folder is None or asked.machine is None:
            parser.error("a study needs its folder and --machine")
        stored = taken(Path(asked.study), asked.folder, asked.machine)
        (STUDIES / f"{Path(asked.study).stem}.json").write_text(json.dumps(stored, indent=1) + "\n")
    for path in sorted(STUDIES.glob("*.json")):
        written(path.stem, json.loads(path.read_text()), STUDIES)


if __name__ == "__main__":
    main()
