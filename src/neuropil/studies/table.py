"""Tables and plots of a study: mean with its 95 % interval over seeds, and differences paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy import stats

from neuropil.studies.design import Design
from neuropil.studies.shares import percent, shown_shares


class Score(NamedTuple):
    """What a score of `neuropil evaluate` is called, and which way is better."""

    title: str
    better: str


#: Scores of a row by task, the first one is plotted.
SCORES = {
    "neurons": {"voi_sum": Score("VOI", "lower"), "arand": Score("ARAND", "lower")},
    "mitochondria": {"f1_50": Score("F1 at IoU 0.5", "higher"), "f1_75": Score("F1 at IoU 0.75", "higher")},
    "semantic": {"iou": Score("IoU", "higher"), "dice": Score("Dice", "higher")},
}
#: Scores that are kept beside those of the tables.
KEPT = {"neurons": ("voi_split", "voi_merge"), "mitochondria": ("pq_50", "iou"), "semantic": ()}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (Student's t); the latter is NaN for one value.

    Examples
    --------
    >>> mean, half = interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(half, 3)
    (2.0, 2.484)
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    error = statistics.stdev(values) / math.sqrt(len(values))
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * error


def collected(rows: Sequence[Mapping[str, Any]], score: str) -> dict[tuple[str, float], dict[int, float]]:
    """(arm, budget) → seed → score."""
    found: dict[tuple[str, float], dict[int, float]] = {}
    for row in rows:
        found.setdefault((row["arm"], row["budget"]), {})[row["seed"]] = float(row["test"][score])
    return found


def markdown(design: Design, rows: Sequence[Mapping[str, Any]]) -> str:
    """One table for each score: arms by budgets, each with its difference from the reference over the same seeds.

    Budgets are headed by what was labelled. A last table says what the arms cost, where rows know it.
    """
    heads = [
        f"{percent(share)} of the labels" + ("" if share == asked else f" ({percent(asked)} asked)")
        for asked, share in shown_shares(design, rows).items()
    ]
    parts = [f"# {design.name}", "", f"{len(rows)} of {len(list(design.cells()))} trainings done.", ""]
    for score, (title, better) in SCORES[design.task].items():
        found = collected(rows, score)
        parts += [
            f"## {title} ({better} is better)",
            "",
            f"Mean ± half the 95 % interval over seeds (number of seeds); in brackets the paired difference from "
            f"`{design.reference}`.",
            "",
            "| arm | " + " | ".join(heads) + " |",
            "|---|" + "---|" * len(design.budgets),
        ]
        for arm in design.arms:
            cells = [_cell(found, arm, budget, design.reference) for budget in design.budgets]
            parts.append(f"| {arm} | " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts + _costs(design, rows))


def _costs(design: Design, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The section on cost; nothing where no row knows any."""
    lines, known = [], False
    for arm, settings in design.arms.items():
        here = [row for row in rows if row["arm"] == arm]
        # rows of one seed began with the same encoder: it counts once, however many budgets are done
        encoders = {row["seed"]: seconds for row in here if (seconds := row.get("pretrain_seconds")) is not None}
        trainings = [seconds for row in here if (seconds := row.get("train_seconds")) is not None]
        known = known or bool(encoders or trainings)
        before = "none" if settings.pretrain is None and settings.init is None else _median(list(encoders.values()))
        lines.append(f"| {arm} | {before} | {_median(trainings)} |")
    if not known:
        return []
    return [
        "## Cost",
        "",
        "Median wall time in seconds of pretraining an encoder (over seeds) and of training (over seeds and budgets); "
        "– where it is not known.",
        "",
        "| arm | pretraining | training |",
        "|---|---|---|",
        *lines,
        "",
    ]


def _median(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.{0 if max(seconds) >= 10 else 1}f}" if seconds else "–"


def _cell(found: Mapping[tuple[str, float], Mapping[int, float]], arm: str, budget: float, reference: str) -> str:
    values = found.get((arm, budget), {})
    if not values:
        return "–"
    text = f"{_spread(list(values.values()))} ({len(values)})"
    other = found.get((reference, budget), {})
    shared = [values[s] - other[s] for s in values if s in other]
    if arm != reference and shared:
        text += f" [{_spread(shared, sign=True)}]"
    return text


def _spread(values: Sequence[float], *, sign: bool = False) -> str:
    mean, half = interval(values)
    text = f"{mean:+.3f}" if sign else f"{mean:.3f}"
    return text if math.isnan(half) else f"{text} ± {half:.3f}"


def plot_svg(design: Design, rows: Sequence[Mapping[str, Any]], score: str | None = None) -> str:
    """A plot of a score, the task's first if none is said, over the share of labels (logarithmic).

    A line for each arm, a dot for each seed, and bars for the 95 % interval. What was measured decides how far the axis
    goes: intervals of two or three seeds reach beyond what a score can be, and end at the frame.
    """
    scores = SCORES[design.task]
    score = score or next(iter(scores))
    title, better = scores[score]
    found = collected(rows, score)
    points = {k: interval(list(v.values())) for k, v in found.items()}
    if not points:
        return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 400"></svg>'
    measured = [value for seeds in found.values() for value in seeds.values()]
    room = 0.1 * (max(measured) - min(measured) or 1)
    low, high = min(measured) - room, max(measured) + room
    shares = shown_shares(design, rows)
    logs = [math.log(share) for share in shares.values()]
    width = (logs[-1] - logs[0]) or 1.0

    def place(budget: float, value: float, aside: float = 0) -> tuple[float, float]:
        return 70 + aside + 420 * (math.log(shares[budget]) - logs[0]) / width, 360 - 330 * (value - low) / (high - low)

    shapes = [f'<text x="60" y="18" class="t">{title} on the test volume, {better} is better</text>']
    for tick in range(5):
        value = low + (high - low) * tick / 4
        _, y = place(design.budgets[0], value)
        shapes.append(f'<path d="M60 {y:.1f}H500" class="g"/><text x="8" y="{y + 4:.1f}">{value:.2f}</text>')
    for budget in design.budgets:
        x, _ = place(budget, low)
        shapes.append(f'<text x="{x - 12:.1f}" y="382">{percent(shares[budget])}</text>')
    for number, arm in enumerate(design.arms):
        colour = f"hsl({number * 360 / len(design.arms):.0f} 65% 42%)"
        aside = 4 * (number - (len(design.arms) - 1) / 2)  # so that arms do not hide one another
        here = [(b, *points[arm, b]) for b in design.budgets if (arm, b) in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(b, m, aside) for b, m, _ in here))
        shapes.append(f'<polyline points="{path}" stroke="{colour}"/>')
        for budget, mean, half in here:
            x, y = place(budget, mean, aside)
            shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
            for value in found[arm, budget].values():
                _, y = place(budget, value)
                shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="none" stroke="{colour}"/>')
            if not math.isnan(half):
                (_, top), (_, bottom) = (place(budget, min(high, max(low, mean + s * half))) for s in (1, -1))
                shapes.append(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="{colour}"/>')
        shapes.append(f'<text x="516" y="{40 + 18 * number}" fill="{colour}">{arm}</text>')
    style = "text{font:12px sans-serif}.t{font-weight:bold}.g{stroke:#ddd}polyline{fill:none;stroke-width:2}"
    body = "".join(shapes)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 400"><style>{style}</style>{body}</svg>'
