from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuropil.config import Config
from neuropil.errors import VolumeError
from neuropil.outputs import Stopwatch, finished, new_output, peak_memory, provenance, require_free, require_page
from neuropil.volume import Volume, open_volume

LABELS = Volume(np.ones((4, 8, 8), np.uint64), (40, 4, 4), (80, 0, 0), kind="labels")


def test_an_output_keeps_place_and_attributes_and_gets_a_pyramid(tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    target = new_output(
        out, (4, 8, 8), LABELS.dtype, LABELS, kind="labels", attrs={"provenance": {"a": 1}}, overwrite=False
    )
    for block in target.blocks():
        target.write(block.write, LABELS.read(block.write))
    done = finished(target, out)
    assert (done.voxel_size, done.offset, done.kind) == ((40, 4, 4), (80, 0, 0), "labels")
    assert done.attrs["provenance"] == {"a": 1}
    assert np.array_equal(done.numpy(), LABELS.numpy())


def test_places_that_cannot_be_used_are_refused_before_any_work(tmp_path: Path) -> None:
    require_free(tmp_path / "new.zarr", [], overwrite=False)
    with pytest.raises(VolumeError, match=r"ends in \.zarr"):
        require_free(tmp_path / "new.h5", [], overwrite=False)
    with pytest.raises(VolumeError, match="does not exist"):
        require_free(tmp_path / "no" / "new.zarr", [], overwrite=False)
    out = tmp_path / "x.zarr"
    target = new_output(out, (4, 8, 8), LABELS.dtype, LABELS, kind="labels", attrs={}, overwrite=False)
    require_free(out, [], overwrite=False)  # interrupted: may be written again
    for block in target.blocks():
        target.write(block.write, LABELS.read(block.write))
    finished(target, out)
    with pytest.raises(VolumeError, match="--overwrite"):
        require_free(out, [], overwrite=False)
    require_free(out, [], overwrite=True)
    with pytest.raises(VolumeError, match="its own input"):
        require_free(out, [out], overwrite=True)
    with pytest.raises(VolumeError, match="its own input"):
        require_free(out, [f"{out}:s0"], overwrite=True)
    assert open_volume(out).shape == (4, 8, 8)


def test_provenance_says_what_made_it() -> None:
    found = provenance(Config(), LABELS, None)
    assert {"source", "config", "versions", "created", "command"} <= set(found)
    assert found["versions"]["neuropil"]


def test_a_report_replaces_only_a_report(tmp_path: Path) -> None:
    require_page(tmp_path / "new.html")
    mine = tmp_path / "mine.html"
    mine.write_text("<html>my notes</html>")
    with pytest.raises(VolumeError, match="no neuropil report"):
        require_page(mine)
    with pytest.raises(VolumeError, match=r"ends in \.html"):
        require_page(tmp_path / "volume.h5")
    mine.write_text("<!doctype html><title>run · neuropil report</title>")
    require_page(mine)


def test_stopwatch_counts_stages() -> None:
    watch = Stopwatch()
    watch.lap("a", 10)
    watch.lap("b", 20)
    assert list(watch.laps) == ["a", "b"]
    assert watch.laps["b"]["voxels"] == 20
    assert peak_memory() > 2**20
