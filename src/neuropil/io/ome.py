"""The text side of Zarr: node metadata of versions 2 and 3, and OME-Zarr multiscales, as plain dictionaries."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neuropil.errors import VolumeError
from neuropil.geometry import Float3
from neuropil.io.base import our_attributes, read_json, unit_nm, with_element_size
from neuropil.remote import Place


@dataclass(frozen=True)
class Node:
    """One group or array of a Zarr hierarchy."""

    path: Place
    version: int
    kind: Literal["array", "group"]
    attrs: dict[str, Any]
    meta: dict[str, Any]

    @property
    def array(self) -> bool:
        """Whether it is an array, not a group."""
        return self.kind == "array"


def read_node(path: Place) -> Node | None:
    """The metadata of one folder, or None if it is no Zarr node.

    Raises
    ------
    VolumeError
        If the metadata is cut short.
    """
    if (path / "zarr.json").is_file():
        meta = read_json(path / "zarr.json", "Zarr")
        kind: Literal["array", "group"] = "array" if meta.get("node_type") == "array" else "group"
        return Node(path, 3, kind, dict(meta.get("attributes") or {}), meta)
    attrs = read_json(path / ".zattrs", "Zarr") if (path / ".zattrs").is_file() else {}
    if (path / ".zarray").is_file():
        return Node(path, 2, "array", attrs, read_json(path / ".zarray", "Zarr"))
    if attrs or (path / ".zgroup").is_file():
        return Node(path, 2, "group", attrs, {})
    return None


def write_group(path: Path, attrs: dict[str, Any]) -> None:
    """Write (or replace, in one step) the metadata of a version 3 group."""
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attrs}, indent=1)
    partial = path / f".zarr.json.{os.getpid()}.partial"
    try:
        partial.write_text(text)
        os.replace(partial, path / "zarr.json")
    finally:
        partial.unlink(missing_ok=True)


def arrays_in(group: Place) -> dict[str, Node]:
    """Every array below a group by its path."""
    found: dict[str, Node] = {}
    folders = [p for p in group.iterdir() if p.is_dir() and not p.name.startswith(".")]
    for folder in sorted(folders, key=lambda p: p.name):
        node = read_node(folder)
        if node is not None and node.array:
            found[folder.name] = node
        elif node is not None:
            found.update({f"{folder.name}/{name}": inner for name, inner in arrays_in(folder).items()})
    return found


def array_type(node: Node) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and data type of an array.

    Raises
    ------
    VolumeError
        If they are missing or not those of a numeric array.
    """
    name = node.meta.get("data_type") if node.version == 3 else node.meta.get("dtype")
    try:
        dtype = np.dtype(name) if isinstance(name, str) else None
        shape = tuple(int(n) for n in node.meta["shape"])
    except (TypeError, KeyError, ValueError):
        dtype, shape = None, ()
    if dtype is None or dtype.kind not in "uifb":
        raise VolumeError(f"'{node.path}' holds elements of type {name!r}", "an array of integers, floats or booleans")
    return shape, dtype


def multiscales_of(attrs: dict[str, Any]) -> dict[str, Any] | None:
    """The first OME multiscales entry (0.4 at the top, 0.5 under "ome"), or None."""
    entries = (attrs.get("ome") or {}).get("multiscales") or attrs.get("multiscales") or []
    return dict(entries[0]) if entries and entries[0].get("datasets") else None


def ome_attributes(multiscales: dict[str, Any], level_path: str) -> dict[str, Any]:
    """What OME metadata says of one level under our names: axes, and nm where the axes state a unit of length."""
    axes = [a if isinstance(a, dict) else {"name": a} for a in multiscales.get("axes", [])]
    names = [str(a.get("name", "")).lower() for a in axes]
    level = next((d for d in multiscales["datasets"] if d.get("path") == level_path), None)
    if level is None or not names:
        return {}
    scale, shift = np.ones(len(names)), np.zeros(len(names))
    stated = False
    for step in [
        *level.get("coordinateTransformations", []),
        *multiscales.get("coordinateTransformations", []),
    ]:
        if step.get("type") == "scale":
            factor = np.asarray(step["scale"], float)
            scale, shift, stated = scale * factor, shift * factor, True
        elif step.get("type") == "translation":
            shift = shift + np.asarray(step["translation"], float)
    found: dict[str, Any] = {"axes": "".join(names)}
    units = [unit_nm(axes[names.index(a)].get("unit")) if a in names else None for a in "zyx"]
    if stated and all(units):
        index = [names.index(a) for a in "zyx"]
        found["resolution"] = [float(scale[i]) * float(u or 0) for i, u in zip(index, units, strict=True)]
        found["offset"] = [float(shift[i]) * float(u or 0) for i, u in zip(index, units, strict=True)]
    return found


def array_attributes(node: Node, group: Node | None, level_path: str) -> dict[str, Any]:
    """Everything known about an array under our names: its own words first, then its group's, then OME's."""
    own = our_attributes(node.attrs, str(node.path))
    found: dict[str, Any] = {}
    if group is not None:
        multiscales = multiscales_of(group.attrs)
        found = ome_attributes(multiscales, level_path) if multiscales else {}
        if multiscales is None or multiscales["datasets"][0].get("path") == level_path:
            found.update(our_attributes(group.attrs, str(group.path)))
    names = node.meta.get("dimension_names") or node.attrs.get("_ARRAY_DIMENSIONS")
    if names and all(isinstance(n, str) and len(n) == 1 for n in names):
        found.setdefault("axes", "".join(names))
    found.update(own)
    for bookkeeping in ("ome", "multiscales", "neuropil", "_ARRAY_DIMENSIONS"):
        found.pop(bookkeeping, None)
    return with_element_size(found)


def ome_metadata(
    name: str, axes: str, kind: str, levels: Sequence[tuple[str, Float3, Float3]], offset: Float3
) -> dict[str, Any]:
    """OME-Zarr 0.5 metadata.

    Parameters
    ----------
    name, axes, kind
        Of the volume.
    levels
        Path, voxel size in nm, and factor to the first level, each z, y, x.
    offset
        Corner of the first voxel in nm. OME places voxel centres, so each level is shifted by half of what it gained.
    """
    lead = [1.0] * (len(axes) - 3)
    datasets = []
    for path, voxel, factor in levels:
        shift = [o + v * (1 - 1 / f) / 2 for o, v, f in zip(offset, voxel, factor, strict=True)]
        datasets.append(
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": [*lead, *voxel]},
                    {"type": "translation", "translation": [*(0.0 for _ in lead), *shift]},
                ],
            }
        )
    described = [{"name": "c", "type": "channel"}] if "c" in axes else []
    described += [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": described, "datasets": datasets}],
    }
    if kind == "labels":
        ome["image-label"] = {}
    return ome
