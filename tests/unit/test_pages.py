"""What of a run goes on its page."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from neuropil.pages import _masks_over_time, pages, run_page
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume
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


def test_the_page_knows_what_the_labels_are_of(tiny_run) -> None:
    labels = Volume(np.ones((2, 4, 4), np.uint8), (8.0, 8.0, 8.0), kind="labels")
    masks = Run.open(shipped() / "em-mitochondria-epfl")
    assert run_page(Run.open(tiny_run)).task == "neurons"
    assert pages([masks], title="p", segmentation=labels)[-1].task == "semantic"
    assert pages([masks], title="p", segmentation=labels, task="mitochondria")[-1].task == "mitochondria"
    assert pages([], title="p", segmentation=labels)[-1].task == "neurons"


def test_a_border_that_was_not_ignored_is_no_score() -> None:
    labels = Volume(np.ones((2, 4, 4), np.uint8), (8.0, 8.0, 8.0), kind="labels")
    for nm in (0, 5.0):
        scores = {"ignore_border_nm": nm, "dice": 0.0, "task": "semantic"}
        shown = pages([], title="p", segmentation=labels, scores=scores)[-1].scores
        assert shown == {"dice": 0.0} | ({"ignore_border_nm": nm} if nm else {})
