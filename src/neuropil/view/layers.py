"""What is shown: layers by their names, each with how it is served, how it is drawn, and where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets
from neuropil.config.view import ViewConfig
from neuropil.errors import InputError
from neuropil.geometry import Box
from neuropil.io.base import read_json
from neuropil.lazy import Array
from neuropil.report.colours import ERROR_ALPHA, ERROR_COLOURS
from neuropil.report.scene import central
from neuropil.skeleton import Skeleton
from neuropil.view.meshes import Meshes, meshes_of
from neuropil.view.mistakes import NAMES, mistakes
from neuropil.view.scales import locked
from neuropil.view.served import Files, Memory, Pieces, Served
from neuropil.view.skeletons import skeleton_files
from neuropil.volume import Volume

#: Voxels z, y, x in the middle of an image from which its contrast is taken.
_SAMPLE = (16, 256, 256)
#: First words of the `@type` in the info of folders that can be given as skeletons and as meshes.
_SKELETONS, _MESHES = ("neuroglancer_skeletons",), ("neuroglancer_legacy_mesh", "neuroglancer_multilod_draco")


@dataclass(frozen=True)
class Shown:
    """What somebody wants to see; every part may be missing.

    Parameters
    ----------
    image, labels, truth
        Volumes, each on its own voxel size and in its own place.
    affinities, offsets
        Channels (C, Z, Y, X) and their voxel steps; none of another prediction.
    skeletons
        By name, or a folder of precomputed ones.
    meshes
        A folder of precomputed meshes.
    suffix
        What follows the names of all layers, such as " held back".
    """

    image: Volume | None = None
    affinities: Volume | None = None
    offsets: Offsets = ()
    labels: Volume | None = None
    truth: Volume | None = None
    skeletons: Mapping[str, Skeleton] | Path | None = None
    meshes: Path | None = None
    suffix: str = ""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Parameters
    ----------
    name
        As the viewer lists it.
    served
        Its files.
    drawn
        Its entry in the viewer's state, without name and source.
    box
        Where it lies, if it is a volume.
    volume, meshes
        What an export writes: a volume, and the meshes of its objects.
    """

    name: str
    served: Served
    drawn: dict[str, Any]
    box: Box | None = None
    volume: Volume | None = None
    meshes: Meshes | None = None

    @property
    def folder(self) -> str:
        """Its name in addresses."""
        return self.name.replace(" ", "_")


class Channels:
    """Some channels of an array (C, Z, Y, X), in another order."""

    writable = False

    def __init__(self, source: Array, channels: list[int]) -> None:
        self.source, self.channels = source, channels
        self.shape, self.dtype = (len(channels), *source.shape[1:]), np.dtype(source.dtype)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        picked = self.channels[key[0]]
        return np.concatenate([self.source[(slice(c, c + 1), *key[1:])] for c in picked])


def layers_of(shown: Shown, settings: ViewConfig) -> list[Layer]:
    """The layers of what is to be seen, from the bottom to the top.

    Raises
    ------
    InputError
        If there is nothing to show, or a folder holds no skeletons or meshes.
    GeometryError
        If labels and truth do not meet.
    """
    image, labels, truth = (None if v is None else locked(v) for v in (shown.image, shown.labels, shown.truth))
    found: list[Layer] = []
    if image is not None:
        found.append(_image(image))
    if shown.affinities is not None:
        found.append(_affinities(shown.affinities, shown.offsets, visible=labels is None))
    if truth is not None:
        found.append(_objects("truth", truth, settings, visible=labels is None))
    if labels is not None:
        found.append(_objects("labels", labels, settings, visible=True))
        # beneath mistakes, colours of objects would be taken for those of mistakes
        found[-1].drawn["selectedAlpha"] = found[-1].drawn["notSelectedAlpha"] = 0.3 if truth is None else 0.12
    if labels is not None and truth is not None:
        found.append(_mistakes(mistakes(truth, labels)))
    if shown.skeletons is not None:
        found.append(_skeletons(shown.skeletons))
    if shown.meshes is not None:
        found.append(Layer("meshes", Files(_folder(shown.meshes, _MESHES, "meshes")), {"type": "segmentation"}))
    if not found:
        raise InputError("nothing to view", "an image, --labels, --truth, --affinities, --skeletons, or a run")
    suffix = shown.suffix
    return [Layer(f"{x.name}{suffix}", x.served, x.drawn, x.box, x.volume, x.meshes) for x in found]


def _image(volume: Volume) -> Layer:
    low, high = contrast(volume)
    shader = f"#uicontrol invlerp normalized(range=[{low:g}, {high:g}])\nvoid main() {{ emitGrayscale(normalized()); }}"
    if volume.axes == "czyx" and volume.shape[0] >= 3:
        shader = f"void main() {{ emitRGB({_rgb(3)}); }}"
    drawn = {"type": "image", "shader": shader, "opacity": 1, "blend": "default"}
    return Layer("image", Pieces(volume), drawn, volume.box, volume)


def contrast(volume: Volume) -> tuple[float, float]:
    """Values between which nearly all of the middle of an image lies."""
    sample = volume.read(central(volume.box, _SAMPLE))
    low, high = (float(v) for v in np.nanpercentile(sample.astype(np.float64), [0.5, 99.5]))
    return (low, high) if high > low else (low, low + 1)


def _affinities(volume: Volume, offsets: Offsets, *, visible: bool) -> Layer:
    channels = shortest(offsets) if offsets else list(range(min(3, volume.shape[0])))
    array = Channels(locked(volume).array, channels)
    three = Volume(array, volume.voxel_size, volume.offset, "czyx", "image", name=volume.name)
    shader = f"void main() {{ emitRGB({_rgb(len(channels))}); }}"
    drawn = {"type": "image", "shader": shader, "opacity": 0.6, "visible": visible}
    return Layer("affinities" if offsets else "prediction", Pieces(three), drawn, volume.box, three)


def shortest(offsets: Offsets) -> list[int]:
    """The channels of the shortest steps along x, y and z, which are shown in red, green and blue."""
    channels = []
    for axis in (2, 1, 0):
        along = {c: abs(o[axis]) for c, o in enumerate(offsets) if o[axis] and not any(np.delete(o, axis))}
        if along:
            channels.append(min(along, key=along.__getitem__))
    return channels or [0]


def _rgb(channels: int) -> str:
    parts = [f"toNormalized(getDataValue({c}))" for c in range(channels)]
    return f"vec3({', '.join(parts if channels > 1 else parts * 3)}{', 0.0' if channels == 2 else ''})"


def _objects(name: str, volume: Volume, settings: ViewConfig, *, visible: bool) -> Layer:
    meshes = meshes_of(volume, settings.mesh_voxels)
    drawn: dict[str, Any] = {"type": "segmentation", "selectedAlpha": 0.35, "notSelectedAlpha": 0.3, "visible": visible}
    folders: dict[str, Served] = {}
    if meshes is not None:
        folders = {"mesh": meshes}
        drawn["segments"] = [str(label) for label in meshes.largest(settings.meshes)]
    served = Pieces(volume, more={"mesh": "mesh"} if meshes else {}, folders=folders)
    return Layer(name, served, drawn, volume.box, volume, meshes)


def _mistakes(classes: Volume) -> Layer:
    drawn = {"type": "image", "shader": mistakes_shader(), "opacity": 1, "tab": "rendering", "codeVisible": False}
    return Layer("mistakes", Pieces(classes), drawn, classes.box, classes)


def mistakes_shader() -> str:
    """Each kind of mistake in the report's colour, with a box of its name to tick, which is the legend."""
    lines = [f"#uicontrol bool {name} checkbox(default=true)" for name in NAMES.values()]
    lines += [f'#uicontrol vec3 {name}_colour color(default="{_hex(kind)}")' for kind, name in NAMES.items()]
    lines += ["void main() {", "  int kind = int(toRaw(getDataValue()));", "  vec4 colour = vec4(0.0);"]
    for kind, name in NAMES.items():
        lines.append(f"  if (kind == {kind} && {name}) colour = vec4({name}_colour, {ERROR_ALPHA[kind]});")
    return "\n".join([*lines, "  emitRGBA(colour);", "}"])


def _hex(kind: int) -> str:
    return "#" + "".join(f"{value:02x}" for value in ERROR_COLOURS[kind])


def _skeletons(given: Mapping[str, Skeleton] | Path) -> Layer:
    drawn: dict[str, Any] = {"type": "segmentation"}
    drawn["skeletonRendering"] = {"mode2d": "lines_and_points", "mode3d": "lines", "lineWidth3d": 3}
    if isinstance(given, Path):
        return Layer("skeletons", Files(_folder(given, _SKELETONS, "skeletons")), drawn)
    files = skeleton_files(given)
    return Layer("skeletons", Memory(files), {**drawn, "segments": [n for n in files if n.isdecimal()]})


def _folder(path: Path, types: tuple[str, ...], what: str) -> Path:
    """The folder, which must hold precomputed data of one of some types."""
    info = path / "info"
    said = read_json(info, "precomputed").get("@type") if info.is_file() else None
    if said not in types:
        got = f"'{path}' is no folder of precomputed {what}" + (f" (its info says {said})" if said else "")
        raise InputError(got, f"a folder whose info says {' or '.join(types)}", f"give the folder of {what} itself")
    return path
