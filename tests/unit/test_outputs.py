"""Outputs: made whole or marked unfinished; what was there is replaced at the very end, and only if it is ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from neuropil.config import Config
from neuropil.errors import IncompleteError, VolumeError
from neuropil.io import save_volume
from neuropil.outputs import Stopwatch, new_output, peak_memory, provenance, require_free, require_page
from neuropil.volume import Volume, open_volume

LABELS = Volume(np.ones((4, 8, 8), np.uint64), (40, 4, 4), (80, 0, 0), kind="labels")


def write(out: Path, value: int, *, overwrite: bool = False, stop: type[BaseException] | None = None) -> None:
    """Write labels of one value; `stop` is raised when all but the end is done."""
    new = new_output(out, (4, 8, 8), LABELS.dtype, LABELS, kind="labels", attrs={"value": value}, overwrite=overwrite)
    with new as target:
        for block in target.blocks():
            target.write(block.write, np.full(block.write.shape, value, np.uint64))
        if stop is not None:
            raise stop


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def dead_process() -> int:
    """The number of a process that has ended."""
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_an_output_keeps_place_and_attributes_and_gets_a_pyramid(tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    attrs = {"provenance": {"a": 1}}
    with new_output(out, (4, 64, 300), LABELS.dtype, LABELS, kind="labels", attrs=attrs, overwrite=False) as target:
        for block in target.blocks():
            target.write(block.write, np.ones(block.write.shape, np.uint64))
    done = open_volume(out)
    assert (done.voxel_size, done.offset, done.kind) == ((40, 4, 4), (80, 0, 0), "labels")
    assert done.attrs["provenance"] == {"a": 1}
    assert done.numpy().all()
    assert open_volume(f"{out}:s1").voxel_size == (40, 8, 8)


def test_places_that_cannot_be_used_are_refused_before_any_work(tmp_path: Path) -> None:
    require_free(tmp_path / "new.zarr", [], overwrite=False)
    with pytest.raises(VolumeError, match=r"ends in \.zarr"):
        require_free(tmp_path / "new.h5", [], overwrite=False)
    with pytest.raises(VolumeError, match="does not exist"):
        require_free(tmp_path / "no" / "new.zarr", [], overwrite=False)
    out = tmp_path / "x.zarr"
    with pytest.raises(KeyboardInterrupt):
        write(out, 1, stop=KeyboardInterrupt)
    require_free(out, [], overwrite=False)  # interrupted: may be written again
    write(out, 1)
    with pytest.raises(VolumeError, match="--overwrite"):
        require_free(out, [], overwrite=False)
    require_free(out, [], overwrite=True)
    link = tmp_path / "link.zarr"
    link.symlink_to(out)
    for place, given in ((out, out), (out, f"{out}:s0"), (out, link), (link, out)):
        with pytest.raises(VolumeError, match="its own input"):
            require_free(place, [given], overwrite=True)
    assert open_volume(out).shape == (4, 8, 8)


def test_what_others_wrote_is_never_replaced(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "array.zarr", data=np.arange(8)).attrs["resolution"] = (8, 8, 8)
    zarr.create_group(tmp_path / "group.zarr").create_array("s0", data=np.arange(8))
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "thesis.txt").write_text("years of work")
    (tmp_path / "file.zarr").write_text("more")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for name in ("array", "group", "folder", "file"):
        for overwrite in (False, True):
            with pytest.raises(VolumeError, match="was not written by neuropil"):
                require_free(tmp_path / f"{name}.zarr", [], overwrite=overwrite)
            with pytest.raises(VolumeError, match="was not written by neuropil"):
                write(tmp_path / f"{name}.zarr", 1, overwrite=overwrite)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    (tmp_path / "empty.zarr").mkdir()
    write(tmp_path / "empty.zarr", 1)
    save_volume(LABELS, tmp_path / "ours.zarr")
    require_free(tmp_path / "ours.zarr", [], overwrite=True)


def test_a_first_output_that_is_interrupted_is_marked_and_written_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x.zarr", 1, stop=KeyboardInterrupt)
    with pytest.raises(IncompleteError):
        open_volume(tmp_path / "x.zarr")
    write(tmp_path / "x.zarr", 2)
    assert (open_volume(tmp_path / "x.zarr").numpy() == 2).all()
    assert names(tmp_path) == {"x.zarr"}


def test_the_old_output_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    write(out, 1)
    new = new_output(out, (4, 8, 8), LABELS.dtype, LABELS, kind="labels", attrs={"value": 2}, overwrite=True)
    with new as target:
        for block in target.blocks():
            target.write(block.write, np.full(block.write.shape, 2, np.uint64))
        assert (open_volume(out).numpy() == 1).all()
    assert (open_volume(out).numpy() == 2).all()
    assert (open_volume(out).attrs["value"], open_volume(out).name) == (2, str(out))
    assert '"name": "x"' in (out / "zarr.json").read_text()
    assert names(tmp_path) == {"x.zarr"}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, VolumeError, SystemExit])
def test_work_that_fails_leaves_the_old_output(tmp_path: Path, stop: type[BaseException]) -> None:
    out = tmp_path / "x.zarr"
    write(out, 1)
    with pytest.raises(stop):
        write(out, 2, overwrite=True, stop=stop if stop is not VolumeError else VolumeError("the disk is full"))  # type: ignore[arg-type]
    assert (open_volume(out).numpy() == 1).all()
    assert names(tmp_path) == {"x.zarr"}


@pytest.mark.parametrize("which", [0, 1])
def test_a_failure_between_the_renames_leaves_the_old_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    out, renames, rename = tmp_path / "x.zarr", [], os.rename
    write(out, 1)

    def failing(source: object, target: object) -> None:
        renames.append(target)
        if len(renames) == which + 1:
            raise KeyboardInterrupt
        rename(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        write(out, 2, overwrite=True)
    assert (open_volume(out).numpy() == 1).all()
    assert names(tmp_path) == {"x.zarr"}


def test_leftovers_of_a_crash_are_cleared_by_the_next_command(tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    write(out, 1)
    write(tmp_path / "y.zarr", 7)
    crashed = tmp_path / f".x.zarr.{dead_process()}.partial"
    # killed between the renames: the old output is set aside, the new one not in its place
    crashed.mkdir()
    out.rename(crashed / "replaced")
    (tmp_path / "y.zarr").rename(crashed / "x.zarr")
    others = tmp_path / f".x.zarr.{os.getppid()}.partial"
    mine = tmp_path / ".x.zarr.notes.partial"
    for folder in (others, mine):
        folder.mkdir()
    with pytest.raises(VolumeError, match="--overwrite"):
        require_free(out, [], overwrite=False)
    assert (open_volume(out).numpy() == 1).all()
    assert names(tmp_path) == {"x.zarr", others.name, mine.name}


def test_a_link_goes_on_pointing_to_the_output(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "x.zarr").symlink_to(tmp_path / "scratch" / "real.zarr")
    write(tmp_path / "scratch" / "real.zarr", 1)
    write(tmp_path / "x.zarr", 2, overwrite=True)
    assert (tmp_path / "x.zarr").is_symlink()
    assert (open_volume(tmp_path / "scratch" / "real.zarr").numpy() == 2).all()
    assert names(tmp_path / "scratch") == {"real.zarr"}


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


def test_a_folder_that_may_not_be_written_to_is_met_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so what the system would answer others is answered here."""
    monkeypatch.setattr(os, "access", lambda place, mode: not (Path(place) == tmp_path and mode == os.W_OK))
    with pytest.raises(VolumeError, match="cannot be written to"):
        require_free(tmp_path / "x.zarr", [], overwrite=False)
    with pytest.raises(VolumeError, match="cannot be written to"):
        save_volume(LABELS, tmp_path / "x.h5")
