"""What of a run goes on its page."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from neuropil.pages import _masks_over_time, run_page
from neuropil.training.checkpoint import Run
from neuropil.zoo.store import shipped


def test_maps_of_masks_are_as_large_as_the_crop_and_from_all_over_the_run() -> None:
    rows = [{"step": step, "masks": [[step / 100, 0.0, 0.5], [0.0, 1.0, 0.0]]} for step in range(1, 21)]
    run = SimpleNamespace(rows=lambda kind: rows, card={"patch": [2, 4, 8]})
    (strip,) = _masks_over_time(run, (4.0, 4.0))  # type: ignore[arg-type]
    assert [name for name, _ in strip.pictures] == [f"step {n}" for n in (1, 5, 9, 12, 16, 20)]
    for name, picture in strip.pictures:
        assert picture.shape == (2 * 4, 3 * 8)
        np.testing.assert_array_equal(picture[:4, :8], float(name.split()[1]) / 100)
        np.testing.assert_array_equal(picture[4:, 8:16], 1)
    assert _masks_over_time(SimpleNamespace(rows=lambda kind: [{"step": 1}], card={}), (4.0, 4.0)) == []  # type: ignore[arg-type]


def test_a_run_s_page_has_its_settings_its_card_and_what_it_scored_on_what_was_held_back(tiny_run) -> None:
    run = Run.open(tiny_run)
    page = run_page(run)
    assert page.settings == run.config.model_dump(mode="json")
    assert page.held_back["voi_sum"] == run.card["best"]["voi_sum"]
    source = run.card["sources"][0]
    assert (source["image"] in page.card["Data"], source["labels"] in page.card["Data"]) == (True, True)
    assert page.card["Voxel size"] == " × ".join(f"{v:g}" for v in run.voxel_size) + " nm (z, y, x)"
    assert page.card["Held back"].startswith(f"{source['held_back']['start'][0]}:{source['held_back']['stop'][0]}, ")
    assert f"voi sum {run.card['best']['voi_sum']:.4g}" in page.card["Held-back scores"]
    assert "neuropil " in page.card["Versions"]
    assert all(page.card.values())


def test_a_shared_model_s_page_has_the_terms_and_steps_of_its_card() -> None:
    page = run_page(Run.open(shipped() / "em-mitochondria-epfl"))
    assert page.summary["Steps"] == "14000"
    assert page.card["Licence"] == "for research, as its data"
    assert "Lucchi" in page.card["Licence of the data"]
    assert page.card["Use"] == "neuropil segment zoo:em-mitochondria-epfl VOLUME --out seg.zarr"
