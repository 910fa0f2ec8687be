"""Mitochondria on real data and phantoms: train, segment and score over several seeds; docs/results/mitochondria.json.

    NEUROPIL_DATA=... python bench/mitochondria.py epfl --budget 40m --seeds 0 1 2
    NEUROPIL_DATA=... python bench/mitochondria.py isbi2012 --budget 20m --seeds 0 1 2
    NEUROPIL_DATA=... python bench/mitochondria.py vnc --budget 20m --seeds 0 1 2
    NEUROPIL_DATA=... python bench/mitochondria.py epfl_to_vnc --seeds 0 1 2
    NEUROPIL_DATA=... python bench/mitochondria.py vnc_objects --budget 20m --seeds 0 1 2
    NEUROPIL_DATA=... python bench/mitochondria.py vnc_to_isbi2012 --budget 20m --seeds 0 1 2
    NEUROPIL_DATA=... python bench/mitochondria.py isbi2012_with_vnc --budget 40m --seeds 0 1 2
    python bench/mitochondria.py phantom --budget 20m --seeds 0 1 2
    python bench/mitochondria.py table

Resumable: runs lie under runs/bench, finished seeds are kept in the JSON file. Decoding is calibrated on slabs held
back of the training volumes; the test volume is opened only to be scored. The splits:

- epfl: hippocampus, semantic. The 14 sections are four runs of neighbours (z 0-3, 45-48, 61-63, 89-91 of the source):
  the first three (11 sections) train, the last is the test, so that no test section has a neighbour in training.
  Neighbours are 5 nm apart but runs are thin, so sections are learned as images of their own: the voxel size is stated
  as 50 x 5 x 5 nm, which also is the geometry of `vnc`.
- isbi2012: nerve cord, instances (connected pieces of equal ids), sections 0-15 train, 16-19 test. There are seven
  objects in all, so the last three training sections are held back: no slab along y or x holds more than one of them.
- vnc: nerve cord of another laboratory, semantic, sections 0-11 train, 12-15 test. epfl_to_vnc: the network of epfl on
  the same test sections, neither trained nor calibrated there.
- vnc_objects: the same sections of vnc, connected pieces of the masks as objects. vnc_to_isbi2012: isbi2012, begun with
  that network (`--init`), as a laboratory would that has masks of similar tissue and few objects of its own. The two
  nerve cords are of different animals. isbi2012_with_vnc: both at once, all sixteen sections of vnc.
- phantom: FIB-SEM phantoms, instances; 128 x 192 x 256 voxels train, another seed of 128 x 192 x 192 is the test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cc3d
import numpy as np

from neuropil import api, open_volume
from neuropil.geometry import Float3
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.versions import versions
from neuropil.volume import Volume
from runs import ROOT, keep, kept, length, machine, numbers, parser, segmented, spread, trained, training, with_steps

RESULTS = ROOT / "docs" / "results" / "mitochondria.json"
#: Scores of each task that the table shows.
SHOWN = {"mitochondria": ("f1_50", "f1_75", "pq_50", "ap_75", "iou"), "semantic": ("iou", "dice")}
#: Sections of one block-face are neither slipped nor lost.
NO_DEFECTS = [
    f"data.augment.{name}=0" for name in ("slip", "shift", "missing_section", "low_contrast_section", "defocus_section")
]


@dataclass(frozen=True)
class Experiment:
    """Training pairs, the test pair, the task, and settings.

    `run_of` names the experiment whose runs are used, `init` the one whose run of the same seed training begins with.
    """

    task: str
    train: list[tuple[Volume, Volume]]
    test: tuple[Volume, Volume]
    words: list[str]
    run_of: str = ""
    init: str = ""


def _pair(path: str, part: str, size: Float3 | None = None) -> tuple[Volume, Volume]:
    where = f"{os.environ['NEUROPIL_DATA']}/{path}"
    image = open_volume(f"{where}:raw{part}", voxel_size=size, kind="image")
    return image, open_volume(f"{where}:mitochondria{part}", voxel_size=size, kind="labels")


def epfl() -> Experiment:
    """Eleven sections for training, three others for the test."""
    parts, size = ("[0:4]", "[4:8]", "[8:11]", "[11:14]"), (50.0, 5.0, 5.0)
    *train, test = (_pair("epfl/dev_train14.h5", part, size) for part in parts)
    return Experiment("semantic", train, test, ["data.crop=[3,160,160]", "predict.tile=[4,512,512]", *NO_DEFECTS])


def vnc() -> Experiment:
    """Twelve sections for training, four for the test."""
    train, test = (_pair("vnc_sstem/dev_16x640x640.h5", part) for part in ("[0:12]", "[12:16]"))
    return Experiment("semantic", [train], test, ["data.crop=[3,160,160]", "predict.tile=[4,512,512]"])


def epfl_to_vnc() -> Experiment:
    """Nothing of the nerve cord is seen before the test."""
    return Experiment("semantic", [], vnc().test, [], run_of="epfl")


def isbi2012() -> Experiment:
    """Sections 0-15 for training, 16-19 for the test; distant objects share ids, so pieces count."""
    train, test = (_pair("isbi2012/dev_z00_19.h5", part) for part in ("[0:16]", "[16:20]"))
    words = ["organelles.components=true", "data.validation_axis=z", "data.validation=0.2"]
    return Experiment("mitochondria", [train], (test[0], _pieces(test[1])), words)


def vnc_objects() -> Experiment:
    """The sections of vnc, whose masks' connected pieces are objects."""
    semantic = vnc()
    words = ["organelles.components=true", "data.validation_axis=z", "data.validation=0.2", "data.crop=[8,128,128]"]
    return Experiment("mitochondria", semantic.train, (semantic.test[0], _pieces(semantic.test[1])), words)


def vnc_to_isbi2012() -> Experiment:
    """isbi2012, begun with the network of vnc_objects."""
    return replace(isbi2012(), init="vnc_objects")


def isbi2012_with_vnc() -> Experiment:
    """isbi2012, whose training sections go in together with the masks of another nerve cord."""
    own = isbi2012()
    # its voxels are 15 % larger in the plane: stated as the others', so that one training takes both
    theirs = _pair("vnc_sstem/dev_16x640x640.h5", "[0:16]", own.test[0].voxel_size)
    return replace(own, train=[*own.train, theirs], words=vnc_objects().words)


def _pieces(labels: Volume) -> Volume:
    """Connected pieces of labels as objects of their own."""
    pieces = cc3d.connected_components(labels.numpy(), connectivity=26).astype(np.uint64)
    return Volume(pieces, labels.voxel_size, labels.offset, kind="labels", name=labels.name)


def phantom() -> Experiment:
    """Two phantoms that share nothing but their kind."""
    train, test = (_phantom(seed, shape) for seed, shape in ((5, (128, 192, 256)), (6, (128, 192, 192))))
    return Experiment("mitochondria", [train], test, [])


def _phantom(seed: int, shape: tuple[int, int, int]) -> tuple[Volume, Volume]:
    made = EMPhantom(EMPhantomConfig.fib_sem(seed=seed, shape=shape))
    size = made.box.voxel_size
    image = Volume(made.image(made.box), size, kind="image", name=f"phantom {seed}")
    ids = made.mitochondria(made.box).astype(np.uint64)
    return image, Volume(ids, size, kind="labels", name=f"mitochondria of phantom {seed}")


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    "epfl": epfl,
    "isbi2012": isbi2012,
    "vnc": vnc,
    "epfl_to_vnc": epfl_to_vnc,
    "vnc_objects": vnc_objects,
    "vnc_to_isbi2012": vnc_to_isbi2012,
    "isbi2012_with_vnc": isbi2012_with_vnc,
    "phantom": phantom,
}


def run_seed(
    name: str, experiment: Experiment, seed: int, how_long: dict[str, Any], words: list[str]
) -> dict[str, Any]:
    """Train (or go on), segment the test volume, score it."""
    out, begins = _folder(experiment.run_of or name, seed), experiment.run_of or experiment.init
    if begins and not (_folder(begins, seed) / "run.json").is_file():
        raise SystemExit(f"first run: python bench/mitochondria.py {begins} --seeds {seed}")
    settings = [*experiment.words, *words]
    run = trained(
        out,
        experiment.train,
        recipe=f"em_{experiment.task}",
        **how_long,
        init=_folder(experiment.init, seed) if experiment.init else None,
        set=[f"train.seed={seed}", *settings],
    )
    image, truth = experiment.test
    segmentation, account = segmented(run, image)
    return {
        "seed": seed,
        **account,
        "calibration": run.calibration,
        "validation": numbers(run.card["best"]),
        "settings": settings,
        "test": numbers(api.evaluate(segmentation, truth, task=experiment.task)),
    }


def _folder(name: str, seed: int) -> Path:
    return ROOT / "runs" / "bench" / f"mitochondria_{name}_s{seed}"


def table(found: dict[str, Any]) -> str:
    """Markdown of all results, mean ± sd over seeds."""
    lines = []
    for task, keys in SHOWN.items():
        names = [name for name in EXPERIMENTS if name in found and found[name]["task"] == task]
        if not names:
            continue
        lines.append(f"| {task} | seeds | training | " + " | ".join(keys) + " | segment s |")
        lines.append("|---" * (len(keys) + 4) + "|")
        for name in names:
            runs = found[name]["runs"]
            cells = [spread([r["test"][key] for r in runs]) for key in keys]
            cells.append(spread([r["segment_seconds"] for r in runs], 1))
            lines.append(f"| {name} | {len(runs)} | {training(runs)} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """See the module's docstring."""
    asked = with_steps(parser(__doc__, EXPERIMENTS, "20m"))
    asked.add_argument("--results", type=Path, default=RESULTS)
    arguments = asked.parse_args()
    name, found = arguments.experiment, kept(arguments.results)
    if name != "table":
        experiment = EXPERIMENTS[name]()
        mine = found.setdefault(name, {"task": experiment.task, "runs": []})
        for seed in arguments.seeds:
            if any(r["seed"] == seed for r in mine["runs"]):
                continue
            mine["runs"].append(run_seed(name, experiment, seed, length(arguments)[1], arguments.set))
            mine |= {"machine": machine(), "versions": versions()}
            keep(found, arguments.results)
            print(json.dumps(mine["runs"][-1], indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
