"""What can be measured of volumes and their labels before anything is learned; names of files say nothing here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cc3d
import numpy as np
import numpy.typing as npt

from neuropil.data.normalise import probes
from neuropil.data.targets import known_labels
from neuropil.errors import InputError
from neuropil.geometry import Box, Float3, Int3
from neuropil.lazy import check_finite
from neuropil.volume import Volume

Truth = Literal["trees", "mask", "classes", "instances"]

#: What is looked at of a volume: blocks of at most so many voxels, spread over it, so many along each axis.
_BLOCK: Int3 = (64, 256, 256)
_PROBES = 2
#: Grey values outside of these percentiles are ends of the range.
_PERCENTILES = (0.5, 99.5)
#: Ids above which labels are instances, whatever their pieces; and pieces of an id from which it is a class.
_FEW_IDS, _PIECES = 12, 8
#: Smaller pieces are dust.
_DUST = 27


@dataclass(frozen=True)
class ImageFacts:
    """What images are like.

    Parameters
    ----------
    level
        Where the median grey value lies between the darkest (0) and the brightest (1) ones: tissue in an electron
        microscope fills the range, dyes leave most of it dark.
    voxel_size
        nm, z, y, x.
    shapes
        Voxels of each volume.
    bytes
        Of all images, as stored in memory.
    """

    level: float
    voxel_size: Float3
    shapes: tuple[Int3, ...]
    bytes: int

    @property
    def anisotropy(self) -> float:
        """How many times thicker a section is than a pixel is wide."""
        return self.voxel_size[0] / min(self.voxel_size[1:])

    @property
    def flat(self) -> bool:
        """Whether all images are one voxel deep."""
        return all(shape[0] == 1 for shape in self.shapes)


@dataclass(frozen=True)
class LabelFacts:
    """What labels are like.

    Parameters
    ----------
    truth
        Trees; a mask (one id); classes (few ids, each in many pieces); or instances.
    ids
        Distinct ids of objects that were seen.
    labelled
        Share of the voxels that belong to an object.
    annotated
        Share of the voxels that are not marked as unknown.
    crossing
        Share of the labelled voxels whose object reaches two opposite faces of the block it was seen in.
    voxels
        Labelled voxels of all volumes, estimated.
    regions
        Voxels z, y, x of the labelled box of each volume.
    """

    truth: Truth
    ids: int
    labelled: float
    annotated: float
    crossing: float
    voxels: int
    regions: tuple[Int3, ...]


def image_facts(images: Sequence[Volume]) -> ImageFacts:
    """Look at images: some blocks of each.

    Raises
    ------
    InputError
        If there are none, or all grey values are the same.
    """
    if not images:
        raise InputError("no volumes to choose a recipe from", "at least one image", "give --image")
    levels = [_level(image) for image in images]
    return ImageFacts(
        level=float(np.median(levels)),
        voxel_size=images[0].voxel_size,
        shapes=tuple(image.box.shape for image in images),
        bytes=sum(image.box.size * image.dtype.itemsize for image in images),
    )


def _level(image: Volume) -> float:
    values = np.concatenate([image.read(box).ravel() for box in looked_at(image.box)])
    check_finite(values, image.name)
    low, middle, high = np.percentile(values, (_PERCENTILES[0], 50, _PERCENTILES[1]))
    if not high > low:  # mostly empty
        low, high = values.min(), values.max()
    if not high > low:
        raise InputError(
            f"'{image.name}' has one grey value only ({low:g}) where it was looked at",
            "an image with contrast",
            "check the dataset's name: neuropil info IMAGE",
        )
    return float((middle - low) / (high - low))


def looked_at(box: Box) -> list[Box]:
    """Blocks spread over a box; all of it where it is small."""
    z, y, x = (min(b, n) for b, n in zip(_BLOCK, box.shape, strict=True))
    return list(probes(box, (z, y, x), _PROBES))


def label_facts(labels: Sequence[Volume]) -> LabelFacts:
    """Look at label volumes: some blocks of each; of trees (`attrs["centres"]`) only the amount of cable is measured.

    Raises
    ------
    InputError
        If no object is seen anywhere.
    """
    regions = tuple(volume.box.shape for volume in labels)
    if all("centres" in volume.attrs for volume in labels):
        voxels = sum(len(volume.attrs["centres"]) for volume in labels)
        share = voxels / sum(volume.box.size for volume in labels)
        return LabelFacts("trees", len(labels), share, 1.0, 1.0, voxels, regions)
    seen = [_block_facts(volume.read(box)) for volume in labels for box in looked_at(volume.box)]
    looked = sum(found["size"] for found in seen)
    inside = sum(found["inside"] for found in seen)
    if not inside:
        raise InputError(
            "labels without an object in all that was looked at",
            "labelled voxels to learn from",
            "check the dataset's name, or give the recipe yourself, for example --recipe em_neurons",
        )
    ids = set().union(*(found["ids"] for found in seen))
    per_id = np.concatenate([found["pieces"] for found in seen])
    size = sum(volume.box.size for volume in labels)
    return LabelFacts(
        truth=_truth(len(ids), float(np.median(per_id))),
        ids=len(ids),
        labelled=inside / looked,
        annotated=sum(found["annotated"] for found in seen) / looked,
        crossing=sum(found["crossing"] for found in seen) / inside,
        voxels=round(size * inside / looked),
        regions=regions,
    )


def _truth(ids: int, pieces: float) -> Truth:
    if ids == 1:
        return "mask"
    return "classes" if ids <= _FEW_IDS and pieces >= _PIECES else "instances"


def _block_facts(labels_ZYX: npt.NDArray[Any]) -> dict[str, Any]:
    ids_ZYX, known_ZYX = known_labels(labels_ZYX)
    pieces_ZYX = np.asarray(cc3d.connected_components(ids_ZYX, connectivity=26))
    sizes = np.bincount(pieces_ZYX.ravel())
    first = np.zeros(len(sizes), ids_ZYX.dtype)
    first[pieces_ZYX.ravel()] = ids_ZYX.ravel()  # every voxel of a piece has its id
    large = np.flatnonzero((first > 0) & (sizes >= _DUST))
    found, counts = np.unique(first[large], return_counts=True)
    return {
        "size": ids_ZYX.size,
        "inside": int((ids_ZYX > 0).sum()),
        "annotated": int(known_ZYX.sum()),
        # compact ids are counted in each block by themselves, so the stored ones are what is distinct
        "ids": set(np.unique(labels_ZYX[ids_ZYX > 0]).tolist()),
        "pieces": counts if len(found) else np.array([1]),
        "crossing": _crossing(ids_ZYX),
    }


def _crossing(ids_ZYX: npt.NDArray[Any]) -> int:
    """Voxels of objects that reach two opposite faces of a block."""
    through = np.zeros(int(ids_ZYX.max(initial=0)) + 1, bool)
    for axis in range(3):
        if ids_ZYX.shape[axis] > 1:
            through[np.intersect1d(np.take(ids_ZYX, 0, axis), np.take(ids_ZYX, -1, axis))] = True
    through[0] = False
    return int(through[ids_ZYX].sum())
