"""The table of the study of inflation: means with 95 % intervals over seeds, and differences from scratch by seed."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable
from typing import Any

from neuropil.studies.table import interval

GOAL = 8.71
REFERENCE = "scratch"
#: Inflated like the others, of random weights.
CONTROL = "random"
#: The group that the goal is about, of each source.
HEADLINE = {"projections": "neurons", "phantoms": "phantoms", "stack": "rest of the stack"}
TITLES = {"f1": "F1", "cldice": "clDice", "best_f1": "F1, best threshold of each item"}

INTRODUCTION = """# Does inflation help?

Made by `bench/inflation.py`: `pretrain`, `run`, `table`; its docstring says who is held out and what an arm is, and
`inflation.json` has every number. A seed decides which items are labelled, the crops, and all fresh weights; there is
one pretraining for all seeds, whose own chance is not in the intervals. No setting was tuned for this study, and one
learning rate serves all arms. Intervals are 95 % over seeds (Student's t), not corrected for how many are looked at.

Read [what it means](../methods/vit_inflation.md#does-it-help) beside the tables."""


def page(found: dict[str, Any]) -> str:
    """All scales as Markdown."""
    lines = [INTRODUCTION]
    for scale, study in found.items():
        lines += ["", f"## Scale `{scale}`", "", *_facts(study)]
        for name, track in study["tracks"].items():
            rows = [row for row in study["runs"] if row["track"] == name]
            if rows:
                lines += _track(name, track, rows)
    return "\n".join(lines) + "\n"


def _facts(study: dict[str, Any]) -> list[str]:
    made, shape = study["pretraining"], study["network"]["masked"]["shape"]
    loss = made["held_loss"]
    lines = [
        f"A 2-D transformer of width {shape['dim']}, {shape['depth']} blocks, patches of {shape['patch'][0]} pixels "
        f"({made['weights'] / 1e6:.2f} M weights): {made['steps']} steps of {made['batch']} crops of {made['images']} "
        f"photographs; loss on held-out ones {loss['first']:.3f} before, {loss['last']:.3f} after.",
    ]
    for name, parts in study["split"].items():
        held = ", ".join(f"{len(ids)} {part}" for part, ids in parts.items() if part != "learned")
        spent = statistics.median(r["cpu_seconds"]["train"] for r in study["runs"] if r["track"] == name)
        lines += [
            "",
            f"Track `{name}`: {study['tracks'][name]['steps']} steps for each arm ({spent:.0f} s of one core, median); "
            f"{len(parts['learned'])} items to learn from, held out: {held}.",
        ]
    return lines


def _track(name: str, track: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    budgets = sorted({row["labelled"] for row in rows})
    arms = dict.fromkeys(row["arm"] for row in sorted(rows, key=_order))
    headline = HEADLINE[track["source"]]
    lines = []
    for group in rows[0]["test"]:
        lines += ["", f"### `{name}`, {group}", ""]
        lines += ["Mean ± half the interval (seeds); in brackets the difference from scratch, paired by seed.", ""]
        lines += [
            "| score | arm | " + " | ".join(f"{b} labelled" for b in budgets) + " |",
            "|---" * (len(budgets) + 2) + "|",
        ]
        for key, title in TITLES.items():
            scores = collected(rows, group, key)
            for arm in arms:
                cells = [_cell(scores, arm, budget) for budget in budgets]
                lines.append(f"| {title} | {arm} | " + " | ".join(cells) + " |")
        if group == headline:
            lines += ["", *_verdict(group, rows, arms, budgets)]
    return lines


def _order(row: dict[str, Any]) -> int:
    return (REFERENCE, "center", "average", CONTROL).index(row["arm"])


def collected(rows: list[dict[str, Any]], group: str, key: str) -> dict[tuple[str, int], dict[int, float]]:
    """(arm, label budget) → seed → score."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    for row in rows:
        found.setdefault((row["arm"], row["labelled"]), {})[row["seed"]] = row["test"][group][key]
    return found


def relative(
    scores: dict[tuple[str, int], dict[int, float]], arm: str, budget: int, reference: str = REFERENCE
) -> tuple[float, float, int]:
    """Mean difference from a reference in percent of its mean, half the 95 % interval, and how many seeds both have.

    NaN where the reference finds nothing: there is no percentage of that.
    """
    ours, theirs = scores.get((arm, budget), {}), scores.get((reference, budget), {})
    seeds = sorted(ours.keys() & theirs.keys())
    base = statistics.fmean(theirs[s] for s in seeds) if seeds else 0.0
    if not base:
        return math.nan, math.nan, len(seeds)
    mean, half = interval([ours[s] - theirs[s] for s in seeds])
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


def _verdict(group: str, rows: list[dict[str, Any]], arms: Iterable[str], budgets: list[int]) -> list[str]:
    """Relative F1 of each arm over those that are nothing but fresh weights, at every budget."""
    scores = collected(rows, group, "f1")
    lines = [
        f"Relative F1 on {group}, in percent (the goal: {GOAL:+.2f} over scratch at the smallest budget):",
        "",
        "| arm | over | " + " | ".join(f"{b} labelled" for b in budgets) + " | goal |",
        "|---" * (len(budgets) + 3) + "|",
    ]
    for arm, over in itertools.product(arms, (REFERENCE, CONTROL)):
        if arm in (over, REFERENCE) or over not in arms:
            continue
        found = [relative(scores, arm, budget, over) for budget in budgets]
        cells = [f"{_spread(mean, half, sign=True, digits=1)} ({seeds})" for mean, half, seeds in found]
        said = ("reached" if found[0][0] >= GOAL else "not reached") if over == REFERENCE and arm != CONTROL else ""
        lines.append(f"| {arm} | {over} | " + " | ".join(cells) + f" | {said} |")
    return lines
