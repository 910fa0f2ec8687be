"""What budgets come to, before anything is trained."""

from __future__ import annotations

import pytest

from neuropil.errors import ConfigError
from neuropil.geometry import Box
from neuropil.studies.design import Design
from neuropil.studies.shares import check_budgets

LEAST = (48, 48, 48)
NM = (8.0, 8.0, 8.0)
SMALL, LARGE = Box((0, 0, 0), (64, 64, 64), NM), Box((0, 0, 0), (250, 250, 250), NM)


def _design(*budgets: float, of: str = "voxels") -> Design:
    pair = {"image": "a", "labels": "b"}
    arms = {"scratch": {}, "other": {}}
    return Design.model_validate(
        {"name": "few", "train": [pair], "test": [pair], "budgets": budgets, "budget_of": of, "arms": arms}
    )


def test_two_budgets_that_label_the_same_are_refused() -> None:
    message = "budgets 5% and 25% come to the same 110,592 of 262,144 voxels, 42.2% of the labels"
    with pytest.raises(ConfigError, match=message):
        check_budgets(_design(0.05, 0.25, 1.0), [SMALL], LEAST)
    # a volume that is no larger than the least part is labelled whole by any budget
    with pytest.raises(ConfigError, match=r"5% and 100% come to the same .* 100% of the labels"):
        check_budgets(_design(0.05, 1.0), [Box((0, 0, 0), LEAST, NM)], LEAST)
    assert check_budgets(_design(0.05, 0.25, 1.0), [LARGE], LEAST) == []


def test_a_budget_that_is_lifted_is_noted() -> None:
    (note,) = check_budgets(_design(0.05, 0.5, 1.0), [SMALL], LEAST)
    assert note == "5% of the labels comes to 110,592 of 262,144 voxels, 42.2%: a part has at least 48 × 48 × 48 voxels"


def test_a_small_volume_beside_a_large_one_hides_no_budget() -> None:
    assert check_budgets(_design(0.05, 0.25), [SMALL, LARGE], LEAST) == [
        "5% of the labels comes to 889,280 of 15,887,144 voxels, 5.6%: a part has at least 48 × 48 × 48 voxels"
    ]


def test_sections_that_are_cut_in_their_plane_have_their_share() -> None:
    isbi = Box((0, 0, 0), (16, 512, 512), (50.0, 4.0, 4.0))
    assert check_budgets(_design(0.05, 0.25, 1.0), [isbi], LEAST) == []


def test_few_volumes_cannot_be_shared_out_finely() -> None:
    with pytest.raises(ConfigError, match=r"budgets 5% and 25% come to the same 1 of 3 volumes, 33\.3% of the labels"):
        check_budgets(_design(0.05, 0.25, 1.0, of="volumes"), [LARGE] * 3, LEAST)
    (note,) = check_budgets(_design(0.05, 1.0, of="volumes"), [LARGE] * 3, LEAST)
    assert note.startswith("5% of the labels comes to 1 of 3 volumes, 33.3%")
