"""Augmentation in two halves: `draw` decides (plain data, from a random generator), `apply` does it (exactly, again and
again).

Every entry of `neuropil.registry.AUGMENTATIONS` is a function ``(config, rng, crop) -> change or None``; grey values
change in the order of the table. All changes of place are joined into one coordinate map and resampled once, or not at
all when only flips and exchanged axes were drawn. Values follow the field's practice (gunpowder's MALA and LSD scripts,
DeepEM, PyTC); at most one kind of section defect is drawn for a crop, as in DeepEM.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from neuropil.config import AugmentConfig
from neuropil.data.augment.base import NO_HALO, Crop, Halo, Image, ImageChange, Op, Orientation, Warp
from neuropil.data.augment.resample import Arrays, CoordinateMap, coordinate_map, reach, resample
from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3
from neuropil.registry import AUGMENTATIONS

__all__ = ["AugmentPlan", "apply", "draw"]

K = TypeVar("K")


@dataclass(frozen=True)
class AugmentPlan:
    """What will be done to one crop.

    Parameters
    ----------
    crop
        Shape (voxels), voxel size (nm) and label context of the *result*.
    ops
        The changes, in order.

    Notes
    -----
    `image_halo` and `label_halo` say how far around the crop's place image and labels must be read: the reach of the
    warps, and for labels the context in addition.
    """

    crop: Crop
    ops: tuple[Op, ...] = ()

    def of_kind(self, kind: type[K]) -> tuple[K, ...]:
        """The changes of one kind."""
        return tuple(op for op in self.ops if isinstance(op, kind))

    @property
    def orientation(self) -> Orientation:
        """The drawn orientation, or the one that changes nothing."""
        return next(iter(self.of_kind(Orientation)), Orientation())

    @cached_property
    def _map(self) -> CoordinateMap | None:
        warps = self.of_kind(Warp)  # type: ignore[type-abstract]
        return coordinate_map(warps, self.crop.shape, self._context) if warps else None

    @property
    def _context(self) -> Halo:
        return self.orientation.source_halo(self.crop.context)

    @cached_property
    def image_halo(self) -> Halo:
        """Voxels of image needed before and after the crop's place, for z, y, x."""
        return NO_HALO if self._map is None else _around(NO_HALO, self._reach(NO_HALO))

    @cached_property
    def label_halo(self) -> Halo:
        """Voxels of labels needed before and after the crop's place, for z, y, x."""
        return self._context if self._map is None else _around(self._context, self._reach(self._context))

    def _reach(self, context: Halo) -> Int3:
        assert self._map is not None
        return reach(self._map, self.crop.shape, context)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: to log, or to look at, what was done."""
        return {"crop": self.crop._asdict(), "ops": [{"op": type(op).__name__, **asdict(op)} for op in self.ops]}


def draw(
    config: AugmentConfig, rng: np.random.Generator, shape: Int3, voxel_size: Float3, context: Halo = NO_HALO
) -> AugmentPlan:
    """Decide what happens to one crop.

    Parameters
    ----------
    config
        How often and how strongly.
    rng
        The only source of randomness.
    shape, voxel_size
        The crop: voxels and nm, z, y, x.
    context
        Voxels before and after the crop, for z, y, x, in which the *result* must have labels too.

    Returns
    -------
    AugmentPlan
    """
    crop = Crop(shape, voxel_size, context)
    drawn = [op for function in _functions(config.extra) if (op := function(config, rng, crop)) is not None]
    defects = sorted({type(op).__name__ for op in drawn if op.defect})
    if len(defects) > 1:
        kept = defects[int(rng.integers(len(defects)))]
        drawn = [op for op in drawn if not op.defect or type(op).__name__ == kept]
    return AugmentPlan(crop, tuple(drawn))


@cache
def _functions(extra: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(AUGMENTATIONS.resolve(name) for name in (*AUGMENTATIONS, *extra))


def apply(
    plan: AugmentPlan, image_ZYX: Image, labels_ZYX: npt.NDArray[np.uint32], valid_ZYX: npt.NDArray[np.bool_]
) -> tuple[Image, npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """Do what a plan says.

    Parameters
    ----------
    image_ZYX
        float32, the crop's place grown by `plan.image_halo`.
    labels_ZYX, valid_ZYX
        uint32 and bool, the crop's place grown by `plan.label_halo`.

    Returns
    -------
    image, labels, valid
        New contiguous arrays: the image has the shape of the crop; labels and validity have its context in addition.

    Raises
    ------
    InputError
        If an array does not have the shape that the plan asks for.
    """
    halos = (plan.image_halo, plan.label_halo)
    for name, array, halo in zip(
        ("image", "labels", "valid"), (image_ZYX, labels_ZYX, valid_ZYX), (*halos, halos[1]), strict=True
    ):
        expected = tuple(n + a + b for n, (a, b) in zip(plan.crop.shape, halo, strict=True))
        if array.shape != expected:
            raise InputError(
                f"{name} of shape {array.shape} for a plan", f"shape {expected}", "grow the crop by its halo"
            )
    arrays = Arrays(image_ZYX, labels_ZYX, valid_ZYX)
    if plan._map is not None:
        arrays = resample(arrays, halos, plan._map, plan.crop.shape, plan._context)
    image, labels, valid = (np.array(plan.orientation.view(a), order="C") for a in arrays)
    for change in plan.of_kind(ImageChange):  # type: ignore[type-abstract]
        change.change(image)
    return image, labels, valid


def _around(context: Halo, margin: Int3) -> Halo:
    z, y, x = ((a + m, b + m) for (a, b), m in zip(context, margin, strict=True))
    return z, y, x
