"""Our agglomeration and that of waterz on serial sections with defects: VOI on the same affinities of a network.

    python bench/waterz_defects.py

A network is trained on a phantom of serial sections, a few of which fade, blur or are lost, and predicts another.
As in bench/bench_blockwise.py the threshold of each program is chosen on the lower half of the volume along x, and
the upper half is scored. Writes docs/results/waterz_defects.json; the run lies under runs/bench.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from bench_blockwise import prepare, sweeps
from neuropil import api
from neuropil.geometry import Int3
from neuropil.io import save_volume
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.versions import versions
from neuropil.volume import Volume
from runs import ROOT, keep, machine, trained

RESULTS = ROOT / "docs/results/waterz_defects.json"
LEARNED, TRIED = (30, 320, 320), (40, 384, 384)
#: Shares of the sections.
DEFECTS = {"missing": 0.05, "dark": 0.05, "blurred": 0.05}


def sections(seed: int, shape: Int3) -> tuple[Volume, Volume]:
    """Image and neurons of a phantom of serial sections."""
    made = EMPhantom(EMPhantomConfig.sstem(seed=seed, shape=shape, **DEFECTS))
    size = made.box.voxel_size
    image = Volume(made.image(made.box), size, kind="image", name=f"sections {seed}")
    return image, Volume(made.neurons(made.box).astype(np.uint64), size, kind="labels", name=f"neurons {seed}")


def main() -> None:
    """Train, predict, sweep both programs, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    run = trained(ROOT / "runs/bench" / f"sections_{args.steps}steps", [sections(1, LEARNED)], steps=args.steps)
    image, truth = sections(2, TRIED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        api.predict(run.path, image, out=folder / "predicted.zarr")
        save_volume(truth, folder / "truth.zarr")
        prepare(str(folder / "predicted.zarr"), folder, 1)
        found = sweeps(folder, str(folder / "truth.zarr"))
    found.pop("seconds")
    ratios = {part: found["neuropil"][part]["sum"] / found["waterz"][part]["sum"] for part in ("upper", "whole")}
    command = f"python bench/waterz_defects.py --steps {args.steps}"
    result = {"command": command, "VOI to waterz": ratios, **found, "machine": machine(), "versions": versions()}
    print(json.dumps(result, indent=1))
    keep(result, RESULTS)


if __name__ == "__main__":
    main()
