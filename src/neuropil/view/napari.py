"""What napari asks of us: to read volumes and trees that are dropped onto it, to save layers, to show what we have.

`napari.yaml` names these functions; napari itself is imported only to open its window.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import ConfigError, InputError
from neuropil.io import save_volume
from neuropil.io.swc import SUFFIXES, read_swc
from neuropil.registry import FORMATS
from neuropil.report.colours import ERROR_ALPHA, ERROR_COLOURS
from neuropil.skeleton import Skeleton
from neuropil.view.layers import Shown, contrast
from neuropil.view.mistakes import NAMES, mistakes
from neuropil.volume import Volume, open_volume

#: Voxels of an image that are read at once to show it in space: what is larger is shown section by section.
IN_SPACE = 2**27
#: What napari calls a layer: data, how it is shown, and its type.
LayerData = tuple[Any, dict[str, Any], str]


class LazyArray:
    """A volume's array as napari indexes it: with whole numbers and slices, reading only what is asked for."""

    def __init__(self, volume: Volume) -> None:
        self.volume, self.shape, self.dtype, self.ndim = volume, volume.shape, volume.dtype, volume.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        asked = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in asked:
            at = asked.index(Ellipsis)
            asked[at : at + 1] = [slice(None)] * (self.ndim - len(asked) + 1)
        asked += [slice(None)] * (self.ndim - len(asked))
        slices: list[slice] = []
        within: list[slice | int] = []
        for wanted, extent in zip(asked, self.shape, strict=True):
            if isinstance(wanted, slice):
                start, stop, step = wanted.indices(extent)
                low, high = (start, max(start, stop)) if step > 0 else (min(start, stop) + 1, start + 1)
                slices.append(slice(low, high))
                within.append(slice(None, None, step))
            else:
                place = int(wanted) + (extent if wanted < 0 else 0)
                if not 0 <= place < extent:
                    raise IndexError(f"index {wanted} for an axis of {extent}")
                slices.append(slice(place, place + 1))
                within.append(0)
        return np.asarray(self.volume.array[tuple(slices)], self.dtype)[tuple(within)]

    def __array__(self, *words: Any, **more: Any) -> npt.NDArray[Any]:
        return np.array(self[...], *words, **more)


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerData]] | None:
    """A function that reads this, or None for what is no volume or tree of a known format."""
    if not isinstance(path, str):
        return None
    if Path(path).suffix.lower() in SUFFIXES:
        return read_tree
    suffix = Path(path).suffix.lower()
    return read_volume if suffix and any(suffix in FORMATS.resolve(name).suffixes for name in FORMATS) else None


def read_volume(path: str) -> list[LayerData]:
    """A volume as one layer, read where napari shows it."""
    return [layer(open_volume(path))]


def read_tree(path: str) -> list[LayerData]:
    """A tree as a layer of its edges."""
    return [edges(Path(path).stem, read_swc(path))]


def layer(volume: Volume, name: str | None = None, **shown: Any) -> LayerData:
    """A volume as a layer in nm, on its voxel size and in its place (napari counts from the middle of a voxel)."""
    lead = [1.0] if volume.axes == "czyx" else []
    middle = [o + v / 2 for o, v in zip(volume.box.offset_nm, volume.voxel_size, strict=True)]
    words: dict[str, Any] = {"name": name or volume.name, "scale": [*lead, *volume.voxel_size]}
    words |= {"translate": [*([0.0] * len(lead)), *middle], **shown}
    if volume.kind in ("labels", "mask"):
        data = LazyArray(volume)
        # a layer of labels holds whole numbers only
        return np.asarray(data, np.uint8) if volume.dtype.kind == "b" else data, words, "labels"
    return LazyArray(volume), {"contrast_limits": contrast(volume), **words}, "image"


def edges(name: str, skeleton: Skeleton) -> LayerData:
    """A skeleton as arrows (E, 2, 3) from child to parent, z, y, x in nm: where one begins, and the way from there."""
    lines = skeleton.nodes_nm[skeleton.edges]
    lines[:, 1] -= lines[:, 0]
    width = max(1.0, float(np.median(skeleton.radius_nm))) if len(skeleton.radius_nm) else 1.0
    shown = {"edge_color": "orange", "vector_style": "line", "projection_mode": "all"}
    return lines, {"name": name, "edge_width": width, **shown}, "vectors"


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a layer of grey values; its `scale` is the voxel size in nm."""
    return _write(path, data, meta, "image")


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a layer of labels; its `scale` is the voxel size in nm."""
    return _write(path, data, meta, "labels")


def show(shown: Sequence[Shown]) -> None:
    """Show it in napari, until its window is closed.

    Raises
    ------
    ConfigError
        If napari is not installed.
    """
    try:
        library = importlib.import_module("napari")
    except ImportError as error:
        raise ConfigError(
            f"the package 'napari' cannot be imported ({error})",
            "an installed napari",
            "pip install 'neuropil[napari]', or look in the browser without --napari",
        ) from None
    viewer = library.Viewer(title="neuropil")
    for data, words, kind in (entry for one in shown for entry in layers(one)):
        getattr(viewer, f"add_{kind}")(data, **words)
    if any(one.skeletons for one in shown) and all(in_space(one) for one in shown):
        viewer.dims.ndisplay = 3
    library.run()


def in_space(shown: Shown) -> bool:
    """Whether all three axes are shown at once: a tree has no labels in its way, its image may be read whole."""
    image = shown.image
    return shown.labels is None and shown.truth is None and (image is None or image.box.size < IN_SPACE)


def layers(shown: Shown) -> list[LayerData]:
    """The layers of what is to be seen, from the bottom to the top.

    Raises
    ------
    InputError
        If it is a folder of precomputed skeletons or meshes, which napari does not read.
    """
    if shown.meshes is not None or isinstance(shown.skeletons, Path):
        raise InputError("precomputed meshes or skeletons with --napari", "SWC files", "look at them without --napari")
    found = [] if shown.image is None else [layer(shown.image, "image")]
    if shown.affinities is not None:
        found.append(layer(shown.affinities, f"affinities{shown.suffix}", visible=False))
    both = shown.labels is not None and shown.truth is not None
    for name, volume in (("truth", shown.truth), ("labels", shown.labels)):
        if volume is not None:
            seen = name == "labels" or not shown.labels
            # beneath mistakes, colours of objects would be taken for those of mistakes
            found.append(layer(volume, name + shown.suffix, opacity=0.12 if both else 0.4, visible=seen))
    if shown.labels is not None and shown.truth is not None:
        classes = mistakes(shown.truth, shown.labels)
        found.append(layer(classes, f"mistakes{shown.suffix}", opacity=1.0, colormap=mistake_colours()))
    return found + [edges(name, one) for name, one in (shown.skeletons or {}).items()]


def mistake_colours() -> dict[int | None, tuple[float, float, float, float]]:
    """The report's colour of each class of mistake, red, green, blue, opacity; everything else is clear."""
    colours: dict[int | None, tuple[float, float, float, float]] = {None: (0.0, 0.0, 0.0, 0.0)}
    for kind in NAMES:
        red, green, blue = (value / 255 for value in ERROR_COLOURS[kind])
        colours[kind] = (red, green, blue, ERROR_ALPHA[kind])
    return colours


def _write(path: str, data: Any, meta: dict[str, Any], kind: str) -> list[str]:
    size = [float(v) for v in meta.get("scale", ())][-3:]
    if np.ndim(data) != 3 or len(size) != 3:
        raise InputError(f"a layer of {np.ndim(data)} axes and scale {size}", "three axes z, y, x, scale in nm")
    middle = [float(v) for v in meta.get("translate", ())][-3:]
    # a layer that was made in napari and never placed has zeros: half a voxel before the world, on no grid
    offset = [m - s / 2 for m, s in zip(middle, size, strict=True)] if any(middle) else [0.0] * 3
    volume = Volume(np.asarray(data), size, offset, "zyx", kind, name=str(meta.get("name", kind)))
    save_volume(volume, path)
    return [os.fspath(path)]
