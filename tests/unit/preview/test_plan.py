"""A plan adds up, and what cannot fit is refused with a way out."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from neuropil.errors import InputError, VolumeError
from neuropil.preview.plan import Plan, Stage, require_disk, require_memory

GIB = 2**30


def test_times_and_disk_add_up_and_memory_is_that_of_the_largest() -> None:
    stages = (Stage("a", "1", 10, 3 * GIB, GIB), Stage("b", "2", 20, GIB, GIB))
    told = Plan("segment", stages, ("so",)).to_dict()
    assert (told["seconds"], told["memory_gib"], told["disk_gib"]) == (30, 3, 2)
    assert [stage["seconds"] for stage in told["stages"]] == [10, 20]
    assert told["notes"] == ["so"]


def test_memory_that_is_not_there_is_refused_with_every_way_out() -> None:
    require_memory("a step", GIB, GIB, ["smaller"])
    with pytest.raises(InputError, match=r"a step takes about 2 GiB of memory, and 1 GiB are free") as caught:
        require_memory("a step", 2 * GIB, GIB, ["a smaller crop", "a smaller batch"])
    assert caught.value.fix == "a smaller crop; or a smaller batch"


def test_disk_is_that_of_the_nearest_folder_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def usage(folder: Path) -> SimpleNamespace:
        asked.append(folder)
        return SimpleNamespace(free=GIB)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    require_disk(tmp_path / "no" / "such" / "run", GIB)
    assert asked == [tmp_path]
    with pytest.raises(VolumeError, match="takes about 2 GiB"):
        require_disk(tmp_path / "run", 2 * GIB)
