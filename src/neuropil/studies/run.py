"""Running a study: one cell after another, each leaving one result file; what is there is not run again.

A folder may be shared by several processes or machines with ``shard`` i of n: arms and seeds are dealt out, so that an
encoder is pretrained by the one process that trains with it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from neuropil.config import load_config
from neuropil.errors import RunError
from neuropil.geometry import Int3
from neuropil.shards import Shard
from neuropil.studies.design import Arm, Cell, Design, Pair, labelled_few, labelled_part
from neuropil.studies.shares import check_budgets, shown_shares
from neuropil.studies.table import KEPT, SCORES, Score, collected, interval, markdown, plot_svg
from neuropil.tasks.base import task_named
from neuropil.training.checkpoint import Run, write_atomic
from neuropil.versions import versions
from neuropil.volume import Volume, open_volume, require_kind

#: No labelled part is smaller: room for a small training crop and a slab to calibrate on.
LEAST: Int3 = (48, 48, 48)
#: What says that a folder is a study's.
_MARK = "study.json"
#: The verbs of the API that a study uses; handed in, so that studies know nothing of the API.
Verbs = dict[str, Callable[..., Any]]


def run_study(design: Design, out: str | os.PathLike[str], verbs: Verbs, *, shard: str | None) -> dict[str, Any]:
    """Run what is still missing, then write the table and the plot of all that is there.

    Parameters
    ----------
    design
        From `read_design`.
    out
        Folder of runs and results.
    verbs
        `pretrain`, `train`, `segment` and `evaluate` of the API.
    shard
        "i/n" with 0 <= i < n: only every n-th pair of an arm and a seed.

    Returns
    -------
    dict
        "study", "done" and "of" (numbers of trainings), "table" and "plot" (paths).

    Raises
    ------
    ConfigError
        If the shard is none, or two budgets label the same.
    RunError
        If the folder holds another study, or knows an arm by the same name with other settings.
    """
    folder = Path(out)
    cells = list(design.cells())
    ours = dealt(cells, shard)
    joined = Design.model_validate(_agreed(folder, design)["design"])
    # before the folder is marked: a study that is refused leaves nothing
    whole = 0 if all(_result(folder, cell).is_file() for cell in ours) else _checked(joined)
    _claim(folder, design)
    for number, cell in enumerate(cells):
        if cell not in ours or _result(folder, cell).is_file():
            continue
        print(f"study {design.name}: {cell.name} ({number + 1} of {len(cells)})", file=sys.stderr, flush=True)
        row = _run_cell(design, cell, folder, verbs, whole)
        write_atomic(_result(folder, cell), (json.dumps(row, indent=1) + "\n").encode())
        _summarise(design, folder)
    return _summarise(design, folder)


def _checked(design: Design) -> int:
    """How many voxels are labelled in all, once the budgets are known to differ; notes of those that move go out."""
    boxes = [_opened(design, pair)[1].box for pair in design.train]
    for note in check_budgets(design, boxes, LEAST):
        print(f"study {design.name}: note: {note}", file=sys.stderr, flush=True)
    return sum(box.size for box in boxes)


def _agreed(folder: Path, design: Design) -> dict[str, Any]:
    """What marks a folder as this study's: what it is marked with, and the arms, budgets and seeds that are new."""
    mark = folder / _MARK
    said: dict[str, Any] = {
        "name": design.name,
        "fingerprint": design.fingerprint,
        "design": design.model_dump(mode="json"),
    }
    if mark.is_file():
        known = json.loads(mark.read_text())
        if known.get("fingerprint") != design.fingerprint:
            raise RunError(
                f"'{folder}' holds results of '{known.get('name')}' with other volumes, steps or settings",
                "the same study, or a new folder",
                "arms, budgets and seeds may be added; for anything else choose another --out",
            )
        said["design"] = _joined(folder, known["design"], said["design"])
    elif folder.exists() and any(folder.iterdir()):
        raise RunError(
            f"'{folder}' exists and is not empty", "a new folder, or one of this study", "choose another --out"
        )
    return said


def _claim(folder: Path, design: Design) -> None:
    """Mark a folder, unless its mark says the same."""
    mark, said = folder / _MARK, _agreed(folder, design)
    if mark.is_file() and json.loads(mark.read_text())["design"] == said["design"]:
        return
    (folder / "results").mkdir(parents=True, exist_ok=True)
    write_atomic(mark, (json.dumps({**said, "versions": versions()}, indent=1) + "\n").encode())


def _joined(folder: Path, known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A folder's design with what another one of the same fingerprint adds."""
    for name, arm in new["arms"].items():
        if known["arms"].get(name, arm) != arm:
            raise RunError(
                f"'{folder}' knows arm '{name}' with {_told(known['arms'][name])}; it has {_told(arm)} now",
                "arms that mean what they meant when the folder was begun",
                "give the changed arm another name, or choose another --out",
            )
    return {
        **new,
        "arms": known["arms"] | new["arms"],
        "budgets": sorted({*known["budgets"], *new["budgets"]}),
        "seeds": list(dict.fromkeys((*known["seeds"], *new["seeds"]))),
    }


def _told(arm: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in arm.items() if value) or "no settings of its own"


def dealt(cells: Sequence[Cell], shard: str | None) -> Sequence[Cell]:
    """The cells of one shard: all that share an arm and a seed, and so an encoder, are in the same one.

    Raises
    ------
    ConfigError
        If the shard is not "i/n" with 0 <= i < n.
    """
    if shard is None:
        return cells
    part = Shard.parsed(shard)
    groups = list(dict.fromkeys((cell.seed, cell.arm) for cell in cells))
    mine = set(groups[part.index :: part.count])
    return [cell for cell in cells if (cell.seed, cell.arm) in mine]


def _result(folder: Path, cell: Cell) -> Path:
    return folder / "results" / f"{cell.name}.json"


def _run_cell(design: Design, cell: Cell, folder: Path, verbs: Verbs, whole: int) -> dict[str, Any]:
    arm = design.arms[cell.arm]
    encoder = _pretrained(design, arm, cell, folder, verbs) if arm.pretrain else None
    words = [f"train.seed={cell.seed}", *design.train_set, *arm.train_set]
    run = folder / "runs" / cell.name
    pairs = _labelled(design, cell)
    started = time.monotonic()
    if not _complete(run):
        verbs["train"](
            [image for image, _ in pairs],
            [labels for _, labels in pairs],
            run,
            recipe=design.recipe,
            steps=None if run.exists() or design.train_budget else design.train_steps,
            budget=None if run.exists() else design.train_budget,
            init=None if run.exists() else encoder or arm.init,
            set=() if run.exists() else words,
            resume=run.exists(),
        )
    seconds = time.monotonic() - started
    spent = _cost(encoder) if encoder else (None, None)
    tests = [_tested(pair, run, design.task, verbs) for pair in design.test]
    wanted = (*SCORES[design.task], *KEPT[design.task])
    return {
        "arm": cell.arm,
        "budget": cell.budget,
        "seed": cell.seed,
        "labelled_voxels": sum(labels.box.size for _, labels in pairs),
        "all_voxels": whole,
        # a training that was stopped and gone on with logged more than this session saw
        "train_seconds": round(max(seconds, _cost(run)[0] or 0), 1),
        "pretrain_seconds": spent[0],
        "pretrain_steps": spent[1],
        "calibration": json.loads((run / "run.json").read_text())["best"],
        "test": {score: sum(t[score] for t in tests) / len(tests) for score in wanted},
        "versions": versions(),
    }


def _pretrained(design: Design, arm: Arm, cell: Cell, folder: Path, verbs: Verbs) -> Path:
    """The encoder of an arm and seed: one for all label budgets."""
    run = folder / "runs" / f"{cell.arm}_encoder_s{cell.seed}"
    if not _complete(run):
        words = [f"train.seed={cell.seed}", *design.pretrain_set, *arm.pretrain_set]
        verbs["pretrain"](
            list(design.unlabelled),
            run,
            recipe=arm.pretrain,
            steps=None if run.exists() else design.pretrain_steps,
            set=() if run.exists() else words,
            resume=run.exists(),
        )
    return run


def _cost(folder: Path) -> tuple[float | None, int | None]:
    """Seconds and steps of a run over all its sessions, as it logged them; None where the log is gone."""
    run = Run.open(folder)
    seconds = [float(row["elapsed"]) for row in run.rows() if "elapsed" in row]
    return (round(max(seconds), 1) if seconds else None), run.steps or None


def _complete(run: Path) -> bool:
    card = run / "run.json"
    return card.is_file() and json.loads(card.read_text()).get("status") == "complete"


def _labelled(design: Design, cell: Cell) -> list[tuple[Volume, Volume]]:
    """The labels that a budget allows: a part of each volume, or some of the volumes, chosen by the seed."""
    if design.budget_of == "volumes":
        few = labelled_few(len(design.train), cell.budget, cell.seed)
        return [_opened(design, design.train[i]) for i in few]
    return [_part(*_opened(design, pair), cell) for pair in design.train]


def _opened(design: Design, pair: Pair) -> tuple[Volume, Volume]:
    image, config = require_kind(open_volume(pair.image), "image"), load_config(design.recipe, design.train_set)
    return image, task_named(design.task).truth(pair.labels, image, None, config)


def _part(image: Volume, labels: Volume, cell: Cell) -> tuple[Volume, Volume]:
    """A part of a volume: the image around it is not shown either."""
    box = labelled_part(labels.box, cell.budget, cell.seed, LEAST)
    return image.crop(box), labels.crop(box)


def _tested(pair: Pair, run: Path, task: str, verbs: Verbs) -> dict[str, float]:
    segmentation = verbs["segment"](run, pair.image)
    found: dict[str, float] = verbs["evaluate"](segmentation, pair.labels, task=task)
    return found


def _summarise(design: Design, folder: Path) -> dict[str, Any]:
    rows = rows_of(design, folder)
    table, plot = folder / "table.md", folder / "plot.svg"
    write_atomic(table, markdown(design, rows).encode())
    write_atomic(plot, plot_svg(design, rows).encode())
    total = len(list(design.cells()))
    return {"study": design.name, "done": len(rows), "of": total, "table": str(table), "plot": str(plot)}


def rows_of(design: Design, folder: Path) -> Sequence[dict[str, Any]]:
    """The results that are there, in the order of the design."""
    files = [_result(folder, cell) for cell in design.cells()]
    return [json.loads(file.read_text()) for file in files if file.is_file()]


def is_study(folder: Path) -> bool:
    """Whether a study writes to this folder."""
    return (folder / _MARK).is_file()


def efficiency_of(
    folder: Path,
) -> tuple[Design, Sequence[dict[str, Any]], list[tuple[Score, list[tuple[str, Any, Any, Any, Any]]]]]:
    """A study's design, its results, and for each score the lines of its plot: see `neuropil.report.model.Arm`.

    Raises
    ------
    RunError
        If the folder cannot be read, or no training of it is done.
    """
    try:
        design = Design.model_validate(json.loads((folder / _MARK).read_text())["design"])
        rows = rows_of(design, folder)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"study '{folder}' cannot be read: {error}",
            "a folder that a study writes to",
            "give the --out that the study was begun with",
        ) from None
    if not rows:
        raise RunError(f"study '{folder}' has no results yet", "one training that is done", "run the study first")
    plots, shares = [], shown_shares(design, rows)
    for key, score in SCORES[design.task].items():
        found = collected(rows, key)
        lines: list[tuple[str, Any, Any, Any, Any]] = []
        for arm in design.arms:
            budgets = [budget for budget in design.budgets if (arm, budget) in found]
            values = [list(found[arm, budget].values()) for budget in budgets]
            pairs = [interval(v) for v in values]
            means, halves = [m for m, _ in pairs], [h for _, h in pairs]
            lines.append((arm, [shares[b] for b in budgets], means, halves, [len(v) for v in values]))
        plots.append((score, [line for line in lines if line[1]]))
    return design, rows, plots
