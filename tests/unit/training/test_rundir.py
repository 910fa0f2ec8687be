from __future__ import annotations

from pathlib import Path

import pytest

from neuropil.config import Config
from neuropil.errors import RunError
from neuropil.training.rundir import open_or_create

FIRST = {"path": "runs/a/model.safetensors", "sha256": "12", "account": {"matched": 3}}


def test_first_weights_may_be_named_again_when_resuming_and_must_be_the_same(tmp_path: Path) -> None:
    card = {"sources": [], "init": FIRST}
    open_or_create(tmp_path / "r", Config(), card, resume=False)
    # of a run from before decodings came along, they are the same weights still
    again = {"sources": [], "init": {**FIRST, "decoding": {"threshold": 0.5}}}
    assert open_or_create(tmp_path / "r", Config(), again, resume=True).card["init"] == FIRST
    open_or_create(tmp_path / "r", Config(), {"sources": [], "init": None}, resume=True)
    with pytest.raises(RunError, match="its own first weights"):
        open_or_create(tmp_path / "r", Config(), {"sources": [], "init": {**FIRST, "sha256": "13"}}, resume=True)
    open_or_create(tmp_path / "s", Config(), {"sources": [], "init": None}, resume=False)
    with pytest.raises(RunError, match="its own first weights"):
        open_or_create(tmp_path / "s", Config(), card, resume=True)
