"""Where crops come from: several labelled volumes, read by box with the margin that the drawn augmentation asks for.

Sample i depends on the seed and on i only: not on workers, on order, or on what was read before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.config import DataConfig
from neuropil.data.augment import AugmentPlan, apply, draw
from neuropil.data.augment.base import Halo, Image
from neuropil.data.normalise import Normaliser, Readable, fit_normaliser, probes
from neuropil.data.targets import Targets, known_labels
from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Box, Float3, Int3, same_voxel_size
from neuropil.lazy import check_finite
from neuropil.volume import Volume, require_kind, require_same_grid

Sample = dict[str, npt.NDArray[Any]]

#: How often a place is drawn before the best so far is compared with one around a known labelled spot.
_TRIES = 16
#: Voxels along each axis that are skipped when the labelled share of a place is estimated.
_STRIDE: Int3 = (2, 4, 4)
#: Cells in which labelled voxels are counted, and how many along each axis are looked at where nothing is cached.
_CELL: Int3 = (16, 32, 32)
_PROBES = 5


@dataclass(frozen=True)
class InMemory:
    """An array held in memory that reads like a volume."""

    array: npt.NDArray[Any]
    box: Box

    def read(self, box: Box) -> npt.NDArray[Any]:
        """The values inside a box (a view)."""
        return self.array[box.slices(self.box.start)]


@dataclass(frozen=True)
class KnownLabels:
    """Labels that read as compact ids and validity; `annotated` is empty where labels are split on reading."""

    ids: Readable
    annotated: Readable | None
    zero_is_known: bool

    @property
    def box(self) -> Box:
        """All that can be read."""
        return self.ids.box

    def read(self, box: Box) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
        """Ids (uint32) and validity inside a box."""
        ids = self.ids.read(box)
        if self.annotated is not None:
            return ids, self.annotated.read(box)
        ids, valid = known_labels(ids)
        return ids, valid if self.zero_is_known else valid & (ids > 0)


@dataclass(frozen=True)
class Source:
    """One labelled volume, ready to be sampled; made by `prepare`.

    Parameters
    ----------
    region
        Where labels may be learned from; labels elsewhere are not valid.
    cells, counts
        Some boxes inside the region and their labelled voxels.
    weight
        Estimated number of labelled voxels of the region.
    full
        Whether every voxel that was looked at is labelled, so that no place needs checking.
    centres
        Voxels (N, 3) of the region that crops may be centred on; any labelled voxel where empty.
    """

    image: Readable
    labels: KnownLabels
    region: Box
    normaliser: Normaliser
    cells: tuple[Box, ...]
    counts: npt.NDArray[np.float64]
    weight: float
    full: bool
    centres: npt.NDArray[np.int64] | None = None


def split_region(box: Box, config: DataConfig) -> tuple[Box, Box | None]:
    """Cut a labelled box into the part to train on and a slab held back at its far end.

    Parameters
    ----------
    box
        The labels.
    config
        `validation` is the slab's share and `validation_axis` the axis it is cut from (auto: the one with most voxels).
    """
    if config.validation == 0:
        return box, None
    axis = "zyx".index(config.validation_axis) if config.validation_axis != "auto" else int(np.argmax(box.shape))
    cut = box.stop[axis] - max(1, round(box.shape[axis] * config.validation))
    stop, start = list(box.stop), list(box.start)
    stop[axis] = start[axis] = cut
    return Box(box.start, (stop[0], stop[1], stop[2]), box.voxel_size), Box(
        (start[0], start[1], start[2]), box.stop, box.voxel_size
    )


def prepare(
    pairs: Sequence[tuple[Volume, Volume]],
    config: DataConfig,
    *,
    regions: Sequence[Box | None] | None = None,
    normalisers: Sequence[Normaliser] | None = None,
) -> tuple[Source, ...]:
    """Check labelled volumes, cache those that fit in memory, and count what is labelled.

    Parameters
    ----------
    pairs
        (image, labels). They may cover different boxes: the image may be larger.
    config
        Caching, normalisation, and the meaning of label 0.
    regions
        The part of each volume to train on; all labels where empty.
    normalisers
        One for each image; fitted where empty.

    Raises
    ------
    InputError
        If there are no volumes, labels are empty, either is not what it should be, or grey values are not finite.
    GeometryError
        If voxel sizes differ, or labels do not lie within their image.
    """
    if not pairs:
        raise InputError("no training volumes", "at least one image with labels", "give both, in pairs")
    sources, room = [], int(config.cache_gb * 2**30)
    for i, pair in enumerate(pairs):
        image, labels = _checked(*pair, pairs[0][0].voxel_size)
        region = labels.box
        if regions is not None and (chosen := regions[i]) is not None:
            region = region.intersected(chosen)
        normaliser = normalisers[i] if normalisers is not None else fit_normaliser(image, config)
        need = image.box.size * image.dtype.itemsize + labels.box.size * 5
        cached = need <= room
        room -= need if cached else 0
        sources.append(_source(image, labels, region, normaliser, config, cached=cached))
    return tuple(sources)


def _source(
    image: Volume, labels: Volume, region: Box, normaliser: Normaliser, config: DataConfig, *, cached: bool
) -> Source:
    known = KnownLabels(labels, None, config.zero_label == "background")
    pixels: Readable = image
    if cached:
        pixels = InMemory(image.read(image.box), image.box)
        check_finite(pixels.array, image.name)
        ids, valid = known.read(region)
        known = replace(known, ids=InMemory(ids, region), annotated=InMemory(valid, region))
        cells = [b.write for b in region.blocks(_CELL)]
    else:
        cells = probes(region, _CELL, _PROBES)
    counts = np.array([_labelled(known, cell).sum() for cell in cells], np.float64)
    looked_at = sum(cell.size for cell in cells)
    if not counts.any():
        raise InputError(
            f"labels '{labels.name}' hold no object in {region.start}..{region.stop}",
            "labelled voxels to learn from",
            "check the dataset's name, or lower data.validation",
        )
    weight = float(counts.sum()) * region.size / looked_at
    full = bool(counts.sum() == looked_at)
    return Source(pixels, known, region, normaliser, tuple(cells), counts, weight, full, _centres(labels, region))


def _centres(labels: Volume, region: Box) -> npt.NDArray[np.int64] | None:
    """The places inside a region that a truth names to look at, if it names any there."""
    named = labels.attrs.get("centres")
    if not isinstance(named, np.ndarray):
        return None
    found = named[((named >= np.array(region.start)) & (named < np.array(region.stop))).all(axis=1)]
    return found if len(found) else None


def _labelled(labels: KnownLabels, box: Box) -> npt.NDArray[np.bool_]:
    ids, valid = labels.read(box)
    return valid & (ids > 0)


def _checked(image: Volume, labels: Volume, voxel_size: Float3) -> tuple[Volume, Volume]:
    image, labels = require_kind(image, "image"), require_kind(labels, "labels")
    require_same_grid(image, labels)
    if image.axes != "zyx" or labels.axes != "zyx":
        raise InputError(
            f"'{image.name}' and '{labels.name}' with axes '{image.axes}' and '{labels.axes}'",
            "axes 'zyx' for training",
            "name a channel behind the volume, as in 'stack.tif[c=0]'",
        )
    if not same_voxel_size(image.voxel_size, voxel_size):
        raise GeometryError(
            f"'{image.name}' with voxel size {image.voxel_size} nm beside {voxel_size} nm",
            "one voxel size for all training volumes",
            "resample, train separately, or give --voxel-size if the metadata is wrong",
        )
    return image, labels


class Sampler:
    """Makes training sample i, for any i.

    Parameters
    ----------
    sources
        From `prepare`.
    crop
        Voxels z, y, x of the image crop.
    targets
        What is taught of a crop.
    config, seed
        Augmentation and rejection; and the seed of everything.

    Raises
    ------
    InputError
        If a volume is smaller than the crop.
    """

    def __init__(self, sources: Sequence[Source], crop: Int3, targets: Targets, config: DataConfig, seed: int) -> None:
        self.sources, self.crop, self.targets, self.config, self.seed = tuple(sources), crop, targets, config, seed
        self.voxel_size = self.sources[0].region.voxel_size
        self._starts = [_start_range(source, crop) for source in self.sources]
        weights = np.array([source.weight for source in self.sources])
        self._weights = weights / weights.sum()

    def __call__(self, index: int) -> Sample:
        """Sample `index`: image (1, Z, Y, X) float32, and what `targets` makes of its labels."""
        rng = np.random.default_rng((self.seed, index))
        plan = draw(self.config.augment, rng, self.crop, self.voxel_size, self.targets.context)
        which = int(rng.choice(len(self.sources), p=self._weights))
        place = self._place(which, rng)
        image, labels, valid = apply(plan, *read_for(self.sources[which], place, plan))
        return {"image": image[None], **self.targets(labels, valid)}

    def _place(self, which: int, rng: np.random.Generator) -> Box:
        """A place with enough labels; where those are rare, one around a spot that is known to have some."""
        source, (low, high) = self.sources[which], self._starts[which]
        # nothing more is drawn where these are off: samples of older settings stay what they were
        if self.config.centred and rng.random() < self.config.centred:
            return self._centred(which, rng)
        if self.config.anywhere and rng.random() < self.config.anywhere:
            return _box(rng.integers(low, high + 1), self.crop, self.voxel_size)
        best, most = None, -1.0
        for attempt in range(_TRIES + 1):
            if attempt < _TRIES:
                start = rng.integers(low, high + 1)
            else:
                cell = _some_cell(source, rng)
                middle = (np.array(cell.start) + cell.stop - self.crop) // 2
                start = np.clip(middle, low, high)
            box = _box(start, self.crop, self.voxel_size)
            share = 1.0 if source.full and source.region.contains(box) else _labelled_share(source, box)
            if share >= self.config.min_labelled and share > 0:
                return box
            if share > most:
                best, most = box, share
        assert best is not None
        return best

    def _centred(self, which: int, rng: np.random.Generator) -> Box:
        """A place around a centre, which lies anywhere in its middle half: no part of a crop is always labelled."""
        source, (low, high) = self.sources[which], self._starts[which]
        spots = source.centres
        if spots is None:
            cell = _some_cell(source, rng)
            spots = np.argwhere(_labelled(source.labels, cell)) + np.array(cell.start)
        spot = spots[int(rng.integers(len(spots)))]
        quarter = np.array(self.crop) // 4
        start = spot - np.array(self.crop) // 2 + rng.integers(-quarter, quarter + 1)
        return _box(np.clip(start, low, high), self.crop, self.voxel_size)


def _some_cell(source: Source, rng: np.random.Generator) -> Box:
    """A cell with labels, the more likely the more it has."""
    return source.cells[int(rng.choice(len(source.cells), p=source.counts / source.counts.sum()))]


def _start_range(source: Source, crop: Int3) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last start of a crop: inside the region, or, where that is thinner than the crop, around it."""
    low, high = [], []
    for axis, n in enumerate(crop):
        begin, end = source.region.start[axis], source.region.stop[axis]
        outer, limit = source.image.box.start[axis], source.image.box.stop[axis]
        if limit - outer < n:
            raise InputError(
                f"a volume of shape {source.image.box.shape} for crops of {crop}",
                "volumes at least as large as the crop",
                "--recipe auto takes one that fits; or --set data.crop=[…], in multiples of the network's stride",
            )
        first, last = (begin, end - n) if end - begin >= n else (max(end - n, outer), min(begin, limit - n))
        low.append(first)
        high.append(last)
    return np.array(low), np.array(high)


def _labelled_share(source: Source, box: Box) -> float:
    known = box.intersected(source.region)
    if known.size == 0:
        return 0.0
    sparse = _labelled(source.labels, known)[tuple(slice(None, None, s) for s in _STRIDE)]
    return float(sparse.mean()) * known.size / box.size


def read_for(
    source: Source, place: Box, plan: AugmentPlan
) -> tuple[Image, npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """Read what a plan needs to fill a place.

    What lies outside the image is reflected into view. Outside the source's region labels are 0 and not valid.
    """
    raw = read_reflected(source.image, grown(place, plan.image_halo))
    check_finite(raw, f"image near {place.start}")
    image = source.normaliser(raw)
    wanted = grown(place, plan.label_halo)
    known = wanted.intersected(source.region)
    if known == wanted:
        ids, valid = source.labels.read(wanted)
        return image, ids, valid
    labels, valid = np.zeros(wanted.shape, np.uint32), np.zeros(wanted.shape, np.bool_)
    if known.size:
        inside = known.slices(wanted.start)
        labels[inside], valid[inside] = source.labels.read(known)
    return image, labels, valid


def read_reflected(image: Readable, box: Box) -> npt.NDArray[Any]:
    """The values inside a box; what lies outside the image is reflected into view."""
    inside = box.intersected(image.box)
    values = image.read(inside)
    if inside == box:
        return values
    pads = [(a - b, d - c) for a, b, c, d in zip(inside.start, box.start, inside.stop, box.stop, strict=True)]
    return np.pad(values, pads, mode="reflect")


def grown(box: Box, halo: Halo) -> Box:
    """A box with so many voxels more before and after."""
    start = [a - h[0] for a, h in zip(box.start, halo, strict=True)]
    stop = [b + h[1] for b, h in zip(box.stop, halo, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), box.voxel_size)


def random_box(region: Box, shape: Int3, rng: np.random.Generator) -> Box:
    """A box of some shape anywhere inside a region."""
    last = [stop - n for stop, n in zip(region.stop, shape, strict=True)]
    return _box(rng.integers(region.start, last, endpoint=True), shape, region.voxel_size)


def _box(start: npt.NDArray[np.int64], shape: Int3, voxel_size: Float3) -> Box:
    z, y, x = (int(s) for s in start)
    return Box((z, y, x), (z + shape[0], y + shape[1], x + shape[2]), voxel_size)
