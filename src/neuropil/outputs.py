"""Outputs on disk: made whole or marked unfinished, and saying how they came to be."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuropil.config import Config
from neuropil.errors import VolumeError
from neuropil.geometry import Int3
from neuropil.progress import written
from neuropil.urls import split_url
from neuropil.volume import Volume, open_volume

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run

#: Endings of the names that labels are written under.
LABELS = (".zarr", ".precomputed")
#: Makes what belongs into the folder of labels, and returns attributes to keep with them.
Beside = Callable[[Path], dict[str, Any]]
_SET_ASIDE = "replaced"


class Stopwatch:
    """Seconds, voxels and peak memory of the stages of one command, as plain values for attributes and reports."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: dict[str, dict[str, float]] = {}

    def lap(self, stage: str, voxels: int) -> None:
        """End a stage."""
        now = time.monotonic()
        self.laps[stage] = {"seconds": round(now - self._last, 3), "voxels": voxels, "peak_bytes": peak_memory()}
        self._last = now


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def require_free(
    out: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]],
    *,
    overwrite: bool,
    endings: Sequence[str] = LABELS[:1],
) -> None:
    """Check an output's place before any work is done for it, and tidy up after earlier work that crashed.

    Raises
    ------
    VolumeError
        If its name ends otherwise, is taken (by anything but an output of ours, even with `overwrite`), has no folder,
        or would replace what it is made from.
    """
    require_name(out, inputs, endings)
    _tidy(Path(out).resolve())
    require_replaceable(Path(out), overwrite=overwrite)


def require_name(
    out: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]], endings: Sequence[str] = LABELS[:1]
) -> None:
    """Check that an output can be called so, whatever is there.

    Raises
    ------
    VolumeError
        If its name has none of the endings, it has no folder that may be written to, or would replace what it is made
        from.
    """
    from neuropil.io.base import require_folder

    path = Path(out)
    if path.suffix not in endings:
        others = " or ".join(("", *endings[1:]))
        expected = f"a name that ends in {endings[0]} (OME-Zarr is what is written){others}"
        raise VolumeError(f"--out {path}", expected, f"--out {path.with_suffix(endings[0])}")
    require_folder(path.absolute().parent)
    for given in inputs:
        try:
            source = split_url(given)[0].resolve()
        except VolumeError:
            continue  # a volume in memory, whose name is no file's
        if path.resolve() == source or path.resolve() in source.parents:
            raise VolumeError(f"--out {path} would replace its own input '{given}'", "another name")


def require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Check that nothing is lost by writing to `path`: an output of ours that is whole takes `overwrite`.

    Raises
    ------
    VolumeError
        If there is such an output, or anything that is none of ours.
    """
    from neuropil.io.precomputed import made_here
    from neuropil.io.zarr import written_whole

    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    whole = True if made_here(path) else written_whole(path)
    if whole is None:
        raise VolumeError(
            f"'{path}' exists and was not written by neuropil",
            "a new name",
            "choose another name; --overwrite replaces only what neuropil wrote",
        )
    if whole and not overwrite:
        raise VolumeError(f"'{path}' exists already", "a new name", "choose another name, or give --overwrite")


def require_page(out: str | os.PathLike[str]) -> None:
    """Check a report's place: an HTML name, and nothing there but an earlier report.

    Raises
    ------
    VolumeError
        If it is named otherwise, or another file would be lost.
    """
    path = Path(out)
    if path.suffix not in (".html", ".htm"):
        raise VolumeError(f"a report at '{path}'", "a name that ends in .html")
    if path.exists():
        start = path.read_bytes()[:4096] if path.is_file() else b""
        if b"neuropil" not in start:
            raise VolumeError(f"'{path}' exists and is no neuropil report", "a new name", "choose another name")


@contextmanager
def new_output(
    out: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    like: Volume,
    *,
    kind: str,
    attrs: dict[str, Any],
    overwrite: bool,
    shard: Int3 | None = None,
    beside: Beside | None = None,
) -> Iterator[Volume]:
    """An empty OME-Zarr on the grid of `like` to write into; at the end it gets its pyramid and is marked complete.

    A first output grows in its place, and stays there unfinished if the work is interrupted. One that replaces another
    grows beside it: the old one stays readable until the new one is whole, and for good if that is never reached.

    Parameters
    ----------
    out
        The place, checked by `require_free`.
    shape, dtype
        (Z, Y, X) or (C, Z, Y, X).
    kind, attrs
        Go with the array.
    overwrite
        Whether an output of ours may be replaced.
    shard
        Voxels z, y, x that are written at once.
    beside
        Called with the place of labels when they are whole but for their mark.

    Raises
    ------
    VolumeError
        If the place is taken, or cannot be written.
    """
    from neuropil.io.zarr import NewZarr, build_pyramid, create_zarr, finish, written_whole

    require_replaceable(Path(out), overwrite=overwrite)
    options: NewZarr = {"offset": like.offset, "axes": "czyx" if len(shape) == 4 else "zyx", "kind": kind}
    options |= {"attrs": attrs} if shard is None else {"attrs": attrs, "shard": shard}
    with _place(Path(out), aside=bool(Path(out).exists() and written_whole(Path(out)))) as place:
        yield create_zarr(place, shape, dtype, like.voxel_size, **options)
        if kind == "labels":
            build_pyramid(place)
        if beside is not None:
            _add_attributes(place, beside(place))
        finish(place)


def _add_attributes(place: Path, more: dict[str, Any]) -> None:
    from neuropil.io.ome import read_node, write_group

    group = read_node(place)
    write_group(place, {**(group.attrs if group else {}), **more})


@contextmanager
def _place(out: Path, *, aside: bool) -> Iterator[Path]:
    """Where to write: `out` itself, or beside it and moved there when all went well."""
    from neuropil.io.base import file_errors, replace_when_whole

    if not aside:
        yield out
        return
    final = out.resolve()
    staging = replace_when_whole(final)
    try:
        with file_errors(str(staging), "writing"):
            staging.mkdir()
        yield staging / final.name
        with file_errors(str(final), "writing"):
            # two renames: whatever happens between them is put right below, or by the next run
            if final.exists():
                os.rename(final, staging / _SET_ASIDE)
            os.rename(staging / final.name, final)
    finally:
        _put_right(final, staging)


def _tidy(final: Path) -> None:
    """Remove what crashed processes left beside an output, after putting back what they had set aside."""
    for staging in final.parent.iterdir():
        name = staging.name
        if not (name.startswith(f".{final.name}.") and name.endswith(".partial") and staging.is_dir()):
            continue
        pid = name.removeprefix(f".{final.name}.").removesuffix(".partial")
        if pid.isdecimal() and not _runs_elsewhere(int(pid)):
            _put_right(final, staging)


def _put_right(final: Path, staging: Path) -> None:
    if not final.exists() and (staging / _SET_ASIDE).exists():
        os.rename(staging / _SET_ASIDE, final)
    shutil.rmtree(staging, ignore_errors=True)


def _runs_elsewhere(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()


def provenance(config: Config, source: Volume, run: Run | None) -> dict[str, Any]:
    """What an output says of its making: source, run, settings, versions, command."""
    from neuropil.versions import versions

    return {
        "source": source.name,
        "run": None if run is None else str(run.path),
        "config": config.model_dump(mode="json"),
        "versions": versions(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv),
    }


def write_labels(
    labels: Volume,
    out: str | os.PathLike[str],
    attrs: dict[str, Any],
    *,
    overwrite: bool,
    beside: Beside | None = None,
) -> Volume:
    """Write labels as OME-Zarr or, where the name says so, precomputed, whole or not at all; open what was written.

    Parameters
    ----------
    beside
        Adds to the folder before it is whole.
    """
    if Path(out).suffix == LABELS[1]:
        _write_precomputed(labels, Path(out), attrs, beside, overwrite=overwrite)
        return open_volume(os.fspath(out))
    new = new_output(
        out, labels.shape, labels.dtype, labels, kind="labels", attrs=attrs, overwrite=overwrite, beside=beside
    )
    with new as target:
        for block in written("writing", target.blocks(), target.box.size):
            target.write(block.write, labels.read(block.write))
    return open_volume(os.fspath(out))


def _write_precomputed(
    labels: Volume, out: Path, attrs: dict[str, Any], beside: Beside | None, *, overwrite: bool
) -> None:
    from neuropil.io import save_volume
    from neuropil.io.precomputed import finish_scales

    require_replaceable(out, overwrite=overwrite)
    with _place(out, aside=True) as place:
        held = Volume(labels.array, labels.voxel_size, labels.offset, "zyx", "labels", attrs=attrs)
        save_volume(held, place)
        if beside is not None:
            finish_scales(place, {**held.attributes(), **beside(place)})
