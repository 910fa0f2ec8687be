"""Ten training losses and the labels of fixed affinities stay what they were; see regenerate.py."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from neuropil.registry import PRETEXTS

HERE = Path(__file__).parent
GOLDENS = json.loads((HERE / "goldens.json").read_text())


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate", HERE / "regenerate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ten_steps_lose_what_they_lost(made: ModuleType, tmp_path: Path) -> None:
    # processors differ in the last bits of a convolution; a change of the algorithm shows far above this
    assert made.losses(tmp_path) == pytest.approx(GOLDENS["losses"], rel=2e-3)


@pytest.mark.parametrize("recipe", list(PRETEXTS))
def test_ten_steps_of_pretraining_lose_what_they_lost(made: ModuleType, tmp_path: Path, recipe: str) -> None:
    assert made.pretrain_losses(tmp_path, recipe) == pytest.approx(GOLDENS["pretrain losses"][recipe], rel=2e-3)


def test_labels_are_the_same_bits(made: ModuleType) -> None:
    assert made.segmentations() == GOLDENS["segmentations"]
