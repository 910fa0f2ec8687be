"""A run as others get it: weights, settings and card without a trace of this machine, each file with its hash.

::

    model/                   or the same in model.zip
      run.json, config.yaml, model.safetensors    as in a run directory: it is one
      card.json              what `neuropil.zoo.card.facts` says, and the hash of every file
      README.md              the card for people

Nothing else is ever read of one: no pickles, no code, and no names of code (``package.module:function``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from neuropil.errors import RunError, listed
from neuropil.io.base import file_errors, replace_when_whole, require_new
from neuropil.training.card import use_command
from neuropil.training.checkpoint import CARD, CONFIG, WEIGHTS, Run, read_tensors, write_tensors
from neuropil.zoo.card import FORMAT, page
from neuropil.zoo.clean import cleaned, named_only

FACTS, README = "card.json", "README.md"
#: All that a shared model consists of.
FILES = (CARD, CONFIG, WEIGHTS, FACTS, README)
_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
#: Members of an archive have the same time, so that equal models have equal hashes.
_WHEN = (1980, 1, 1, 0, 0, 0)


@contextmanager
def new_model(out: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to fill; at the end it becomes `out`, or an archive of that name where it ends in .zip.

    Raises
    ------
    VolumeError
        If there is something already, or it cannot be written.
    """
    path = Path(out)
    require_new(path)
    staging = replace_when_whole(path.absolute())
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with file_errors(str(path), "writing"):
            folder = staging / path.stem
            folder.mkdir(parents=True)
        yield folder
        with file_errors(str(path), "writing"):
            if path.suffix == ".zip":
                _pack(folder, staging / "packed.zip")
                os.replace(staging / "packed.zip", path)
            else:
                os.replace(folder, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _pack(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _WHEN)
            member.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, packed.open(member, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 2**20)


def fill(folder: Path, run: Run, facts: dict[str, Any], *, half_precision: bool = False) -> None:
    """Write a run into a folder, as others get it.

    Parameters
    ----------
    half_precision
        Store weights in 16 bits; the card says so, and a network computes with them as it always does.

    Raises
    ------
    RunError
        If it names code of its own, which others do not have and which must not come with a model; or if a weight is
        beyond the range of half precision.
    """
    values = run.config.model_dump(mode="json")
    if code := named_code(values):
        raise RunError(
            f"'{run.path}' was made with code of yours: {', '.join(code)}",
            "networks, tasks and methods with a short name",
            "make a plugin of it (docs/howto/extend.md) and train under its name; or share --format bioimageio",
        )
    card, config = named_only(run.card, values)
    tensors, state = read_tensors(run.path / WEIGHTS)
    if half_precision:
        tensors = halved(tensors, str(run.path))
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")
    (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    write_tensors(folder / WEIGHTS, tensors, cleaned(state))
    write_card(folder, {**facts, "weights": _stored(tensors)}, _use(facts, run))


def halved(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors with their floats in 16 bits (10 of them for the digits); whole numbers stay as they are.

    Raises
    ------
    RunError
        If one is too large for that.
    """
    found = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    lost = [name for name, t in found.items() if not bool(torch.isfinite(t).all())]
    if lost:
        raise RunError(
            f"weights of '{where}' that half precision cannot hold: {listed(lost)}",
            f"weights below {torch.finfo(torch.float16).max:g}",
            "share it without --half-precision",
        )
    return found


def _stored(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    kinds = sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()})
    return {"stored_as": ", ".join(kinds), "bytes": sum(t.numel() * t.element_size() for t in tensors.values())}


def _use(facts: dict[str, Any], run: Run) -> list[str]:
    at = "export NEUROPIL_ZOO=FOLDER   # where this model lies; not for those that come with neuropil"
    return [at, use_command(run, f"zoo:{facts['name']}")]


def write_card(folder: Path, facts: dict[str, Any], use: list[str]) -> None:
    """Write the card for people and for programs; the latter with the hash of all files that are there."""
    (folder / README).write_text(page(facts, use), encoding="utf-8")
    hashes = {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    (folder / FACTS).write_text(json.dumps({**facts, "files": hashes}, indent=1) + "\n")


def named_code(values: Any) -> list[str]:
    """The texts among plain values that name code, as ``package.module:function``."""
    if isinstance(values, dict):
        return [code for inner in values.values() for code in named_code(inner)]
    if isinstance(values, list | tuple):
        return [code for inner in values for code in named_code(inner)]
    return [values] if isinstance(values, str) and _CODE.fullmatch(values) else []


def card_of(folder: Path) -> dict[str, Any]:
    """The card of the model in a folder; see `read_card`."""
    with file_errors(str(folder / FACTS), "reading"):
        text = (folder / FACTS).read_text(encoding="utf-8")
    return read_card(text, str(folder))


def read_card(text: str, where: str) -> dict[str, Any]:
    """The content of a card.json.

    Raises
    ------
    RunError
        If it is none, or one of another version.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RunError(f"the card of '{where}' cannot be read ({error})", f"a whole {FACTS}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        got = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise RunError(
            f"the card of '{where}' has format {got}", f"format {FORMAT}", "use the neuropil version that wrote it"
        )
    return found


def shared_card(run: Run) -> dict[str, Any] | None:
    """The card of a run that came from a zoo; None of one that was trained here."""
    return card_of(run.path) if (run.path / FACTS).is_file() else None


def checked(folder: Path) -> Path:
    """A folder with a shared model, after its files were compared with its card and searched for code.

    Raises
    ------
    RunError
        If a file is missing or changed, or its settings name code.
    """
    card = card_of(folder)
    hashes = card.get("files", {})
    for name in (name for name in FILES if name != FACTS):
        path = folder / name
        if not path.is_file() or sha256(path) != hashes.get(name):
            got = "is not the file of its card" if path.is_file() else "is missing"
            raise RunError(f"'{path}' {got}", "the file that was shared", "get the model again")
    run = Run.open(folder)
    if code := named_code([run.config.model_dump(mode="json"), run.card.get("task")]):
        raise RunError(
            f"'{folder}' names code: {', '.join(code)}",
            "a shared model that needs none",
            "ask its maker for a plugin; do not use this model",
        )
    return folder


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with file_errors(str(path), "reading"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
