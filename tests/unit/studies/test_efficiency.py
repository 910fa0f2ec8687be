"""A study's folder as the report plots it."""

from __future__ import annotations

import json
import math

import pytest

from neuropil import api
from neuropil.errors import RunError
from neuropil.studies.run import efficiency_of, is_study

DESIGN = {
    "name": "few",
    "train": [{"image": "a.h5:raw", "labels": "a.h5:labels"}],
    "test": [{"image": "b.h5:raw", "labels": "b.h5:labels"}],
    "budgets": [0.1, 1.0],
    "seeds": [0, 1],
    "arms": {"scratch": {}, "other": {"train_set": ["train.lr=0.01"]}},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "study.json").write_text(json.dumps({"name": "few", "design": DESIGN}))
    for arm, budget, seed, voi in (("scratch", 0.1, 0, 2.0), ("scratch", 0.1, 1, 3.0), ("scratch", 1.0, 0, 1.0)):
        row = {"arm": arm, "budget": budget, "seed": seed, "test": {"voi_sum": voi, "arand": voi / 10}}
        (tmp_path / "results" / f"{arm}_{budget:g}_s{seed}.json").write_text(json.dumps(row))
    return tmp_path


def test_means_and_intervals_of_what_is_done(folder):
    design, rows, plots = efficiency_of(folder)
    assert (design.name, len(rows)) == ("few", 3)
    (title, _), lines = plots[0]
    assert title == "VOI"
    ((arm, shares, means, halves, seeds),) = lines  # the other arm has no result yet
    assert (arm, shares, means, seeds) == ("scratch", [0.1, 1.0], [2.5, 1.0], [2, 1])
    assert halves[0] == pytest.approx(6.353, abs=0.01)  # Student's t of one degree of freedom: 12.706 / 2
    assert math.isnan(halves[1])


def test_the_report_takes_the_folder(folder, tmp_path):
    page = api.report([folder], tmp_path / "page.html").read_text()
    assert "Label efficiency" in page
    assert "3 of 8 done" in page


def test_a_share_that_was_lifted_is_drawn_where_it_came_to(folder, tmp_path):
    for file in (folder / "results").glob("*_0.1_*"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"labelled_voxels": 110_592, "all_voxels": 262_144}))
    _, _, plots = efficiency_of(folder)
    assert plots[0][1][0][1] == [0.421875, 1.0]
    assert "0.422, 1<" in api.report([folder], tmp_path / "page.html").read_text()


def test_what_is_no_study_or_has_no_results(folder, tmp_path):
    assert is_study(folder)
    assert not is_study(tmp_path / "nothing")
    for file in (folder / "results").iterdir():
        file.unlink()
    with pytest.raises(RunError, match="has no results yet"):
        efficiency_of(folder)
    (folder / "study.json").write_text("{}")
    with pytest.raises(RunError, match="cannot be read"):
        efficiency_of(folder)
