"""The studies that come with the project can be run: every file is read, and every arm's settings are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuropil.config import load_config
from neuropil.studies.design import read_design

FILES = sorted((Path(__file__).parents[2] / "bench" / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_arm_has_settings_that_are_known(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROPIL_DATA", "/data")
    design = read_design(file)
    assert f"bench/experiments/{file.name} --out" in file.read_text()
    for arm in design.arms.values():
        load_config(design.recipe, [*design.train_set, *arm.train_set])
        if arm.pretrain is not None:
            load_config(arm.pretrain, [*design.pretrain_set, *arm.pretrain_set])
