"""Curves as SVG: points where they belong, ticks that are round, text that is safe."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET

import pytest

from neuropil.report.charts import Axis, Marker, Series, line_chart, log_ticks, short, smoothed, thinned, ticks


def drawn(chart) -> ET.Element:
    return ET.fromstring(chart.svg)


def test_axis_is_linear_or_logarithmic():
    assert Axis(0, 10, 100, 0).at(5) == 50
    assert Axis(1, 100, 0, 10, log=True).at(10) == pytest.approx(5)
    assert Axis(3, 3, 0, 10).at(3) == 0


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.05, 0.95), (0, 6400), (-3, 4), (2, 2)])
def test_ticks_span_the_values_in_round_steps(low, high):
    found = ticks(low, high, 5)
    assert found[0] <= low
    assert found[-1] >= high
    steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
    assert len(steps) == 1
    mantissa = steps.pop() / 10 ** math.floor(math.log10(found[1] - found[0] + 1e-12))
    assert round(mantissa, 6) in (1, 2, 2.5, 5)


def test_log_ticks_have_at_least_three_where_possible():
    assert log_ticks(0.01, 100) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert len(log_ticks(0.2, 0.9)) >= 3


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (2000, "2000"), (20_000, "20k"), (2.5e6, "2.5M"), (0.25, "0.25"), (3e-5, "3e-5")]
)
def test_short_numbers(value, text):
    assert short(value) == text


def test_smoothing_keeps_a_constant_and_length():
    assert smoothed([2.0] * 7, 3) == (2.0,) * 7
    assert smoothed([0.0, 3.0, 0.0], 3) == pytest.approx((1.5, 1.0, 1.5))


def test_thinning_keeps_the_mean():
    x, y = thinned(list(range(1000)), [1.0] * 1000, 100)
    assert len(x) == 100
    assert set(y) == {1.0}
    assert sum(x) / 100 == pytest.approx(499.5)


def test_chart_is_well_formed_and_described():
    chart = line_chart(
        "A <b>",
        [Series("x & y", (0, 1, 2), (3, 1, 2), "c1", dots=True)],
        x_label="step",
        y_label="loss",
        markers=[Marker(1, "here")],
    )
    root = drawn(chart)
    assert root.attrib["role"] == "img"
    assert "A <b>" in root.attrib["aria-label"]
    assert "least 1" in root.attrib["aria-label"]
    assert len(root.findall("circle")) == 3
    assert [t.text for t in root.findall("text") if t.attrib.get("class") == "marker-text"] == ["here"]
    assert chart.legend == (("x & y", "c1"),)


def test_higher_values_are_drawn_higher():
    root = drawn(line_chart("t", [Series("s", (0, 1), (1, 5), "c1")], x_label="", y_label=""))
    (x1, y1), (x2, y2) = ([float(v) for v in p.split(",")] for p in root.find("polyline").attrib["points"].split())
    assert x2 > x1
    assert y2 < y1


def test_values_that_cannot_be_drawn_are_left_out():
    chart = line_chart("t", [Series("s", (0, 1, 2, 3), (1, math.nan, -1, 2), "c1")], x_label="", y_label="", log=True)
    assert len(drawn(chart).find("polyline").attrib["points"].split()) == 2
    assert line_chart("t", [Series("s", (0,), (math.inf,), "c1")], x_label="", y_label="").svg == ""
