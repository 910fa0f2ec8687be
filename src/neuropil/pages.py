"""From runs and volumes to what the report page shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.affinities import Affinities
from neuropil.errors import InputError, RunError, VolumeError
from neuropil.report import Arm, LabelEfficiency, ReportData, Strip, Timing
from neuropil.report.wording import WORDINGS
from neuropil.training.card import use_command
from neuropil.training.checkpoint import DRAWN, Run
from neuropil.volume import Volume
from neuropil.zoo.package import shared_card

#: Validations whose masks are shown.
_MOMENTS = 6
#: Best scores that are compared from run to run.
_COMPARED = ("voi_sum", "voi_split", "voi_merge", "arand", "f1_50", "f1_75", "iou", "dice", "masked_voxels", "probe")


def pages(
    runs: Sequence[Run],
    *,
    title: str,
    image: Volume | None = None,
    segmentation: Volume | None = None,
    truth: Volume | None = None,
    affinities: Affinities | Volume | None = None,
    scores: Mapping[str, Any] | None = None,
    studies: Sequence[Path] = (),
    task: str | None = None,
) -> list[ReportData]:
    """One page part for each study and each run; the volumes belong to the last.

    Parameters
    ----------
    task
        What the labels are of (see `ReportData`); that of the last run when None.

    Raises
    ------
    InputError
        If there is nothing to show.
    """
    found = [*(study_page(folder) for folder in studies), *(run_page(run) for run in runs)]
    volumes = {"image": image, "segmentation": segmentation, "truth": truth}
    if all(v is None for v in volumes.values()) and affinities is None:
        if not found:
            raise InputError(
                "nothing to report",
                "a run directory, or --segmentation with --image",
                "neuropil report RUN, or --segmentation SEG --image IMAGE",
            )
        return found
    last = found.pop() if found else ReportData(title=title)
    timings = dict(last.timings)
    if segmentation is not None:
        for stage, lap in segmentation.attrs.get("timings", {}).items():
            timings[stage] = Timing(float(lap["seconds"]), int(lap["peak_bytes"]), int(lap["voxels"]))
    part = replace(
        last,
        **volumes,  # type: ignore[arg-type]
        affinities=affinities.volume if isinstance(affinities, Affinities) else affinities,
        offsets=affinities.offsets if isinstance(affinities, Affinities) else (),
        scores={
            k: v for k, v in (scores or {}).items() if isinstance(v, int | float) and (v or k != "ignore_border_nm")
        },
        timings=timings,
        task=task or last.task,
    )
    return [*found, part]


def run_page(run: Run) -> ReportData:
    """Summary, curves and threshold sweep of a run."""
    validation = run.rows("validation")
    best = next((r for r in reversed(validation) if r["step"] == run.card.get("best", {}).get("step")), None)
    card, shared = run.card, shared_card(run)
    summary = {
        "Recipe": str(card["recipe"]),
        "Status": str(card["status"]),
        "Voxel size": " × ".join(f"{v:g}" for v in run.voxel_size) + " nm (z, y, x)" if card["voxel_size"] else "any",
        "Trained on": "; ".join(s["image"] for s in card["sources"]),
        "Network": f"{run.config.model.name}, {card['parameters']:,} parameters",
        "Steps": str(shared["cost"]["steps"] if shared else run.steps),
        "Seed": str(card["seed"]),
        "Versions": ", ".join(f"{k} {v}" for k, v in card["versions"].items()),
        "Created": str(card["created"]),
    }
    strips, lead, notes = _strips(run) if card.get("kind") == "encoder" and "inflation" not in card else ([], "", [])
    return ReportData(
        title=run.path.name,
        summary=summary,
        notes=notes,
        warnings=card.get("warnings", ()),
        strips=strips,
        strips_lead=lead,
        timings={"train": float(run.rows("train")[-1]["elapsed"])} if run.rows("train") else {},
        metrics=run.rows("train"),
        validation=[{k: v for k, v in row.items() if k not in DRAWN} for row in validation],
        sweep=[] if best is None else best.get("sweep", []),
        threshold=None if best is None else best.get("threshold"),
        settings=run.config.model_dump(mode="json"),
        held_back=_held_back(run),
        card=_card(run, shared),
        task=run.task if run.task in WORDINGS else "neurons",
    )


def study_page(folder: Path) -> ReportData:
    """Plots of label efficiency of a folder that a study writes to.

    Raises
    ------
    RunError
        If its results cannot be read, or there are none yet.
    """
    from neuropil.studies.run import efficiency_of
    from neuropil.studies.shares import shown_shares

    design, rows, plots = efficiency_of(folder)
    summary = {
        "Arms": ", ".join(design.arms),
        "Shares of the labels": ", ".join(f"{share:.3g}" for share in shown_shares(design, rows).values()),
        "Trained on": "; ".join(pair.image for pair in design.train),
        "Tested on": "; ".join(pair.image for pair in design.test),
        "Trainings": f"{len(rows)} of {len(list(design.cells()))} done",
        "Steps": design.train_budget or str(design.train_steps),
    }
    found = [LabelEfficiency(score, [Arm(*arm) for arm in arms]) for score, arms in plots]
    return ReportData(title=design.name, summary=summary, efficiency=found)


def _held_back(run: Run) -> dict[str, float]:
    """The scores that a run was kept for."""
    best = run.card.get("best", {})
    return {k: float(v) for k, v in best.items() if k in _COMPARED and isinstance(v, int | float)}


def _card(run: Run, shared: dict[str, Any] | None) -> dict[str, str]:
    """What a stranger must know before using the weights; see `neuropil.training.card` for the page beside them."""
    card, rows = run.card, run.rows("train")
    best = card.get("best", {})
    chosen = {k: v for k, v in best.get("calibration", {}).items() if v not in (None, [])}
    steps, seconds = run.steps, float(rows[-1]["elapsed"]) if rows else 0.0
    said = {
        "Task": "pretraining" if card.get("kind") == "encoder" else run.task,
        "Data": "; ".join(" with ".join(str(s[k]) for k in ("image", "labels") if k in s) for s in card["sources"]),
        "Voxel size": " × ".join(f"{v:g}" for v in run.voxel_size) + " nm (z, y, x)" if card["voxel_size"] else "any",
        "Held back": "; ".join(_place(s["held_back"]) for s in card["sources"] if "held_back" in s),
        "Held-back scores": ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in _held_back(run).items()),
        f"Decoding, {run.decoding_from}": ", ".join(f"{k} {v}" for k, v in chosen.items()),
        "Channels": ", ".join(str(o) for o in run.offsets) or ", ".join(name for name, _ in card.get("channels", ())),
        "Speed of training": f"{steps / seconds:.3g} steps/s, batch {run.config.train.batch}" if seconds else "",
        "Versions": ", ".join(f"{k} {v}" for k, v in card["versions"].items()),
        "Licence": "that of the training data permitting, the trainer's to choose",
        "Use": use_command(run),
        "Warning": "; ".join(card.get("warnings", [])),
    }
    if shared is not None:
        said |= {"Licence": shared["licence"] or said["Licence"], "Licence of the data": shared["data"]["licence"]}
        said |= {"Cite": shared["cite"] or "", "Use": use_command(run, f"zoo:{shared['name']}")}
    return {name: text for name, text in said.items() if text}


def _place(held: Mapping[str, Any]) -> str:
    """A box as its ranges z, y, x."""
    return ", ".join(f"{a}:{b}" for a, b in zip(held["start"], held["stop"], strict=True))


def _masks_over_time(run: Run, pixel_nm: tuple[float, float]) -> list[Strip]:
    """How often each patch of the first crop was hidden, from validation to validation."""
    rows = [row for row in run.rows("validation") if "masks" in row]
    if not rows:
        return []
    _, y, x = run.card["patch"]
    count = min(_MOMENTS, len(rows))
    chosen = [rows[round(i * (len(rows) - 1) / max(1, count - 1))] for i in range(count)]
    maps = [(f"step {row['step']}", np.kron(np.asarray(row["masks"]), np.ones((y, x)))) for row in chosen]
    return [Strip("Crop 1: hidden how often, while learning", maps, pixel_nm)]


def _strips(run: Run) -> tuple[list[Strip], str, list[str]]:
    """Pictures of a pretraining run and what they show, or why there are none."""
    from neuropil.training.pretrain import looks

    try:
        found = looks(run, 3)
    except (VolumeError, RunError) as error:
        return [], "", [f"No pictures: {error.got}."]
    _, y, x = run.card["sources"][0]["voxel_size"]
    pixel_nm = (float(y), float(x))
    rows = [Strip(f"Crop {number}", list(one.pictures), pixel_nm) for number, one in enumerate(found, start=1)]
    return [*rows, *_masks_over_time(run, pixel_nm)], found[0].lead, []
