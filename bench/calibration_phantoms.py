"""Tissue on which a rule of calibration may be chosen: phantoms, so that no real volume's test is used up for it.

    python bench/calibration_phantoms.py runs/phantoms
    export NEUROPIL_DATA=runs/phantoms
    neuropil bench label-efficiency bench/experiments/calibration_sstem.yaml --out runs/studies/calibration_sstem
    python bench/calibration.py bench/experiments/calibration_sstem.yaml runs/studies/calibration_sstem \\
        --test sstem_unseen.h5 --budgets 0.1 0.3 1.0 --seeds 0 1 2 --out docs/results/calibration_sstem.json

and the same with fib_sem. What is trained on is small and what is segmented is larger, as it is for a user.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from neuropil.geometry import Int3
from neuropil.io.hdf5 import write_hdf5
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.volume import Volume

#: Kind → preset, shape of the known volume, shape of the unseen one.
KINDS: dict[str, tuple[Callable[..., EMPhantomConfig], Int3, Int3]] = {
    "fib_sem": (EMPhantomConfig.fib_sem, (96, 160, 160), (160, 256, 256)),
    "sstem": (EMPhantomConfig.sstem, (16, 384, 384), (24, 512, 512)),
}


def write(path: Path, config: EMPhantomConfig) -> None:
    """Write a phantom as HDF5 with raw and labels."""
    phantom = EMPhantom(config)
    box = phantom.box
    image = Volume(phantom.image(box), box.voxel_size, kind="image")
    write_hdf5(path, {"raw": image, "labels": Volume(phantom.neurons(box), box.voxel_size, kind="labels")})
    print(path, flush=True)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the volumes")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for n, (kind, (preset, known, unseen)) in enumerate(KINDS.items()):
        write(out / f"{kind}_known.h5", preset(seed=20 + 2 * n, shape=known))
        write(out / f"{kind}_unseen.h5", preset(seed=21 + 2 * n, shape=unseen))


if __name__ == "__main__":
    main()
