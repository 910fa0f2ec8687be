from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from neuropil.studies.design import Design
from neuropil.studies.table import interval, markdown, plot_svg

DESIGN = Design.model_validate(
    {
        "name": "s",
        "train": [{"image": "a", "labels": "b"}],
        "test": [{"image": "a", "labels": "b"}],
        "unlabelled": ["c"],
        "budgets": [0.1, 1.0],
        "seeds": [0, 1, 2],
        "arms": {"scratch": {}, "mae": {"pretrain": "mae"}},
    }
)


def _row(arm: str, budget: float, seed: int, voi: float) -> dict[str, object]:
    return {"arm": arm, "budget": budget, "seed": seed, "test": {"voi_sum": voi, "arand": voi / 10}}


ROWS = [
    *(_row("scratch", 0.1, s, v) for s, v in enumerate((2.0, 3.0, 4.0))),
    *(_row("mae", 0.1, s, v) for s, v in enumerate((1.9, 2.9, 3.9))),
    _row("scratch", 1.0, 0, 1.0),
]


def test_interval_is_students() -> None:
    values = [1.0, 2.0, 4.0, 4.5]
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert math.isnan(interval([1.0])[1])


def test_table_pairs_by_seed_and_says_what_is_missing() -> None:
    text = markdown(DESIGN, ROWS)
    assert "7 of 12 trainings done" in text
    voi = text[text.index("## VOI") : text.index("## ARAND")]
    assert "| scratch | 3.000 ± 2.484 (3) | 1.000 (1) |" in voi
    # seeds differ by 1, the arms by 0.1 in every seed: pairing takes the spread of seeds away
    assert "| mae | 2.900 ± 2.484 (3) [-0.100 ± 0.000] | – |" in voi


def test_scores_are_those_of_the_task() -> None:
    design = DESIGN.model_copy(update={"recipe": "em_mitochondria"})
    rows = [{"arm": "scratch", "budget": 0.1, "seed": 0, "test": {"f1_50": 0.5, "f1_75": 0.25}}]
    text = markdown(design, rows)
    assert "## F1 at IoU 0.5 (higher is better)" in text
    assert "| scratch | 0.500 (1) | – |" in text
    assert "VOI" not in text
    assert "F1 at IoU 0.5 on the test volume, higher is better" in plot_svg(design, rows)


def test_plot_is_well_formed_and_shows_every_arm() -> None:
    root = ElementTree.fromstring(plot_svg(DESIGN, ROWS))
    text = "".join(root.itertext())
    assert "scratch" in text
    assert "mae" in text
    means = len({(row["arm"], row["budget"]) for row in ROWS})
    assert len(root.findall(".//{*}circle")) == means + len(ROWS)
    ElementTree.fromstring(plot_svg(DESIGN, []))


def test_an_interval_beyond_what_was_measured_does_not_stretch_the_axis() -> None:
    (first, *_) = ROWS
    rows = [{**first, "seed": seed, "test": {**first["test"], "voi_sum": voi}} for seed, voi in ((0, 1.0), (1, 2.0))]
    assert interval([1.0, 2.0])[1] > 6
    root = ElementTree.fromstring(plot_svg(DESIGN, rows))
    texts = [float(t.text or "") for t in root.iter("{http://www.w3.org/2000/svg}text") if t.get("x") == "8"]
    assert (min(texts), max(texts)) == (0.9, 2.1)
    (bar,) = [p.get("d") for p in root.iter("{http://www.w3.org/2000/svg}path") if p.get("stroke")]
    assert bar is not None
    assert bar.endswith("30.0V360.0")
