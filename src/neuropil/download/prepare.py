"""A data set from its name to volumes on disk: fetched, pinned, converted, described; resumed where it was left.

::

    OUT/dataset.yaml          what there is: image and labels by split, voxel size, licence, citation; written last
    OUT/data/                 the volumes; appears when all of it is made
    OUT/download.lock.yaml    hashes of what was fetched
    OUT/source/               files on their way; removed when the volumes are made
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from neuropil.download.catalogue import DataSet, Source
from neuropil.download.convert import Entry, Work, convert
from neuropil.download.fetch import fetched, require_room
from neuropil.download.pins import LOCK, Pins, read_yaml, write_yaml
from neuropil.errors import InputError, VolumeError
from neuropil.io.base import file_errors
from neuropil.locks import alone_in
from neuropil.urls import split_part

DESCRIPTION = "dataset.yaml"
_HEAD = "# Written by `neuropil download`. Addresses are relative to this file.\n"
_ADDRESSES = ("image", "labels", "weights")
#: Volumes that a proposed command names.
_SHOWN = 4


def prepare(wanted: DataSet, out: Path, *, mirror: str | None) -> dict[str, Any]:
    """Have a data set in a folder, doing only what is left to do; its description.

    Parameters
    ----------
    out
        A new folder, an empty one, or one where this was begun.
    mirror
        An address below which the files lie as NAME/FILE, instead of their own addresses.

    Raises
    ------
    InputError
        If the set cannot be fetched by a program.
    VolumeError
        If the folder holds something else, the disk has no room, or a file cannot be had, is not the one expected or
        not laid out as expected.
    IncompleteError
        If a transfer broke off.
    """
    if not wanted.files:
        raise InputError(f"'{wanted.name}' cannot be fetched by a program", "access of your own", wanted.how)
    Pins(out, wanted.name)  # a folder of another set is refused before anything is made in it
    _claim(out)
    with alone_in(out, "downloading", VolumeError):
        pins = Pins(out, wanted.name)
        pins.save()
        return described(out) or _fetched(wanted, out, pins, mirror)


def _fetched(wanted: DataSet, out: Path, pins: Pins, mirror: str | None) -> dict[str, Any]:
    """Do what is left to do; the description."""
    source = out / "source"
    _require_room(wanted, out)
    for file in wanted.files:
        _fetch(file, _address(wanted, file, mirror), source / file.file, pins)
    entries = _converted(wanted, source, out)
    description = _description(wanted, entries, pins)
    write_yaml(out / DESCRIPTION, description, head=_HEAD)
    shutil.rmtree(source, ignore_errors=True)
    return description


def described(out: Path) -> dict[str, Any] | None:
    """What a folder's description says, if what it names is there."""
    if not (out / DESCRIPTION).is_file():
        return None
    found = read_yaml(out / DESCRIPTION)
    if not isinstance(found.get("volumes"), list):
        raise VolumeError(f"'{out / DESCRIPTION}' names no volumes", "what neuropil wrote", "remove it")
    places = [entry[key] for entry in found["volumes"] for key in _ADDRESSES if key in entry]
    return found if all(_place(out, p).exists() for p in places) else None


def next_command(description: dict[str, Any], out: Path) -> str:
    """What to type next: train on what is labelled for training, else pretrain; inflate a checkpoint."""
    name, volumes = description["name"], description["volumes"]
    if "recipe" not in description:
        return shlex.join(["neuropil", "inflate", str(out / volumes[0]["weights"]), "--out", f"runs/{name}"])
    labelled = [v for v in volumes if "labels" in v and v["split"] in ("train", "all")]
    shown = (labelled or volumes)[:_SHOWN]
    words = ["neuropil", "train" if labelled else "pretrain", "--recipe", description["recipe"]]
    for volume in shown:
        words += ["--image", str(out / volume["image"])]
        words += ["--labels", str(out / volume["labels"])] if labelled else []
    words += [w for setting in description["settings"] for w in ("--set", setting)]
    # no voxel size is known for all of them: whoever trains has to say it
    words += [] if description["voxel_size"] else ["--voxel-size", "Z,Y,X"]
    return shlex.join([*words, "--out", f"runs/{name}"])


def _claim(out: Path) -> None:
    """Make the folder, which must be new, empty, or ours."""
    if out.exists() and not out.is_dir():
        raise VolumeError(f"'{out}' is a file", "a folder", "choose another --out")
    others = [] if not out.exists() else [p for p in out.iterdir() if p.name != "source"]
    if others and not (out / LOCK).exists():
        raise VolumeError(
            f"'{out}' holds other things, such as '{others[0].name}'", "a new folder", "choose another --out"
        )
    with file_errors(str(out), "writing"):
        (out / "source").mkdir(parents=True, exist_ok=True)


def _require_room(wanted: DataSet, out: Path) -> None:
    """Check the disk for all of it, as far as sizes are known; each file is checked again when its server says more."""
    if wanted.bytes is not None:
        here = sum(p.stat().st_size for p in (out / "source").iterdir())
        require_room(out, int(wanted.bytes * wanted.room) - here, wanted.name)


def _address(wanted: DataSet, file: Source, mirror: str | None) -> str:
    if mirror is None:
        return file.url
    if urlsplit(mirror).scheme not in ("http", "https"):
        raise InputError(f"mirror '{mirror}'", "an address that begins with http:// or https://")
    return f"{mirror.rstrip('/')}/{quote(wanted.name)}/{quote(file.file)}"


def _fetch(file: Source, url: str, place: Path, pins: Pins) -> None:
    pinned = pins.sha256(file.file)
    found = fetched(url, place, f"sha256:{pinned}" if pinned else file.hash)
    if pinned is None:
        by = "the table" if file.hash else "first use"
        entry = {"url": url, "sha256": found, "bytes": place.stat().st_size, "trusted": by, "fetched": _now()}
        pins.pin(file.file, **entry)


def _converted(wanted: DataSet, source: Path, out: Path) -> list[Entry]:
    """Make the volumes beside their place, and move them there in one step."""
    final, staging, scratch = out / "data", out / ".data.partial", out / ".unpacked.partial"
    for folder in (final, staging, scratch):
        # nothing but an earlier attempt of ours, which did not come to its end
        shutil.rmtree(folder, ignore_errors=True)
    try:
        with file_errors(str(out), "writing"):
            staging.mkdir()
        entries = convert(Work(wanted, source, staging, scratch))
        with file_errors(str(final), "writing"):
            os.rename(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
    return [{k: f"data/{v}" if k in _ADDRESSES else v for k, v in entry.items()} for entry in entries]


def _description(wanted: DataSet, entries: list[Entry], pins: Pins) -> dict[str, Any]:
    trained: dict[str, Any] = {}
    if wanted.recipe is not None:
        size = list(wanted.voxel_size) if wanted.voxel_size else None
        trained = {"recipe": wanted.recipe, "settings": list(wanted.settings), "voxel_size": size}
    return {
        "name": wanted.name,
        "what": wanted.what,
        **trained,
        "splits": wanted.splits,
        "volumes": entries,
        "licence": {**wanted.licence.model_dump(), "accepted": _now()},
        "citation": wanted.citation,
        "sources": pins.facts(),
    }


def _place(out: Path, address: str) -> Path:
    """The file or folder of an address such as data/a.h5:raw[0:4]."""
    whole = split_part(out / address)[0]
    head, colon, _ = whole.rpartition(":")
    return Path(head) if colon and not Path(whole).exists() else Path(whole)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
