"""Give the networks of a finished study the decoding that a training would choose today, without training them again.

    NEUROPIL_DATA=... python bench/recalibrate.py bench/experiments/isbi2012_small.yaml runs/studies/isbi2012_small
    NEUROPIL_DATA=... neuropil bench label-efficiency bench/experiments/isbi2012_small.yaml \\
        --out runs/studies/isbi2012_small

For when the rule of calibration has changed: predicts what each network held back and learned from, as the last
validation of its training did, and stores what `neuropil.tasks.neurons` makes of it; results are put away, so that the
study scores them again. Networks of arms that begin with a whole run are left alone: their decoding may be that run's.
Resumable: a network whose result is gone has been done.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from calibration import Network, labelled_of
from neuropil.studies.design import Cell, Design, read_design
from neuropil.tasks import neurons
from neuropil.tasks.base import Labelled
from neuropil.training.checkpoint import DRAWN, WEIGHTS, Run, read_tensors, write_tensors


def recalibrated(network: Network, design: Design, cell: Cell) -> dict[str, Any]:
    """What a validation of the finished network finds."""
    config, voxel_size = network.config, network.run.voxel_size
    slabs, rest = labelled_of(network, design, cell)
    found = neurons.calibrate(slabs, voxel_size, config)
    found = neurons.from_few(found, Labelled(slabs, lambda most: [*slabs, *rest]), voxel_size, config)
    return {**found, "slabs": len(slabs)}


def store(run: Run, found: dict[str, Any]) -> None:
    """Beside the weights, and in the run's card."""
    path = run.path / WEIGHTS
    tensors, state = read_tensors(path)
    write_tensors(path, tensors, {**state, "calibration": found["calibration"]})
    kept = {k: v for k, v in found.items() if k not in DRAWN}
    run.updated(best={**run.card["best"], **kept}).log(kind="recalibration", **found)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="the YAML file of a finished study")
    parser.add_argument("folder", type=Path, help="where it was run")
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    design = read_design(asked.study)
    for cell in design.cells():
        result = asked.folder / "results" / f"{cell.name}.json"
        if design.arms[cell.arm].init or not result.is_file():
            continue
        network = Network(asked.folder / "runs" / cell.name)
        if network.config.task != "neurons":
            parser.error(f"{cell.name} learns {network.config.task}; this is for neurons")
        before = network.run.calibration["threshold"]
        found = recalibrated(network, design, cell)
        store(network.run, found)
        result.unlink()
        print(f"{cell.name}: threshold {before} -> {found['threshold']}, {found['decoding']}", flush=True)


if __name__ == "__main__":
    main()
