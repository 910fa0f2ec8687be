"""The verbs that pass runs on: share, zoo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neuropil.errors import InputError
from neuropil.inputs import RunLike, opened_run

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run

FORMATS = ("neuropil", "bioimageio", "torch-export")
#: Formats of which a run must be a network: an encoder makes no prediction.
_NETWORKS = FORMATS[1:]


def share(
    run: RunLike,
    out: str | os.PathLike[str],
    *,
    format: Literal["neuropil", "bioimageio", "torch-export"] = "neuropil",
    data_licence: str | None = None,
    data: str | None = None,
    licence: str | None = None,
    author: Sequence[str] = (),
    cite: str | None = None,
    seeds: Sequence[RunLike] = (),
    half_precision: bool = False,
) -> dict[str, Any]:
    """Pack a finished run for others, with a card of its data, licence, scores, speed and cost.

    Paths of this machine do not go along: volumes keep their last names.

    Parameters
    ----------
    run, out
        A run directory; a new folder, or a new .zip.
    format
        "neuropil" (``zoo:NAME``; also encoders), "bioimageio" (TorchScript, for other programs) or "torch-export" (a
        .pt2, for serving). Graphs are compared with their network.
    data_licence, data
        Terms of the data that it was trained on, without which nothing is shared; where they can be had.
    licence, author, cite
        Terms of the weights, who made them, what to cite.
    seeds
        Other runs of the same training with other seeds: how far the scores spread. Without, over its validations.
    half_precision
        Store the weights in 16 bits, in half the room; the card says so. For the format "neuropil".

    Raises
    ------
    InputError
        If there is no licence of the data, or no such format, or one that takes no half precision.
    RunError
        If the run is not finished, has code of its own, or its network makes no graph.
    VolumeError
        If there is something at `out`, or it cannot be written.
    """
    from neuropil.zoo.card import Said, facts, require_licence
    from neuropil.zoo.package import new_model, sha256
    from neuropil.zoo.speed import measured

    _check(format, half_precision=half_precision)
    said = Said(require_licence(data_licence), data, licence, tuple(author), cite)
    given = opened_run(run)
    encoder = given.card.get("kind") == "encoder"
    if encoder and format in _NETWORKS:
        given.load_model()  # says what an encoder is for
    with new_model(out) as folder:
        others = [opened_run(seed) for seed in seeds]
        card = facts(given, Path(out).stem, said, seeds=others, speed=None if encoder else measured(given))
        told = _filled(folder, given, card, format, half_precision=half_precision)
    place = Path(out)
    hashed = {"sha256": sha256(place)} if place.is_file() else {}
    return {"model": str(out), "format": format, **told, **hashed, "data licence": said.data_licence}


def _check(format: str, *, half_precision: bool) -> None:
    if format not in FORMATS:
        raise InputError(f"--format {format}", "one of " + ", ".join(FORMATS))
    if half_precision and format in _NETWORKS:
        raise InputError(f"--half-precision with --format {format}", "the format neuropil", "leave one of them out")


def _filled(folder: Path, run: Run, card: dict[str, Any], format: str, *, half_precision: bool) -> dict[str, Any]:
    if format == "neuropil":
        from neuropil.zoo.package import fill

        fill(folder, run, card, half_precision=half_precision)
        return {"use": f"zoo:{card['name']}"}
    if format == "bioimageio":
        from neuropil.exchange.bioimageio_out import fill as fill_bioimageio

        free = fill_bioimageio(folder, run, card)
        return {"extent": "any" if free else "of one tile", "use": f"bioimageio:{card['name']}"}
    from neuropil.exchange.exported import fill as fill_exported

    return fill_exported(folder, run, card)


def zoo(name: str | None = None, *, zoo: str | os.PathLike[str] | None = None, index: bool = False) -> dict[str, Any]:
    """List the models of a zoo, or show the card of one; ``zoo:NAME`` stands for a run wherever one is asked for.

    Parameters
    ----------
    name
        One of them.
    zoo
        A folder with what `share` packed, or the address of one with an index; NEUROPIL_ZOO when not given. The models
        that come with neuropil are always there too.
    index
        Write the index of the folder, for a web server to offer it.

    Returns
    -------
    dict
        "models", one mapping each; or the card of one; or where the index is.

    Raises
    ------
    InputError
        If there is no such zoo or model, or no folder to write an index of.
    VolumeError, RunError
        If the zoo cannot be reached, or what is in it cannot be read.
    """
    from neuropil.zoo.store import find, models, write_index

    if index:
        if zoo is None or name is not None:
            raise InputError("--index", "a folder of models, and no name", "neuropil zoo --zoo FOLDER --index")
        return {"index": str(write_index(zoo))}
    if name is not None:
        model = find(name, zoo)
        return {**model.card, "name": model.name, "zoo": model.where}
    return {"models": [_row(model.name, model.card, model.where) for model in models(zoo)]}


def _row(name: str, card: dict[str, Any], where: str) -> dict[str, Any]:
    from neuropil.zoo.card import finds

    return {
        "name": name,
        "finds": finds(card),
        "voxel_size_nm": card["voxel_size_nm"],
        "scores": card["scores"]["held_back"],
        "data_licence": card["data"]["licence"],
        "licence": card["licence"],
        "parameters": card["parameters"],
        "zoo": where,
    }
