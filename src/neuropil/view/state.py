"""The state of the viewer as Neuroglancer keeps it: layers with their sources, and from where they are looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from neuropil.geometry import Box
from neuropil.view.layers import Layer

#: Name of the state among the files of a view, what every address of them begins with, and the viewer of a folder.
STATE, DATA, TOKEN = "state.json", "data", "view"
#: Pixels of a panel that the middle section is to fill, and the least and most voxels for one of them.
_PANEL, _FINEST, _COARSEST = 420, 0.1, 8.0
#: Looked at a little from the side and from above, as a quaternion.
_TILTED = [-0.36, 0.30, 0.10, 0.88]


def state_of(layers: Sequence[Layer], base: str, title: str) -> dict[str, Any]:
    """The whole state.

    Parameters
    ----------
    layers
        From the bottom to the top.
    base
        Address below which the layers lie, each in a folder of its name.
    title
        Of the browser's window.
    """
    state: dict[str, Any] = {"title": title, "layers": [_entry(layer, base) for layer in layers]}
    first = next((layer.box for layer in layers if layer.box is not None), None)
    state |= _looking_at(_frame(layers), first) if first is not None else {}
    state |= {"layout": "4panel-alt", "showAxisLines": False, "crossSectionBackgroundColor": "#000000"}
    state["hideCrossSectionBackground3D"] = True
    chosen = next((layer.name for layer in layers if layer.name.startswith("mistakes")), layers[-1].name)
    return state | {"selectedLayer": {"layer": chosen, "visible": True}}


def at(state: dict[str, Any], base: str) -> dict[str, Any]:
    """A state whose layers lie below another address."""
    layers = [{**layer, "source": f"precomputed://{base}/{_name(layer)}"} for layer in state["layers"]]
    return {**state, "layers": layers}


def link_of(server: str, token: str) -> str:
    """The address that opens the state of a view in the viewer of a server."""
    return f"{server}/v/{token}/#!{server}/{DATA}/{STATE}"


def _name(layer: dict[str, Any]) -> str:
    return str(layer["source"]).rpartition("/")[2]


def _entry(layer: Layer, base: str) -> dict[str, Any]:
    return {"name": layer.name, "source": f"precomputed://{base}/{quote(layer.folder)}", **layer.drawn}


def _frame(layers: Sequence[Layer]) -> Box:
    """What is looked at from the beginning: the smallest volume, which is where something was predicted."""
    boxes = [layer.box for layer in layers if layer.box is not None]
    return min(boxes, key=lambda box: math.prod(n * v for n, v in zip(box.shape, box.voxel_size, strict=True)))


def _looking_at(box: Box, first: Box) -> dict[str, Any]:
    """Axes x, y, z on the voxels of the first volume, and the middle of a box."""
    voxel = first.voxel_size
    extent_nm = [n * v for n, v in zip(box.shape, box.voxel_size, strict=True)]
    middle_nm = [o + e / 2 for o, e in zip(box.offset_nm, extent_nm, strict=True)]
    unit = min(voxel)
    per_pixel = max(extent_nm[1:]) / unit / _PANEL
    # a place in the middle of a voxel, so that a section is shown and not the gap between two
    position = [math.floor(m / v) + 0.5 for m, v in zip(middle_nm, voxel, strict=True)]
    return {
        "dimensions": {axis: [v * 1e-9, "m"] for axis, v in zip("xyz", voxel[::-1], strict=True)},
        "position": position[::-1],
        "crossSectionScale": min(max(per_pixel, _FINEST), _COARSEST),
        "projectionScale": 1.2 * math.hypot(*extent_nm) / unit,
        "projectionOrientation": _TILTED,
    }
