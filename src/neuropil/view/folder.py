"""A view as a folder that can be sent and served anywhere: precomputed files, the state, and the link to open.

::

    seen/
      state.json        what Neuroglancer shows; its addresses are those of the link
      view.json         that this is a view, and where it says that it is served
      link.txt          the link
      image/ labels/ …  one folder of precomputed files for each layer
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuropil.errors import InputError
from neuropil.io.base import file_errors, read_json, replace_when_whole, require_new
from neuropil.io.precomputed import FORMAT
from neuropil.view.layers import Layer
from neuropil.view.served import Files, Memory, Sendable
from neuropil.view.state import DATA, STATE, TOKEN, link_of, state_of
from neuropil.volume import Volume

MARK, LINK = "view.json", "link.txt"
_FORMAT = 1


def export(
    layers: Sequence[Layer], out: str | os.PathLike[str], *, title: str, host: str, port: int, meshes: int
) -> Path:
    """Write a view as a folder, whole or not at all.

    Parameters
    ----------
    layers
        Volumes are written with all their scales.
    out
        A new folder.
    host, port
        Of the server that will hand it out, which its addresses name; `serve_folder` puts others in their place.
    meshes
        Largest objects of each label volume whose meshes are written.

    Raises
    ------
    VolumeError
        If the place is taken or cannot be written.
    """
    path = Path(out)
    require_new(path)
    partial = replace_when_whole(path)
    try:
        with file_errors(str(path), "writing"):
            partial.mkdir()
            for layer in layers:
                _write(layer, partial / layer.folder, meshes)
            base = f"http://{host}:{port}"
            state = state_of(layers, f"{base}/{DATA}", title)
            mark = {"neuropil_view": _FORMAT, "host": host, "port": port}
            (partial / STATE).write_text(json.dumps(state, indent=1) + "\n")
            (partial / MARK).write_text(json.dumps(mark, indent=1) + "\n")
            (partial / LINK).write_text(link_of(base, TOKEN) + "\n")
            os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def exported(folder: Path) -> dict[str, Any]:
    """What an exported folder shows and where it says that it is served: "state", "host" and "port".

    Raises
    ------
    InputError
        If it is no such folder, or one whose layout is not known here.
    """
    mark = read_json(folder / MARK, "view")
    if mark.get("neuropil_view") != _FORMAT:
        got = f"'{folder}' is a view of format {mark.get('neuropil_view')}"
        raise InputError(got, f"format {_FORMAT}", "use the neuropil version that wrote it, or export it again")
    state = read_json(folder / STATE, "view")
    try:
        for layer in state["layers"]:
            str(layer["name"]), str(layer["source"])
        return {"state": state, "host": str(mark["host"]), "port": int(mark["port"])}
    except (KeyError, TypeError, ValueError) as error:
        got = f"'{folder}' is a view whose {MARK} or {STATE} was changed ({type(error).__name__}: {error})"
        raise InputError(got, "both as neuropil wrote them", "export it again") from error


def _write(layer: Layer, folder: Path, meshes: int) -> None:
    if layer.volume is not None:
        volume = layer.volume
        size, offset, kind = volume.voxel_size, volume.offset, volume.kind
        FORMAT.save(folder, "", Volume(Sendable(volume), size, offset, volume.axes, kind, name=volume.name))
        if layer.meshes is not None:
            _write_meshes(layer, folder, meshes)
    elif isinstance(layer.served, Files):
        shutil.copytree(layer.served.folder, folder)
    elif isinstance(layer.served, Memory):
        for name, content in layer.served.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def _write_meshes(layer: Layer, folder: Path, most: int) -> None:
    """The meshes of the largest objects, and the word in `info` that there are some."""
    made = layer.meshes
    assert made is not None
    (folder / "mesh").mkdir()
    for name in ("info", *(n for label in made.largest(most) for n in (f"{label}:0", f"{label}.mesh"))):
        if (content := made.get(name)) is not None:
            (folder / "mesh" / name).write_bytes(content)
    info = read_json(folder / "info", "precomputed")
    (folder / "info").write_text(json.dumps({**info, "mesh": "mesh"}))
