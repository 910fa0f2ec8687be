"""Which curves a run has."""

from __future__ import annotations

from dataclasses import replace

from neuropil.report import ReportData
from neuropil.report.curves import columns, flagged_threshold, loss_chart, run_charts, shared_charts, sweep_chart


def test_all_three_charts(full):
    assert [c.title for c in run_charts(full)] == ["Training loss", "Validation", "Threshold sweep"]


def test_a_run_without_rows_has_no_charts():
    assert run_charts(ReportData("empty")) == []
    assert shared_charts([ReportData("a"), ReportData("b")]) == []


def test_raw_loss_is_faint_behind_its_mean(full):
    svg = loss_chart([full]).svg
    assert svg.count("<polyline") == 2
    assert svg.count("faint") == 1


def test_chosen_threshold_is_marked(full):
    assert "chosen 0.4" in sweep_chart([full]).svg
    flagged = [{**row, "chosen": row["threshold"] == 0.6} for row in full.sweep]
    assert flagged_threshold(flagged) == 0.6
    assert "chosen 0.6" in sweep_chart([replace(full, sweep=flagged, threshold=None)]).svg
    assert "chosen" not in sweep_chart([replace(full, threshold=None)]).svg


def test_several_runs_share_a_plot(full):
    chart = sweep_chart([full, replace(full, title="other")])
    assert [name for name, _ in chart.legend] == ["toy <run> & co", "other"]


def test_rows_without_numbers_are_skipped():
    rows = [
        {"step": 2, "loss": 1},
        {"step": 1, "loss": float("nan")},
        {"loss": 3.0},
        {"step": 0, "loss": True},
        {"x": 1},
    ]
    assert columns(rows, "step", "loss") == ([2.0, 2.0], [1.0, 3.0])


def test_masks_without_agents_are_not_headed_agents_and_their_health_is_drawn_where_there_are_some():
    plain = [{"step": n, "loss": 1.0, "mask_edges": 0.1 * n} for n in range(3)]
    titles = [chart.title for chart in run_charts(ReportData("x", metrics=plain))]
    assert titles == ["Training loss", "Masks and edges"]
    more = {"agents_kl": 0.1, "frequency_excess": 1.2, "ppo_ratio_std": 0.1, "ppo_clip_fraction": 0.0}
    charts = run_charts(ReportData("x", metrics=[row | more for row in plain]))
    assert [c.title for c in charts][2:] == ["Agents", "Places that are hidden", "Updates of the agents"]
    assert "share that was clipped" in charts[-1].svg + str(charts[-1])


def test_tasks_have_the_curves_of_their_scores():
    from neuropil.tasks.base import task_named

    for name in ("mitochondria", "semantic", "trees"):
        headline = task_named(name).headline
        rows = [{"step": n, **dict.fromkeys(headline, 0.5 + n / 100)} for n in range(3)]
        (chart,) = run_charts(ReportData("x", validation=rows))
        assert len(chart.legend) == len(headline)
        assert len({colour for _, colour in chart.legend}) == len(headline)
