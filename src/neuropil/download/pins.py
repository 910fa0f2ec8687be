"""The lock file beside the data: which file came from where with which hash, so that another file is refused later.

A source that states no hash is believed once: what it sent first is pinned.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from neuropil.errors import VolumeError
from neuropil.io.base import file_errors, replace_when_whole

LOCK = "download.lock.yaml"
_HEAD = "# What was fetched, as `neuropil download` found it. Keep it beside the data: other files are refused.\n"


class Pins:
    """The lock file of one folder.

    Parameters
    ----------
    folder
        Where the set is downloaded to; it need not exist.
    name
        The set.

    Raises
    ------
    VolumeError
        If the folder holds another set, or the lock file cannot be read.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self.name = folder / LOCK, name
        self._files: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return
        found = read_yaml(self.path)
        if found.get("set") != name or not isinstance(found.get("files"), dict):
            raise VolumeError(
                f"'{folder}' holds the data set '{found.get('set')}'",
                f"a folder of its own for '{name}'",
                "choose another --out",
            )
        self._files = found["files"]

    def sha256(self, file: str) -> str | None:
        """The pinned hash of a file, if it was fetched before."""
        entry = self._files.get(file)
        return None if entry is None else str(entry["sha256"])

    def facts(self) -> list[dict[str, Any]]:
        """What is pinned, a mapping a file."""
        return [{"file": file, **entry} for file, entry in self._files.items()]

    def pin(self, file: str, **entry: Any) -> None:
        """Note a file that was fetched, at once on disk."""
        self._files[file] = entry
        self.save()

    def save(self) -> None:
        """Write the lock file, which also says whose folder this is."""
        write_yaml(self.path, {"set": self.name, "files": self._files}, head=_HEAD)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file of ours.

    Raises
    ------
    VolumeError
        If it cannot be read, or holds something else.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise VolumeError(f"'{path}' cannot be read ({error})", "what neuropil wrote", "remove it") from error
    if not isinstance(found, dict):
        raise VolumeError(f"'{path}' holds no settings", "what neuropil wrote", "remove it")
    return found


def write_yaml(path: Path, values: dict[str, Any], *, head: str = "") -> None:
    """Write a mapping; the file changes as a whole."""
    partial = replace_when_whole(path)
    try:
        with file_errors(str(path), "writing"):
            partial.write_text(head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
