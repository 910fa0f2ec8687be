"""Zoos: folders, or web addresses with an index, in which shared models are found by name as ``zoo:NAME``."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from neuropil.config import Config
from neuropil.download.fetch import fetched
from neuropil.errors import InputError, NeuropilError, RunError, VolumeError
from neuropil.geometry import Float3, alike
from neuropil.training.checkpoint import Run, write_atomic
from neuropil.training.transfer import same_network
from neuropil.zoo.cache import cache_folder, unpacked
from neuropil.zoo.package import FACTS, FILES, card_of, checked, read_card, sha256

#: A folder of models, or the address of one with an index.json.
ZOO = "NEUROPIL_ZOO"
PREFIX = "zoo:"
INDEX = "index.json"
#: The zoo of the models that come with neuropil, where zoos are listed.
OURS = "neuropil"
_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


@dataclass(frozen=True)
class Model:
    """A model of a zoo.

    Parameters
    ----------
    card
        What its card says.
    where
        The zoo.
    folder
        Brings it here and gives its checked folder.
    """

    name: str
    card: dict[str, Any]
    where: str
    folder: Callable[[], Path]


def models(zoo: str | os.PathLike[str] | None) -> list[Model]:
    """Models that come with neuropil and those of a zoo, or of the one in NEUROPIL_ZOO, which win over ours of a name.

    Raises
    ------
    InputError
        If there is no such zoo.
    VolumeError, RunError
        If its index, or the card of a model, cannot be read.
    """
    chosen = os.fspath(zoo) if zoo is not None else os.environ.get(ZOO) or None
    found: dict[str, Model] = {}
    if chosen is not None:
        web = chosen.startswith(("http://", "https://"))
        found = {model.name: model for model in (_of_web(chosen) if web else _of_folder(Path(chosen), chosen))}
    return list(({model.name: model for model in _of_folder(shipped(), OURS)} | found).values())


def shipped() -> Path:
    """The folder of the models that come with neuropil."""
    return Path(str(resources.files("neuropil"))) / "zoo" / "models"


def beginnings(config: Config, voxel_size: Float3) -> list[str]:
    """Shipped models, as ``zoo:NAME``, that a training with these settings could begin with.

    They have learned the same task, with the same network, in voxels (nm; z, y, x) of about the same size.
    """
    found = []
    for model in _of_folder(shipped(), OURS):
        run = Run.open(model.folder())
        if same_network(config, run) and alike(voxel_size, run.voxel_size):
            found.append(PREFIX + model.name)
    return found


def model_folder(name: str) -> Path:
    """The folder, a run directory, of ``zoo:NAME``.

    Raises
    ------
    InputError
        If there is no such model (the nearest name is given).
    VolumeError, RunError
        If it cannot be fetched, or is not what was shared.
    """
    return find(name, None).folder()


def find(name: str, zoo: str | os.PathLike[str] | None) -> Model:
    """The model called so (or ``zoo:NAME``); see `models`.

    Raises
    ------
    InputError
        If there is none (the nearest name is given).
    """
    wanted = name.removeprefix(PREFIX)
    known = {model.name: model for model in models(zoo)}
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        where = zoo or os.environ.get(ZOO)
        fix = f"did you mean '{PREFIX}{near[0]}'?" if near else f"set {ZOO} to a folder or an address with models"
        raise InputError(
            f"no model is called '{wanted}'" + (f" in '{where}'" if where else ""),
            "one of " + ", ".join(known),
            fix,
        )
    return known[wanted]


def write_index(zoo: str | os.PathLike[str]) -> Path:
    """Write the index of a folder of archives, so that a web server can offer it as a zoo.

    Raises
    ------
    InputError
        If it is no folder, or holds no archive.
    """
    folder = Path(zoo)
    if not folder.is_dir():
        raise InputError(f"--index for '{zoo}'", "a folder of models", "--zoo FOLDER")
    packed = [(model, folder / f"{model.name}.zip") for model in _of_folder(folder, str(folder))]
    entries = [
        {"name": m.name, "file": path.name, "sha256": sha256(path), "bytes": path.stat().st_size, "card": m.card}
        for m, path in packed
        if path.is_file()
    ]
    if not entries:
        raise InputError(f"'{zoo}' holds no model in a .zip", "archives of models", "neuropil share RUN --out NAME.zip")
    write_atomic(folder / INDEX, (json.dumps({"format": _FORMAT, "models": entries}, indent=1) + "\n").encode())
    return folder / INDEX


def _of_folder(zoo: Path, where: str) -> Iterator[Model]:
    if not zoo.is_dir():
        raise InputError(f"the zoo '{zoo}' is not there", "a folder, or an http(s) address", f"correct {ZOO} or --zoo")
    for path in sorted(zoo.iterdir()):
        try:
            if path.is_dir() and (path / FACTS).is_file():
                yield Model(_plain(path.name), card_of(path), where, partial(checked, path))
            elif path.suffix == ".zip":
                yield Model(_plain(path.stem), _packed_card(path), where, partial(_from_archive, path))
        except NeuropilError as error:
            # one bad file must not close the zoo
            print(f"note: left out of the zoo: {error.got}", file=sys.stderr)


def _packed_card(archive: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(archive) as packed:
            return read_card(packed.read(FACTS).decode(), str(archive))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        if isinstance(error, NeuropilError):
            raise
        raise RunError(
            f"'{archive}' holds no shared model ({error})", "what `neuropil share` packs", "remove it from the zoo"
        ) from error


def _from_archive(archive: Path) -> Path:
    return checked(unpacked(archive, FILES.__contains__))


def _of_web(address: str) -> Iterator[Model]:
    base = address.rstrip("/").removesuffix("/" + INDEX)
    folder = cache_folder(f"zoos/{hashlib.sha256(base.encode()).hexdigest()[:16]}")
    index = _fetched_index(base, folder)
    if not isinstance(index, dict) or index.get("format") != _FORMAT or not isinstance(index.get("models"), list):
        raise VolumeError(f"'{base}/{INDEX}' is no index of models", "what `neuropil zoo --index` writes")
    for entry in index["models"]:
        name, file, digest = (str(entry.get(key, "")) for key in ("name", "file", "sha256"))
        if file != f"{name}.zip" or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise VolumeError(f"'{base}/{INDEX}' lists '{file}' for '{name}'", "NAME.zip with its sha256")
        archive = folder / f"{_plain(name)}.zip"
        bring = partial(_from_web, f"{base}/{file}", archive, digest)
        yield Model(name, read_card(json.dumps(entry.get("card")), name), base, bring)


def _from_web(url: str, archive: Path, digest: str) -> Path:
    if archive.is_file() and sha256(archive) != digest:
        archive.unlink()  # the zoo has a newer one
    fetched(url, archive, f"sha256:{digest}")
    return _from_archive(archive)


def _fetched_index(base: str, folder: Path) -> Any:
    """The index as it is now, or as it was when the server last answered."""
    kept, new = folder / INDEX, folder / f"{INDEX}.new"
    new.unlink(missing_ok=True)
    try:
        fetched(f"{base}/{INDEX}", new, None)
        os.replace(new, kept)
    except NeuropilError as error:
        if not kept.is_file():
            raise
        print(f"note: {error.got}; using what the zoo had when it last answered", file=sys.stderr)
    try:
        return json.loads(kept.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _plain(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"a model called '{name}'", "letters, digits, and . _ + - after the first", "rename it")
    return name
