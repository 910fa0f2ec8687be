from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.zoo.made import run_of

from neuropil.errors import InputError, RunError
from neuropil.zoo.card import Said, facts, page, require_licence

SAID = Said("CC BY 4.0", "where.org", None, ("A. Nother",), None)


def test_what_a_stranger_must_know_is_said(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a", image="/srv/secret/x.h5:raw")
    run.log(kind="train", step=8, elapsed=120.0)
    speed = {"voxels_per_second": 1000, "tile": [1, 2, 3], "device": "a machine", "precision": "fp32"}
    card = facts(run, "m", SAID, seeds=[], speed=speed)
    assert card["data"] == {"volumes": ["x.h5:raw"], "licence": "CC BY 4.0", "where": "where.org"}
    assert card["cost"]["train_minutes"] == 2
    assert card["voxel_size_nm"] == [8, 8, 8]
    assert card["scores"] == {"held_back": {"voi_split": 0.5, "voi_merge": 0.25, "voi_sum": 0.75, "arand": 0.1}}
    text = page(card, ["use it"])
    for word in ("CC BY 4.0", "A. Nother", "8 × 8 × 8 nm", "1,000 voxels/s", "2 minutes", "not stated", "use it"):
        assert word in text
    assert "secret" not in text


def test_scores_spread_over_seeds(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / str(seed), seed=seed) for seed in range(3)]
    spread = facts(runs[0], "m", SAID, seeds=runs[1:], speed=None)["scores"]["spread"]
    assert spread["over"] == "3 seeds"
    assert spread["voi_split"] == {"mean": 1.5, "sd": 1.0, "least": 0.5, "most": 2.5}
    assert spread["arand"]["sd"] == 0


def test_without_seeds_the_spread_is_that_of_the_late_validations_and_called_so(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    for split in (9.0, 9.0, 1.0, 3.0):
        run.log(kind="validation", step=1, voi_split=split, voi_merge=0.0, voi_sum=split, arand=0.0)
    spread = facts(run, "m", SAID, seeds=[], speed=None)["scores"]["spread"]
    assert spread["over"] == "the last 2 validations of one seed"
    assert (spread["voi_split"]["mean"], spread["voi_split"]["most"]) == (2, 3)


@pytest.mark.parametrize(
    ("words", "seed", "message"),
    [
        ((), 0, "the seed is the same"),
        (("model.channels=[8,16]", "model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]]"), 1, "differs in model"),
    ],
)
def test_other_trainings_are_no_seeds(tmp_path: Path, words: tuple[str, ...], seed: int, message: str) -> None:
    run, other = run_of(tmp_path / "a"), run_of(tmp_path / "b", *words, seed=seed)
    with pytest.raises(RunError, match=message):
        facts(run, "m", SAID, seeds=[other], speed=None)


def test_other_volumes_are_no_seeds(tmp_path: Path) -> None:
    run, other = run_of(tmp_path / "a"), run_of(tmp_path / "b", seed=1, image="other.h5:raw")
    with pytest.raises(RunError, match="differs in volumes"):
        facts(run, "m", SAID, seeds=[other], speed=None)


def test_unfinished_runs_are_not_shared(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--resume"):
        facts(run_of(tmp_path / "a", status="interrupted"), "m", SAID, seeds=[], speed=None)


@pytest.mark.parametrize("text", [None, "", "  "])
def test_data_without_a_licence_is_refused(text: str | None) -> None:
    with pytest.raises(InputError, match="--data-licence"):
        require_licence(text)


def test_an_encoder_has_a_card_too(tmp_path: Path) -> None:
    card = {"kind": "encoder", "voxel_size": None, "offsets": [], "best": {"step": 0, "masked_voxels": 0.4}}
    found = facts(run_of(tmp_path / "a", **card), "e", SAID, seeds=[], speed=None)
    assert (found["kind"], found["task"], found["channels"]) == ("encoder", None, [])
    assert found["scores"]["held_back"] == {"masked_voxels": 0.4}
    assert "first weights, for volumes of voxels of any size" in page(found, [])


def test_what_was_scored_on_nothing_says_so(tmp_path: Path) -> None:
    card = {"kind": "encoder", "voxel_size": None, "offsets": [], "best": {"step": 0}}
    assert "scored on nothing" in page(facts(run_of(tmp_path / "a", **card), "e", SAID, seeds=[], speed=None), [])
