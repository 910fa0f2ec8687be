"""The table of the study of inflation: means with 95 % intervals over seeds, and differences from scratch by seed."""

from __future__ import annotations

import math
import statistics
from typing import Any

from neuropil.studies.table import interval

GOAL = 8.71
REFERENCE = "scratch"
#: The group that the goal is about, of each source.
HEADLINE = {"projections": "neurons", "phantoms": "phantoms"}
TITLES = {"f1": "F1", "cldice": "clDice", "best_f1": "F1 at the best threshold there is"}


def page(found: dict[str, Any]) -> str:
    """All scales as Markdown."""
    lines = ["# Does inflation help?", "", "Made by `bench/inflation.py table`; every number: `inflation.json`."]
    for scale, study in found.items():
        lines += ["", f"## Scale `{scale}`", "", *_facts(study), ""]
        for name, track in study["tracks"].items():
            rows = [row for row in study["runs"] if row["track"] == name]
            if rows:
                lines += _track(name, track, rows)
    return "\n".join(lines) + "\n"


def _facts(study: dict[str, Any]) -> list[str]:
    made, shape = study["pretraining"], study["network"]["masked"]["shape"]
    loss, split = made["held_loss"], study["split"]
    said = [
        f"A 2-D transformer of width {shape['dim']}, {shape['depth']} blocks, patches of {shape['patch'][0]} pixels "
        f"({made['weights'] / 1e6:.2f} M weights): {made['steps']} steps of {made['batch']} crops of {made['images']} "
        f"photographs; loss on held-out ones {loss['first']:.3f} before, {loss['last']:.3f} after.",
    ]
    for name, parts in split.items():
        held = ", ".join(f"{len(ids)} {part}" for part, ids in parts.items() if part != "learned")
        said.append(f"Track `{name}`: {study['tracks'][name]['steps']} steps for every arm; held out {held}.")
    return said


def _track(name: str, track: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    lines, groups = [], list(rows[0]["test"])
    budgets = sorted({row["labelled"] for row in rows})
    for group, key in [(group, key) for group in groups for key in TITLES]:
        lines += ["", f"### `{name}`, {group}: {TITLES[key]}", ""]
        lines += ["Mean ± half the 95 % interval (seeds); in brackets the difference from scratch, paired by seed.", ""]
        lines += ["| arm | " + " | ".join(f"{b} labelled" for b in budgets) + " |", "|---" * (len(budgets) + 1) + "|"]
        scores = collected(rows, group, key)
        for arm in dict.fromkeys(row["arm"] for row in sorted(rows, key=_order)):
            cells = [_cell(scores, arm, budget) for budget in budgets]
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return [*lines, "", *_verdict(name, HEADLINE[track["source"]], rows, budgets[0])]


def _order(row: dict[str, Any]) -> int:
    return (REFERENCE, "center", "average", "random").index(row["arm"])


def collected(rows: list[dict[str, Any]], group: str, key: str) -> dict[tuple[str, int], dict[int, float]]:
    """(arm, label budget) → seed → score."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    for row in rows:
        found.setdefault((row["arm"], row["labelled"]), {})[row["seed"]] = row["test"][group][key]
    return found


def relative(scores: dict[tuple[str, int], dict[int, float]], arm: str, budget: int) -> tuple[float, float, int]:
    """Mean difference from scratch in percent of its mean, half the 95 % interval, and how many seeds both have."""
    ours, theirs = scores.get((arm, budget), {}), scores.get((REFERENCE, budget), {})
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return math.nan, math.nan, 0
    mean, half = interval([ours[s] - theirs[s] for s in seeds])
    base = statistics.fmean(theirs[s] for s in seeds)
    return 100 * mean / base, 100 * half / base, len(seeds)


def _cell(scores: dict[tuple[str, int], dict[int, float]], arm: str, budget: int) -> str:
    values = list(scores.get((arm, budget), {}).values())
    if not values:
        return "–"
    text = f"{_spread(*interval(values))} ({len(values)})"
    if arm == REFERENCE:
        return text
    base = scores.get((REFERENCE, budget), {})
    shared = [v - base[s] for s, v in scores[arm, budget].items() if s in base]
    return text + (f" [{_spread(*interval(shared), sign=True)}]" if shared else "")


def _spread(mean: float, half: float, *, sign: bool = False, digits: int = 3) -> str:
    text = f"{mean:+.{digits}f}" if sign else f"{mean:.{digits}f}"
    return text if math.isnan(half) else f"{text} ± {half:.{digits}f}"


def _verdict(name: str, group: str, rows: list[dict[str, Any]], budget: int) -> list[str]:
    """Relative F1 at the smallest budget, beside the goal."""
    scores = collected(rows, group, "f1")
    lines = [f"Relative F1 on {group} with {budget} labelled (goal: {GOAL:+.2f} %):", ""]
    for arm in dict.fromkeys(row["arm"] for row in sorted(rows, key=_order)):
        if arm == REFERENCE:
            continue
        mean, half, seeds = relative(scores, arm, budget)
        reached = "reached" if mean >= GOAL else "not reached"
        lines.append(f"- {arm}: {_spread(mean, half, sign=True, digits=1)} % ({seeds} seeds); {reached}")
    return lines
