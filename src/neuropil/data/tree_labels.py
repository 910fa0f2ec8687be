"""Trees, or masks, as one label volume whose ids are classes; and what a network is taught of them.

Everything that a voxel can be is one number, so that whatever moves voxels moves foreground, shell and centreline
together. Of trees the volume is drawn when a box of it is read: nothing the size of the image is held.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.config import Config
from neuropil.config.tree_targets import TreeTargetConfig
from neuropil.data.augment.base import NO_HALO, Halo
from neuropil.data.targets import known_labels
from neuropil.data.trees import rasterised
from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Box, Float3, Int3
from neuropil.io.swc import SUFFIXES, UNITS, UnstatedUnit, examine_swc
from neuropil.lazy import only_section
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume, VolumeLike, as_volume, require_kind

#: Ids: of the foreground, with and without centreline; near a surface, where it is not known; and the centreline where
#: it leaves the foreground.
INSIDE, MIDDLE, SHELL, BESIDE = 1, 2, 3, 4
#: Trees are drawn in pieces of so many voxels, to bound memory.
_PIECE: Int3 = (64, 256, 256)
#: Crops are centred on places this many finest voxel edges of cable apart.
_STEP = 4.0

Labels = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DrawnTrees:
    """An array (Z, Y, X) of classes, drawn when it is read.

    Parameters
    ----------
    skeletons
        In nm.
    box
        Its voxels.
    config
        How trees become voxels.
    """

    skeletons: tuple[Skeleton, ...]
    box: Box
    config: TreeTargetConfig

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels."""
        return self.box.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the classes."""
        return np.dtype(np.uint8)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[np.uint8]:
        z, y, x = (k.start + a for k, a in zip(key, self.box.start, strict=True))
        end_z, end_y, end_x = (k.stop + a for k, a in zip(key, self.box.start, strict=True))
        asked = Box((z, y, x), (end_z, end_y, end_x), self.box.voxel_size)
        out = np.empty(asked.shape, np.uint8)
        for block in asked.blocks(_PIECE):
            out[block.write.slices(asked.start)] = classes(self.skeletons, block.write, self.config)
        return out


@dataclass(frozen=True)
class TreeVoxels:
    """Teaches foreground and centreline: "targets" (2, Z, Y, X) float32 and "valid" uint8."""

    context: Halo = NO_HALO

    def __call__(self, labels_ZYX: Labels, valid_ZYX: Mask) -> dict[str, npt.NDArray[Any]]:
        """See `neuropil.data.targets.Targets`."""
        middle = (labels_ZYX == MIDDLE) | (labels_ZYX == BESIDE)
        foreground = (labels_ZYX == INSIDE) | (labels_ZYX == MIDDLE)
        known = (valid_ZYX & (labels_ZYX < SHELL), valid_ZYX & (labels_ZYX != SHELL))
        return {
            "targets": np.stack([foreground, middle]).astype(np.float32),
            "valid": np.stack(known).view(np.uint8),
        }


def classes(skeletons: Sequence[Skeleton], box: Box, config: TreeTargetConfig) -> npt.NDArray[np.uint8]:
    """The class (Z, Y, X) of every voxel of a box; see `neuropil.data.trees.rasterised`."""
    drawn = rasterised(skeletons, box, config)
    inside, middle = drawn.foreground_ZYX, drawn.centreline_ZYX
    return np.select(
        [inside & middle, inside, middle, drawn.ignore_ZYX],
        [np.uint8(c) for c in (MIDDLE, INSIDE, BESIDE, SHELL)],
        np.uint8(0),
    )


def tree_labels(given: VolumeLike, image: Volume, voxel_size: Float3 | None, config: Config) -> Volume:
    """The classes of an image's voxels, from an SWC file, a folder of them, or labels.

    Of labels everything above 0 is foreground. Its centreline is thinned from it, in memory, and there is no shell.

    Parameters
    ----------
    given
        A path, or a label volume.
    image
        Whose grid it is. Trees in voxels are counted from its first voxel. An image of one section is a projection: it
        shows the nodes of all depths.

    Raises
    ------
    VolumeError
        If a file cannot be read.
    InputError
        If no file says its unit, or no node lies in the image.
    """
    files = _swc_files(given)
    if not files:
        return _of_labels(given, voxel_size, config.trees.targets)
    skeletons = tuple(_read(file, image, config) for file in files)
    if only_section(image.array, image.axes):
        skeletons = _projected(skeletons, image, str(given))
    array = DrawnTrees(skeletons, image.box, config.trees.targets)
    centres = _places(skeletons, image.box)
    if not len(centres):
        raise InputError(
            f"'{given}' has no node inside '{image.name}' ({_extent(skeletons)}; the image ends at {_end(image)} nm)",
            "a tree that lies on its image",
            "look for shifts, flips and wrong units: neuropil doctor TREE.swc --image IMAGE",
        )
    attrs = {"centres": centres}
    return Volume(array, image.voxel_size, image.offset, "zyx", "labels", attrs=attrs, name=str(given))


def _swc_files(given: VolumeLike) -> list[Path]:
    """The SWC files that a path names, none for anything else."""
    if not isinstance(given, str | os.PathLike):
        return []
    path = Path(given)
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    return [path] if path.suffix.lower() in SUFFIXES else []


def _read(file: Path, image: Volume, config: Config) -> Skeleton:
    try:
        skeleton, report = examine_swc(file, default_units=config.trees.units, voxel_size=image.voxel_size)
    except UnstatedUnit as error:
        raise InputError(
            error.got,
            "one of " + ", ".join(UNITS),
            "--set trees.units=voxel (or um, or nm), or begin the file with the line '# unit: voxel'; which it is says "
            "neuropil doctor TREE.swc --image IMAGE",
        ) from None
    for note in filter(None, (report.unit_note, report.change_note)):
        print(f"note: {note}", file=sys.stderr)
    if report.unit != "voxel":
        return skeleton
    return replace(skeleton, nodes_nm=skeleton.nodes_nm + np.array(image.box.offset_nm))


def _projected(skeletons: tuple[Skeleton, ...], image: Volume, name: str) -> tuple[Skeleton, ...]:
    """The trees in the image's only section, which is said where they left it."""
    size, section = image.voxel_size[0], image.box.start[0]
    if any((np.floor(tree.nodes_nm[:, 0] / size) != section).any() for tree in skeletons):
        print(
            f"note: '{image.name}' has one section and counts as a projection: nodes of '{name}' at all depths are "
            "learned from",
            file=sys.stderr,
        )
    return tuple(tree.projected((section + 0.5) * size) for tree in skeletons)


def _of_labels(given: VolumeLike, voxel_size: Float3 | None, config: TreeTargetConfig) -> Volume:
    volume = as_volume(given, voxel_size=voxel_size)
    stated_mask = volume.kind_stated and volume.kind == "mask"
    labels = volume.with_kind("labels") if stated_mask else require_kind(volume, "labels")
    if labels.axes != "zyx":
        raise GeometryError(
            f"{labels.name}: axes '{labels.axes}'",
            "one channel, z, y, x",
            "name it behind the labels, as in 'mask.tif[c=0]'",
        )
    from scipy import ndimage
    from skimage.morphology import skeletonize

    ids, valid = known_labels(labels.numpy())
    inside = ids > 0
    line = skeletonize(inside) if inside.any() else inside  # type: ignore[no-untyped-call]
    if config.centreline_dilation:
        line = ndimage.binary_dilation(line, iterations=config.centreline_dilation)
    found = np.select([~valid, inside & line, inside], [np.uint8(c) for c in (SHELL, MIDDLE, INSIDE)], np.uint8(0))
    return Volume(found, labels.voxel_size, labels.offset, "zyx", "labels", attrs=labels.attrs, name=labels.name)


def _places(skeletons: Sequence[Skeleton], box: Box) -> npt.NDArray[np.int64]:
    """Voxels (N, 3) of a box that trees run through, evenly spaced along their cable."""
    step = _STEP * min(box.voxel_size)
    nodes = np.concatenate([skeleton.resampled(step).nodes_nm for skeleton in skeletons])
    voxels = np.floor(nodes / np.array(box.voxel_size)).astype(np.int64)
    inside = ((voxels >= np.array(box.start)) & (voxels < np.array(box.stop))).all(axis=1)
    found: npt.NDArray[np.int64] = voxels[inside]
    return found


def _extent(skeletons: Sequence[Skeleton]) -> str:
    nodes = np.concatenate([skeleton.nodes_nm for skeleton in skeletons])
    low, high = (tuple(round(float(v)) for v in end) for end in (nodes.min(axis=0), nodes.max(axis=0)))
    return f"nodes from {low} to {high} nm"


def _end(image: Volume) -> tuple[int, ...]:
    return tuple(round(stop * size) for stop, size in zip(image.box.stop, image.voxel_size, strict=True))
