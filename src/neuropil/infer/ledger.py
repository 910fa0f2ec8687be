"""What is done, kept beside the work: one record a task, written last, with checksums of what the task made.

A task is known by its stage and number. Its outputs are whole files; when they are on the disk, one record names them
with their sizes and digests. A task counts as done while its record is there *and* the files are what it says, so a
run that was killed at any moment goes on where it was, and damaged files are found and made again.

::

    x.blocks/
      plan.json                what is to be done, and from what
      done/STAGE/NUMBER.json   key of the plan, outputs, seconds, voxels, peak memory
      failed/ running/         the same names: the last error; who is at it
      locks/                   see `neuropil.locks`
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuropil.errors import NeuropilError, VolumeError
from neuropil.io.base import file_errors, replace_when_whole
from neuropil.locks import runs_here, this_process

_DONE, _FAILED, _RUNNING = "done", "failed", "running"
_CHUNK = 2**20
_NAMED_ERRORS = 5


@dataclass(frozen=True)
class Ledger:
    """The records of one folder of work.

    Parameters
    ----------
    folder
        Where the records lie; names of outputs are relative to it.
    key
        Of the plan. Records of another plan do not count.
    moved
        Folders (by their names in `folder`) that were moved to another place when they were whole.
    """

    folder: Path
    key: str
    moved: tuple[tuple[str, Path], ...] = ()

    def path(self, name: str) -> Path:
        """Where an output, or anything below it, lies now."""
        top, _, rest = name.partition("/")
        place = self.folder / top
        for moved, target in self.moved:
            if moved == top and not place.exists() and target.exists():
                place = target
        return place / rest if rest else place

    def record(self, stage: str, number: int) -> dict[str, Any] | None:
        """The record of a task, if it was done under this plan."""
        found = _read(self._file(_DONE, stage, number))
        return found if found is not None and found.get("key") == self.key else None

    def verified(self, stage: str, number: int) -> bool:
        """Whether a task was done and its outputs are what they were then."""
        found = self.record(stage, number)
        if found is None:
            return False
        return all(
            _size(path := self.path(output["name"])) == output["bytes"] and digest_of(path) == output["digest"]
            for output in found["outputs"]
        )

    def begin(self, stage: str, number: int) -> None:
        """Say that this process is at a task; whatever was recorded of it no longer holds."""
        self._file(_DONE, stage, number).unlink(missing_ok=True)
        write_whole(self._file(_RUNNING, stage, number), _text(this_process()), sync=False)

    def finish(self, stage: str, number: int, outputs: Iterable[str], facts: Mapping[str, Any]) -> None:
        """Record a task as done: the last thing that is written of it."""
        made = []
        for name in outputs:
            path = self.path(name)
            made.append({"name": name, "bytes": path.stat().st_size, "digest": digest_of(path)})
        write_whole(self._file(_DONE, stage, number), _text({"key": self.key, "outputs": made, **facts}))
        for other in (_FAILED, _RUNNING):
            self._file(other, stage, number).unlink(missing_ok=True)

    def fail(self, stage: str, number: int, error: BaseException) -> None:
        """Record why a task failed, and where if nobody expected it, as far as the disk permits."""
        expected = isinstance(error, NeuropilError)
        said = {"error": (str(error) if expected else "".join(traceback.format_exception_only(error))).strip()}
        if not expected:
            said["traceback"] = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            write_whole(self._file(_FAILED, stage, number), _text(said), sync=False)
        with contextlib.suppress(OSError):
            self._file(_RUNNING, stage, number).unlink(missing_ok=True)

    def missing(self, stage: str, count: int) -> list[int]:
        """Tasks without a record."""
        there = self._numbers(_DONE, stage)
        return [number for number in range(count) if number not in there]

    def records(self, stage: str, count: int) -> list[dict[str, Any]]:
        """All records of a stage."""
        found = (self.record(stage, number) for number in range(count))
        return [record for record in found if record is not None]

    def state(self, stage: str, count: int) -> dict[str, Any]:
        """How far a stage is: numbers of tasks done, running, failed and missing, and the first errors."""
        done = self._numbers(_DONE, stage) & set(range(count))
        running = {n for n in self._numbers(_RUNNING, stage) - done if self._at_it(stage, n)}
        failed = sorted(self._numbers(_FAILED, stage) - done - running)
        errors = {n: (_read(self._file(_FAILED, stage, n)) or {}).get("error", "") for n in failed[:_NAMED_ERRORS]}
        return {
            "stage": stage,
            "tasks": count,
            "done": len(done),
            "running": len(running),
            "failed": len(failed),
            "missing": count - len(done) - len(running) - len(failed),
            "errors": errors,
        }

    def _at_it(self, stage: str, number: int) -> bool:
        who = _read(self._file(_RUNNING, stage, number))
        return who is not None and runs_here(who) is not False

    def _numbers(self, state: str, stage: str) -> set[int]:
        folder = self.folder / state / stage
        if not folder.is_dir():
            return set()
        return {int(n.removesuffix(".json")) for n in os.listdir(folder) if n.removesuffix(".json").isdecimal()}

    def _file(self, state: str, stage: str, number: int) -> Path:
        return self.folder / state / stage / f"{number}.json"


def write_whole(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file so that neither a reader nor a crash ever meets half of it.

    Raises
    ------
    VolumeError
        If the disk is full or the folder cannot be written.
    """
    partial = replace_when_whole(path)
    with file_errors(str(path), "writing"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(partial, path)
            if sync:
                _sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """Digest of a file's bytes."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def key_of(what: Any) -> str:
    """Digest of plain values."""
    return hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=16).hexdigest()


def read_plan(folder: Path) -> dict[str, Any] | None:
    """The plan of a folder of work, or None where work never began.

    Raises
    ------
    VolumeError
        If it is damaged.
    """
    path = folder / "plan.json"
    if not path.is_file():
        return None
    found = _read(path)
    if found is None or "key" not in found:
        raise VolumeError(f"'{path}' is damaged", "a plan of neuropil", "begin again with --overwrite")
    return found


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _text(what: Mapping[str, Any]) -> bytes:
    return (json.dumps(what) + "\n").encode()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
