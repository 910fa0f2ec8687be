"""Which curves a run has: loss, validation scores, the threshold sweep; also several runs in one plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from neuropil.report.charts import Chart, Marker, Series, interval_chart, line_chart, smoothed, thinned
from neuropil.report.model import ReportData

#: Keys of the scores that are plotted, with names and colours.
SCORE_LINES = (
    ("voi_sum", "VOI sum", "c1"),
    ("voi_split", "VOI split", "c2"),
    ("voi_merge", "VOI merge", "c3"),
    ("arand", "ARAND", "c4"),
)


class Curves(NamedTuple):
    """What tasks and pretexts log, one chart; lines are (table of rows, key, name), coloured in their order."""

    title: str
    y_label: str
    caption: str
    lines: tuple[tuple[Literal["metrics", "validation"], str, str], ...]


LOGGED = (
    Curves(
        "Objects and foreground",
        "share",
        "The held-back slabs at the thresholds that were best at that time.",
        (
            ("validation", "f1_50", "F1 at IoU 0.5"),
            ("validation", "f1_75", "F1 at IoU 0.75"),
            ("validation", "iou", "IoU of the foreground"),
            ("validation", "dice", "Dice of the foreground"),
            ("validation", "centreline_recall", "recall of the centreline"),
        ),
    ),
    Curves(
        "Hidden patches",
        "error",
        "Held-back crops under random masks. An error of 1 on voxels is no answer at all.",
        (("validation", "masked_voxels", "voxels"), ("validation", "masked_hog", "gradients")),
    ),
    Curves(
        "Two views",
        "error · share",
        "Held-back crops: the error of restoring them from either view, and how many cells of one view are nearest to "
        "themselves in the other.",
        (
            ("validation", "restored_weak", "restored from the weak view"),
            ("validation", "restored_strong", "restored from the strong view"),
            ("validation", "matched", "cells found again"),
        ),
    ),
    Curves(
        "Terms of the loss",
        "error · nats",
        "Each before its weight.",
        (
            ("metrics", "loss_reconstruction", "reconstruction"),
            ("metrics", "loss_contrast", "contrast"),
            ("metrics", "loss_cross", "contrast after attention"),
            ("metrics", "loss_feature_mse", "distance of features"),
        ),
    ),
    Curves(
        "Masks and edges",
        "correlation",
        "How much being hidden goes with edges within a crop: 0 is by chance, 1 where edges are and nowhere else.",
        (("metrics", "mask_edges", "correlation with edges"),),
    ),
    Curves(
        "Agents",
        "share · nats",
        "Evenness of the agents' choice (1 is random), its distance from an even one, and how much of their preference "
        "goes by places alone: near 1 they do not look at the tissue.",
        (
            ("metrics", "agents_entropy_share", "entropy, share of the greatest"),
            ("metrics", "agents_kl", "KL to an even choice"),
            ("metrics", "agents_place_share", "share of preference explained by place"),
        ),
    ),
    Curves(
        "Places that are hidden",
        "variance over that of chance",
        "How unevenly places of the crop are hidden in the long run: 1 as by random masks, far above it the same ones "
        "again and again.",
        (("metrics", "frequency_excess", "frequency of places"),),
    ),
    Curves(
        "Updates of the agents",
        "ratio · share",
        "Chance of a pick after an update over that before (1 is no change), and the share of picks whose ratio left "
        "the range in which they still count.",
        (
            ("metrics", "ppo_ratio_mean", "ratio, mean"),
            ("metrics", "ppo_ratio_std", "ratio, standard deviation"),
            ("metrics", "ppo_clip_fraction", "share that was clipped"),
        ),
    ),
    Curves(
        "Mask ratio and probe",
        "share",
        "Share of hidden patches, and how much of the membranes a straight line reads from the features.",
        (("metrics", "mask_ratio", "mask ratio"), ("validation", "probe", "probe, R²")),
    ),
)
#: Of these the first that there is compares runs in one plot.
SHARED = (
    ("voi_sum", "VOI sum (bits)"),
    ("f1_50", "F1 at IoU 0.5"),
    ("iou", "IoU of the foreground"),
    ("masked_voxels", "error on hidden voxels"),
    ("restored_strong", "error of restoring"),
)
_POINTS = 400


def run_charts(data: ReportData) -> list[Chart]:
    """The charts of one run; those without data are left out."""
    charts = [loss_chart([data]), _validation(data), sweep_chart([data]), *_logged(data)]
    return [chart for chart in charts if chart is not None and chart.svg]


def shared_charts(runs: Sequence[ReportData]) -> list[Chart]:
    """Loss, held-back score and threshold sweep of several runs in common plots."""
    charts = [loss_chart(runs), held_back_chart(runs), sweep_chart(runs)]
    return [chart for chart in charts if chart is not None and chart.svg]


def loss_chart(runs: Sequence[ReportData]) -> Chart | None:
    """Training loss on a log axis: single rows faint, their running mean strong."""
    series: list[Series] = []
    for number, data in enumerate(runs):
        colour = f"c{number % 6 + 1}"
        x, y = columns(data.metrics, "step", "loss")
        if not x:
            continue
        xs, ys = thinned(x, y, _POINTS)
        name = "loss" if len(runs) == 1 else data.title
        if len(xs) > 20:
            series.append(Series(name, xs, ys, colour, faint=True))
            ys = smoothed(ys, max(3, len(ys) // 25))
        series.append(Series(name, xs, ys, colour))
    if not series:
        return None
    return line_chart("Training loss", series, x_label="step", y_label="loss (log)", log=True)


def held_back_chart(runs: Sequence[ReportData]) -> Chart | None:
    """The first score that any run was validated by, of all runs that have it."""
    for key, name in SHARED:
        series = []
        for number, data in enumerate(runs):
            x, y = columns(data.validation, "step", key)
            if x:
                series.append(Series(data.title, tuple(x), tuple(y), f"c{number % 6 + 1}", dots=len(x) <= 40))
        if series:
            return line_chart("Validation", series, x_label="step", y_label=name, caption="On what each run held back.")
    return None


def efficiency_charts(data: ReportData) -> list[Chart]:
    """A score over the share of the labels, one chart for each score of a study."""
    charts = []
    for found in data.efficiency:
        title, better = found.score
        lines = [
            Series(arm.name, tuple(arm.budgets), tuple(arm.means), f"c{number % 6 + 1}", dots=True)
            for number, arm in enumerate(found.arms)
        ]
        caption = f"Mean over seeds with its 95 % interval; {better} is better."
        words = {"x_label": "share of the labels (log)", "y_label": title, "caption": caption}
        charts.append(interval_chart(title, lines, [arm.halves for arm in found.arms], **words))
    return [chart for chart in charts if chart.svg]


def _validation(data: ReportData) -> Chart | None:
    return _score_chart("Validation", data.validation, "step", "Scores of the held-back slab during training.", ())


def _logged(data: ReportData) -> list[Chart | None]:
    charts: list[Chart | None] = []
    for title, y_label, caption, lines in LOGGED:
        series = []
        for number, (table, key, name) in enumerate(lines, start=1):
            x, y = columns(data.metrics if table == "metrics" else data.validation, "step", key)
            if x:
                xs, ys = thinned(x, y, _POINTS)
                series.append(Series(name, xs, ys, f"c{number}", dots=len(xs) <= 40))
        charts.append(line_chart(title, series, x_label="step", y_label=y_label, caption=caption) if series else None)
    return charts


def sweep_chart(runs: Sequence[ReportData]) -> Chart | None:
    """Scores against the agglomeration threshold, the chosen one marked; of several runs only the VOI sum."""
    if len(runs) == 1:
        data = runs[0]
        chosen = data.threshold if data.threshold is not None else flagged_threshold(data.sweep)
        markers = [Marker(chosen, f"chosen {chosen:.3g}")] if chosen is not None else []
        caption = "Each threshold cuts the same merge tree: further right, fewer merges and more splits."
        return _score_chart("Threshold sweep", data.sweep, "threshold", caption if data.sweep else "", markers)
    series = []
    for number, data in enumerate(runs):
        x, y = columns(data.sweep, "threshold", "voi_sum")
        if x:
            series.append(Series(data.title, tuple(x), tuple(y), f"c{number % 6 + 1}", dots=True))
    return line_chart("Threshold sweep", series, x_label="threshold", y_label="VOI sum (bits)") if series else None


def flagged_threshold(sweep: Sequence[Mapping[str, Any]]) -> float | None:
    """The threshold of the row that says ``chosen: true``, if there is one."""
    return next((float(row["threshold"]) for row in sweep if row.get("chosen") and "threshold" in row), None)


def columns(rows: Sequence[Mapping[str, Any]], x_key: str, y_key: str) -> tuple[list[float], list[float]]:
    """Two columns of a table of rows, in the order of the first; rows that lack a finite number are skipped."""
    pairs = [
        (_number(row.get(x_key, i if x_key == "step" else None)), _number(row.get(y_key))) for i, row in enumerate(rows)
    ]
    kept = sorted((x, y) for x, y in pairs if x is not None and y is not None)
    return [x for x, _ in kept], [y for _, y in kept]


def _score_chart(
    title: str, rows: Sequence[Mapping[str, Any]], x_key: str, caption: str, markers: Sequence[Marker]
) -> Chart | None:
    series = []
    for key, name, colour in SCORE_LINES:
        x, y = columns(rows, x_key, key)
        if x:
            series.append(Series(name, tuple(x), tuple(y), colour, dots=len(x) <= 40, dashed=key == "arand"))
    if not series:
        return None
    return line_chart(title, series, x_label=x_key, y_label="bits · error", markers=markers, caption=caption)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
