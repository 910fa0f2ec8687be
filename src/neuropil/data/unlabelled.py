"""Crops without labels, for pretraining: several volumes, sampled by weight; each batch is from one of them.

Volumes may differ in voxel size; a crop has the same number of voxels in all of them and says how large they are.
Sample i depends on the seed and on i only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from neuropil.config import AugmentConfig, DataConfig
from neuropil.data.augment import apply, draw
from neuropil.data.augment.base import NO_HALO, Halo, Image
from neuropil.data.normalise import Normaliser, Readable
from neuropil.data.sampling import InMemory, Sample, grown, random_box, read_reflected
from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Box, Float3, Int3
from neuropil.lazy import check_finite
from neuropil.volume import Volume

#: Pretexts that look at one image of a crop.
NO_VIEWS: Mapping[str, AugmentConfig] = MappingProxyType({})


@dataclass(frozen=True)
class RawSource:
    """One volume without labels, ready to be sampled; made by `prepare_raw`.

    Parameters
    ----------
    image
        Grey values, in memory where they fit.
    region
        Where crops may lie.
    normaliser
        Grey values to 0..1.
    weight
        How often it is drawn, relative to the others.
    """

    image: Readable
    region: Box
    normaliser: Normaliser
    weight: float


def prepare_raw(
    images: Sequence[Volume],
    config: DataConfig,
    *,
    regions: Sequence[Box],
    normalisers: Sequence[Normaliser],
    weights: Sequence[float] | None,
) -> tuple[RawSource, ...]:
    """Cache the volumes that fit in memory.

    Parameters
    ----------
    images
        Volumes of grey values.
    regions, normalisers
        One for each.
    weights
        One for each; the number of voxels when None.

    Raises
    ------
    ConfigError
        If there is not one positive weight for each volume.
    InputError
        If there are no volumes, or grey values are not finite.
    """
    if not images:
        raise InputError("no volumes to pretrain on", "at least one --image", "give one or several --image")
    shares = [float(r.size) for r in regions] if weights is None else list(weights)
    if len(shares) != len(images) or min(shares) <= 0:
        raise ConfigError(
            f"pretrain.weights = {shares}",
            f"{len(images)} positive numbers, one for each --image",
            "leave pretrain.weights out to weigh by size",
        )
    found, room = [], int(config.cache_gb * 2**30)
    for image, region, normaliser, weight in zip(images, regions, normalisers, shares, strict=True):
        need = region.size * image.dtype.itemsize
        held: Readable = image
        if need <= room:
            room -= need
            values = image.read(region)
            check_finite(values, image.name)
            held = InMemory(values, region)
        found.append(RawSource(held, region, normaliser, weight))
    return tuple(found)


class RawSampler:
    """Makes sample i without labels, for any i.

    Parameters
    ----------
    sources
        From `prepare_raw`.
    crop
        Voxels z, y, x.
    config, seed
        Augmentation of grey values and orientation; and the seed of everything.
    batch
        Samples ``k * batch … (k + 1) * batch - 1`` are of one volume.
    views
        Further images of each crop by name, and how their grey values differ. Where there are any, the crop itself
        changes its place only, so that all of them lie alike and the crop is clean.

    Raises
    ------
    InputError
        If a volume is smaller than the crop.
    """

    def __init__(
        self,
        sources: Sequence[RawSource],
        crop: Int3,
        config: DataConfig,
        seed: int,
        *,
        batch: int,
        views: Mapping[str, AugmentConfig] = NO_VIEWS,
    ) -> None:
        self.sources, self.crop, self.config, self.seed, self._batch = tuple(sources), crop, config, seed, batch
        self._augment = config.augment.only_places() if views else config.augment
        self._views = {name: settings.only_greys() for name, settings in views.items()}
        for source in self.sources:
            if any(n < c for n, c in zip(source.region.shape, crop, strict=True)):
                raise InputError(
                    f"a region of shape {source.region.shape} for crops of {crop}",
                    "volumes at least as large as the crop",
                    "set data.crop to a smaller shape (multiples of the patch and of the network's stride)",
                )
        weights = np.array([source.weight for source in self.sources])
        self._weights = weights / weights.sum()

    def __call__(self, index: int) -> Sample:
        """Sample `index`: image and views (1, Z, Y, X) float32, and voxel_size (3,) float32, nm."""
        turn = np.random.default_rng((self.seed, 1, index // self._batch))
        source = self.sources[int(turn.choice(len(self.sources), p=self._weights))]
        rng = np.random.default_rng((self.seed, 0, index))
        voxel_size: Float3 = source.region.voxel_size
        plan = draw(self._augment, rng, self.crop, voxel_size, NO_HALO)
        place = random_box(source.region, self.crop, rng)
        image = _read(source, place, plan.image_halo)
        nothing = np.zeros(tuple(n + a + b for n, (a, b) in zip(self.crop, plan.label_halo, strict=True)), np.uint32)
        changed, _, _ = apply(plan, image, nothing, nothing.astype(np.bool_))
        views = {
            name: self._view(changed, settings, voxel_size, (self.seed, 2 + number, index))[None]
            for number, (name, settings) in enumerate(self._views.items())
        }
        return {"image": changed[None], **views, "voxel_size": np.array(voxel_size, np.float32)}

    def _view(self, image_ZYX: Image, config: AugmentConfig, voxel_size: Float3, seed: tuple[int, int, int]) -> Image:
        plan = draw(config, np.random.default_rng(seed), self.crop, voxel_size, NO_HALO)
        nothing = np.zeros(self.crop, np.uint32)
        changed, _, _ = apply(plan, image_ZYX, nothing, nothing.astype(np.bool_))
        return changed


def _read(source: RawSource, place: Box, halo: Halo) -> npt.NDArray[np.float32]:
    raw = read_reflected(source.image, grown(place, halo))
    if not isinstance(source.image, InMemory):
        check_finite(raw, f"image near {place.start}")
    return source.normaliser(raw)
