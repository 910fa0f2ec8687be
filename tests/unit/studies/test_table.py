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


def _counted(budget: float, seed: int, voxels: int, **more: object) -> dict[str, object]:
    return {**_row("scratch", budget, seed, 1.0), "labelled_voxels": voxels, **more}


def test_budgets_are_headed_by_what_was_labelled() -> None:
    near = markdown(DESIGN, [_counted(0.1, 0, 98, all_voxels=1000)])
    assert "| arm | 10% of the labels | 100% of the labels |" in near
    assert "asked" not in near
    lifted = [_counted(0.1, 0, 110_592, all_voxels=262_144)]
    head = "| arm | 42.2% of the labels (10% asked) | 100% of the labels |"
    assert markdown(DESIGN, lifted).count(head) == 2
    assert ">42.2%</text>" in plot_svg(DESIGN, lifted)
    # rows of old studies do not say how many there are; those of all labels do
    assert head in markdown(DESIGN, [_counted(0.1, 0, 110_592), _counted(1.0, 0, 262_144)])
    assert "| arm | 10% of the labels | 100% of the labels |" in markdown(DESIGN, [_counted(0.1, 0, 110_592)])


def test_a_budget_of_volumes_is_headed_by_their_number() -> None:
    design = DESIGN.model_copy(update={"budget_of": "volumes", "train": DESIGN.train * 3})
    assert "| arm | 33.3% of the labels (10% asked) | 100% of the labels |" in markdown(design, [])


def test_cost_is_the_median_where_rows_know_it() -> None:
    assert "Cost" not in markdown(DESIGN, ROWS)
    spent = {("mae", 0): 600.0, ("mae", 1): 100.0}
    rows = [
        {**row, "train_seconds": 10.0 + 10 * row["seed"], "pretrain_seconds": spent.get((row["arm"], row["seed"]))}
        for row in ROWS
    ]
    # a second training from the encoder of seed 0 does not make that encoder count twice
    rows.append({**_row("mae", 1.0, 0, 1.0), "pretrain_seconds": 600.0})
    cost = markdown(DESIGN, rows).partition("## Cost")[2]
    assert "| scratch | none | 15 |" in cost
    assert "| mae | 350 | 20 |" in cost
    # seconds of training alone, as older studies have them, and weights that were made elsewhere
    arms = {"scratch": DESIGN.arms["scratch"], "mae": DESIGN.arms["scratch"].model_copy(update={"init": "run"})}
    old = [{**row, "train_seconds": 1.25} for row in ROWS if row["arm"] == "scratch"]
    cost = markdown(DESIGN.model_copy(update={"arms": arms}), old).partition("## Cost")[2]
    assert "| scratch | none | 1.2 |" in cost
    assert "| mae | – | – |" in cost
