"""Runs side by side: what differs, scores of what was held back, plots of a study."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from neuropil.report import Arm, LabelEfficiency, ReportData, write_report
from neuropil.report.charts import HEIGHT, Series, interval_chart
from neuropil.report.curves import efficiency_charts, held_back_chart
from neuropil.report.words import differing


def test_only_what_differs():
    one = {"train": {"lr": 0.1, "steps": 5}, "model": {"channels": [8, 16]}, "task": "neurons"}
    other = {"train": {"lr": 0.2, "steps": 5}, "model": {"channels": [8, 16]}, "task": "neurons", "init": None}
    assert differing([one, other]) == [("train.lr", ("0.1", "0.2")), ("init", ("–", "null"))]
    assert differing([one, one]) == []
    assert differing([{"a": [1, None, True]}, {"a": []}]) == [("a", ("1, null, true", ""))]


def test_held_back_scores_of_all_runs_are_one_chart():
    runs = [
        ReportData("a", validation=[{"step": 1, "voi_sum": 2.0}, {"step": 2, "voi_sum": 1.0}]),
        ReportData("b", validation=[{"step": 1, "f1_50": 0.5}]),
        ReportData("c", validation=[{"step": 3, "voi_sum": 3.0}]),
    ]
    chart = held_back_chart(runs)
    assert chart is not None
    assert chart.legend == (("a", "c1"), ("c", "c3"))
    assert held_back_chart([ReportData("x"), ReportData("y")]) is None


def test_bars_reach_as_far_as_the_interval():
    line = Series("arm", (0.1, 1.0), (2.0, 1.0), "c1", dots=True)
    chart = interval_chart("t", [line], [(0.5, math.nan)], x_label="x", y_label="y", caption="")
    bars = re.findall(r'<path class="line c1" d="M([\d.]+) ([\d.]+)V([\d.]+)"', chart.svg)
    assert len(bars) == 1  # one seed has no interval
    centres = re.findall(r'<circle class="dot c1" cx="([\d.]+)" cy="([\d.]+)"', chart.svg)
    low, high, middle = float(bars[0][1]), float(bars[0][2]), float(centres[0][1])
    assert low - middle == pytest.approx(middle - high, abs=0.2)
    per_bit = (float(centres[1][1]) - middle) / 1.0
    assert low - middle == pytest.approx(0.5 * per_bit, abs=0.2)
    assert 0 < high < low < HEIGHT


def test_shares_lie_evenly_when_their_ratios_are_equal():
    line = Series("arm", (0.01, 0.1, 1.0), (1.0, 1.0, 1.1), "c1", dots=True)
    chart = interval_chart("t", [line], [(0.1,) * 3], x_label="x", y_label="y", caption="")
    places = [float(x) for x in re.findall(r'<circle class="dot c1" cx="([\d.]+)"', chart.svg)]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)
    assert all(text in chart.svg for text in (">1 %<", ">10 %<", ">100 %<"))


def test_one_budget_and_nothing_at_all():
    line = Series("arm", (0.5,), (2.0,), "c1", dots=True)
    assert "<circle" in interval_chart("t", [line], [(math.nan,)], x_label="x", y_label="y", caption="").svg
    assert interval_chart("t", [], [], x_label="x", y_label="y", caption="").svg == ""


@pytest.fixture
def study() -> ReportData:
    arms = [Arm("scratch", (0.1, 1.0), (2.0, 1.0), (0.2, math.nan), (3, 1)), Arm("mae", (0.1,), (1.5,), (0.1,), (3,))]
    return ReportData("study", efficiency=[LabelEfficiency(("VOI", "lower"), arms)])


def test_a_study_is_a_chart_for_each_score(study):
    (chart,) = efficiency_charts(study)
    assert chart.legend == (("scratch", "c1"), ("mae", "c2"))
    assert "lower is better" in chart.caption


def test_the_page_says_what_it_compares(tmp_path, study):
    runs = [
        ReportData(name, settings={"seed": k}, held_back={"voi_sum": 1.0 + k}, card={"Data": f"data <{k}>"})
        for k, name in enumerate("ab")
    ]
    page = Path(write_report([*runs, study], tmp_path / "r.html")).read_text()
    assert "<h1>2 runs and 1 study side by side</h1>" in page
    assert "On what each run held back" in page
    header = re.search(r"On what each run held back.*?</thead>", page, re.DOTALL)
    assert header is not None
    assert "study" not in header[0]  # it has no column
    assert "data &lt;0&gt;" in page
    assert re.search(r'<th scope="row">seed</th><td>0</td><td>1</td>', page)
    assert page.count("± 0.200") == 1


def test_runs_of_the_same_settings_say_so(tmp_path):
    runs = [ReportData(name, settings={"seed": 1}) for name in "ab"]
    assert "All settings are the same" in write_report(runs, tmp_path / "r.html").read_text()
