"""The road from runs to the models that come with neuropil."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.unit.zoo.made import run_of

from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume
from neuropil.zoo.package import checked
from neuropil.zoo.store import shipped

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

import ship


def phantom_pair() -> tuple[Volume, Volume]:
    """A small phantom with its truth."""
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=5, shape=(16, 24, 24)))
    size = phantom.box.voxel_size
    image = Volume(phantom.image(phantom.box), size, kind="image")
    return image, Volume(phantom.neurons(phantom.box), size, kind="labels")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Three seeds; the second did best on what it held back."""
    monkeypatch.setattr(
        ship, "MODELS", {"m": ship.Terms("CC0", "where.org", "Somebody 2026", phantom_pair, "a phantom")}
    )
    best = (
        {"score": score, "voi_split": score, "voi_merge": 0.0, "voi_sum": score, "arand": 0.1} for score in (3, 1, 2)
    )
    return [run_of(tmp_path / f"s{seed}", seed=seed, best=row) for seed, row in enumerate(best)]


def test_the_best_on_what_it_held_back_is_packed_tried_and_listed(runs: list[Run], tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    ship.ship("m", runs, models, tmp_path / "models.json")
    stored = Run.open(checked(models / "m"))
    assert stored.card["seed"] == 1
    kept = json.loads((tmp_path / "models.json").read_text())["m"]
    assert kept["chosen"] == "s1"
    assert kept["stored"].keys() == kept["run"].keys() == {"voi_split", "voi_merge", "voi_sum", "arand"}
    page = ship.table(models, tmp_path)
    assert "`zoo:m`" in page
    assert "voi sum 1 (2 ± 1)" in page
    assert "`m`, a phantom" in page
    assert "python bench/ship.py m s0 s1 s2" in page
    assert str(tmp_path) not in page


def test_a_later_run_takes_the_place_of_the_model(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for chosen in (runs[0], runs[2]):
        folder = ship.packed("m", [chosen], tmp_path / "models")
        assert Run.open(checked(folder)).card["seed"] == chosen.card["seed"]


def test_what_is_too_large_is_not_shipped(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(ship, "LARGEST", 1e-3)
    with pytest.raises(SystemExit, match="train a smaller network"):
        ship.packed("m", runs, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_the_page_is_that_of_the_models_that_are_there() -> None:
    assert (ship.RESULTS / "models.md").read_text() == ship.table(shipped(), ship.RESULTS), "bench/ship.py table"
    assert {path.name for path in shipped().iterdir() if path.is_dir()} <= set(ship.MODELS)
