"""The verb that gets public data: download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuropil.errors import InputError

if TYPE_CHECKING:
    from neuropil.download.catalogue import DataSet

#: An address below which a lab keeps copies, as NAME/FILE.
MIRROR = "NEUROPIL_MIRROR"


def download(
    name: str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    accept_licence: bool = False,
    mirror: str | None = None,
) -> dict[str, Any]:
    """Get a public data set or checkpoint by name, ready for the recipes; without a name, say which there are.

    What is there is not fetched again, and a transfer that broke off is resumed.

    Parameters
    ----------
    name
        One of those that `download()` lists.
    out
        The folder: it gets `data/`, `dataset.yaml` (what is image, what labels, in which split) and a lock file.
    accept_licence
        That you accept the terms of the set, which `terms` says.
    mirror
        An address below which the files lie as NAME/FILE, instead of their sources; NEUROPIL_MIRROR when not given.

    Returns
    -------
    dict
        "sets", one mapping each; or what was made of one, and the command to go on with.

    Raises
    ------
    InputError
        If there is no such set, its terms are not accepted, or it cannot be fetched by a program.
    VolumeError
        If a file cannot be had, or is not the one expected; nothing half-written is left.
    IncompleteError
        If a transfer broke off; the same call goes on.
    """
    from neuropil.download.catalogue import catalogue, data_set
    from neuropil.download.prepare import prepare

    if name is None:
        if out is not None or accept_licence:
            raise InputError("--out or --accept-licence without the name of a set", "a name", "neuropil download NAME")
        return {"sets": [_row(entry) for entry in catalogue().values()]}
    wanted = data_set(name)
    if wanted.files and out is None:
        raise InputError(f"download {name} without --out", "a folder for it", f"--out data/{name}")
    if wanted.files and not accept_licence:
        raise InputError(f"the terms of '{name}' are not accepted\n    {terms(name)}", "consent", "--accept-licence")
    folder = Path(out or name)
    return _summary(prepare(wanted, folder, mirror=mirror or os.environ.get(MIRROR) or None), folder)


def terms(name: str) -> str:
    """Under which terms a set may be used, and where they stand.

    Raises
    ------
    InputError
        If there is no such set.
    """
    from neuropil.download.catalogue import data_set

    licence = data_set(name).licence
    return f"Licence: {licence.name}. {licence.text} ({licence.url})"


def _summary(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What was made, and the command to go on with."""
    from neuropil.download.prepare import next_command

    splits = [v["split"] for v in found["volumes"] if "split" in v]
    counted = {split: splits.count(split) for split in dict.fromkeys(splits)}
    return {
        "name": found["name"],
        "out": str(folder),
        "volumes": len(found["volumes"]),
        **({"splits": ", ".join(f"{n} {split}" for split, n in counted.items())} if counted else {}),
        "licence": found["licence"]["name"],
        "citation": found["citation"],
        "next": next_command(found, folder),
    }


def _row(entry: DataSet) -> dict[str, Any]:
    pinned = all(source.hash for source in entry.files)
    return {
        "name": entry.name,
        "what": entry.what,
        "bytes": entry.bytes,
        "licence": entry.licence.name,
        "account": entry.account,
        "checked": entry.checked,
        "hash": "stated" if entry.files and pinned else "pinned on first use",
        "voxel_size": entry.voxel_size,
        "splits": entry.splits,
        "told_by": entry.told_by,
        "citation": entry.citation,
    }
