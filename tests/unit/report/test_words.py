"""Numbers as words."""

from __future__ import annotations

import pytest

from neuropil.metrics import directions
from neuropil.report import Timing
from neuropil.report.meanings import MEANING
from neuropil.report.words import compared, duration, memory, number, tiles, timing_rows


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.423, "0.42 s"), (12.4, "12 s"), (185, "3 min 05 s"), (59.9, "60 s"), (7800, "2 h 10 min"), (0, "0 s")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(900 * 2**20, "900 MiB"), (3 * 2**30, "3.0 GiB")])
def test_memory(size, text):
    assert memory(size) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9421, "0.942"),
        (548, "548"),
        (15_624_989, "15\u202f624\u202f989"),
        (float("nan"), "–"),
        (0.0, "0.000"),
        (1.0, "1.000"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_known_scores_come_first_with_their_meaning():
    made = tiles({"luck": 3.5, "arand": 0.1, "voi_sum": 1.2, "convention": "cremi", "ok": True})
    assert [t.key for t in made] == ["voi_sum", "arand", "luck"]
    assert [t.main for t in made] == [True, True, False]
    assert made[0].better == "lower"
    assert "bits" in made[0].meaning


def test_best_is_the_lowest_or_highest_as_the_score_says():
    rows = compared(
        [{"voi_sum": 1.0, "rand_index": 0.9, "num_pred": 5}, {"voi_sum": 0.5, "rand_index": 0.8, "num_pred": 9, "x": 1}]
    )
    assert {r.title: sorted(r.best) for r in rows} == {"VOI sum": [1], "Segments": [], "Rand index": [0]}


def test_missing_scores_are_dashes():
    assert compared([{"arand": 0.1}, {}, {"arand": 0.1}])[0].values == ("0.100", "–", "0.100")


def test_timing_rows_have_share_memory_and_speed():
    rows = timing_rows({"predict": Timing(3.0, 2**31, 6_000_000), "read": 1.0})
    assert [(r.stage, r.share, r.memory, r.speed) for r in rows] == [
        ("predict", 75.0, "2.0 GiB", "2 Mvoxel/s"),
        ("read", 25.0, "", ""),
    ]
    assert timing_rows({"nothing": 0.0})[0].share == 0


def test_every_score_of_the_tables_is_explained() -> None:
    assert set(directions()) - set(MEANING) == set()
    assert all(title and meaning for title, meaning in MEANING.values())
