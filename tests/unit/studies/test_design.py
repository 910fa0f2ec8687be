from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from neuropil.errors import ConfigError
from neuropil.geometry import Box
from neuropil.studies.design import labelled_few, labelled_part, read_design

GOOD = {
    "name": "small",
    "train": [{"image": "$WHERE/a.h5:raw", "labels": "$WHERE/a.h5:labels"}],
    "test": [{"image": "b.h5:raw", "labels": "b.h5:labels"}],
    "unlabelled": ["c.h5:raw"],
    "budgets": [1.0, 0.1],
    "seeds": [0, 1],
    "arms": {"scratch": {}, "mae": {"pretrain": "mae"}},
}


def _write(folder: Path, **changes: object) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes, sort_keys=False))
    return path


def test_cells_are_all_combinations_and_variables_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", "/data")
    design = read_design(_write(tmp_path))
    assert design.train[0].image == "/data/a.h5:raw"
    assert design.budgets == (0.1, 1.0)
    names = [c.name for c in design.cells()]
    assert len(names) == len(set(names)) == 8
    assert names[:2] == ["scratch_0.1_s0", "mae_0.1_s0"]


def test_fingerprint_allows_more_of_the_same_only(tmp_path: Path) -> None:
    first = read_design(_write(tmp_path)).fingerprint
    more = {"seeds": [0, 1, 2], "budgets": [0.1], "arms": {"scratch": {}, "mae": {}, "other": {}}}
    assert read_design(_write(tmp_path, **more)).fingerprint == first
    assert read_design(_write(tmp_path, train_steps=7)).fingerprint != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "none"}, "none of the arms"),
        ({"unlabelled": []}, "unlabelled"),
        ({"budgets": [0.0]}, "shares of the labels"),
        ({"arms": {"scratch": {}}}, "at least 2"),
        ({"arms": {"scratch": {"pretrian": "mae"}, "b": {}}}, "pretrian"),
        ({"train": "a"}, "train"),
    ],
)
def test_bad_studies_say_what_is_wrong(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_design(_write(tmp_path, **changes))
    with pytest.raises(ConfigError, match="does not exist"):
        read_design(tmp_path / "nothing.yaml")


def test_a_thin_volume_is_cut_in_its_sections_only() -> None:
    part = labelled_part(Box((0, 0, 0), (16, 512, 512), (50.0, 4.0, 4.0)), 0.05, 0, (48, 48, 48))
    assert part.shape[0] == 16
    assert part.size == pytest.approx(0.05 * 16 * 512 * 512, rel=0.02)


def test_labelled_parts_have_their_share_and_place() -> None:
    box = Box((10, 0, 0), (260, 200, 300), (8.0, 8.0, 8.0))
    assert labelled_part(box, 1.0, 0, (48, 48, 48)) == box
    parts = [labelled_part(box, 0.1, seed, (48, 48, 48)) for seed in range(8)]
    assert all(box.contains(p) for p in parts)
    assert all(abs(p.size / box.size - 0.1) < 0.01 for p in parts)
    assert len({p.start for p in parts}) > 4
    assert parts[0] == labelled_part(box, 0.1, 0, (48, 48, 48))
    assert labelled_part(box, 0.0001, 0, (48, 48, 48)).shape == (48, 48, 48)


def test_a_budget_of_volumes_is_nested_and_never_empty() -> None:
    for seed in range(5):
        one, some, all_ = (labelled_few(10, share, seed) for share in (0.01, 0.3, 1.0))
        assert len(one) == 1
        assert len(some) == 3
        assert set(one) < set(some)
        assert all_ == list(range(10))
    assert len({tuple(labelled_few(10, 0.3, seed)) for seed in range(5)}) > 1
