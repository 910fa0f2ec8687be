"""Boxes without an image: as much of a crop as was asked for, in nm, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.config import AugmentConfig
from neuropil.data.augment import apply, draw
from neuropil.data.augment.base import Crop
from neuropil.data.augment.cut_out import CutOut, Gap, cut_out

ISOTROPIC = Crop((40, 48, 56), (8.0, 8.0, 8.0))
SECTIONS = Crop((20, 120, 120), (40.0, 4.0, 4.0))


def _drawn(crop: Crop, **config: object) -> list[CutOut]:
    settings = AugmentConfig(**config)  # type: ignore[arg-type]
    return [op for i in range(60) if (op := cut_out(settings, np.random.default_rng(i), crop)) is not None]


def test_boxes_are_filled_and_nothing_else() -> None:
    image = np.random.default_rng(0).random((6, 8, 10), dtype=np.float32)
    changed = image.copy()
    CutOut((Gap((1, 2, 3), (4, 6, 9), 0.25), Gap((3, 0, 0), (5, 3, 4), 0.0))).change(changed)
    assert (changed[1:3, 2:6, 3:9] == 0.25).all()
    assert not changed[3:5, :3, :4].any()
    hidden = np.zeros(image.shape, bool)
    hidden[1:4, 2:6, 3:9] = hidden[3:5, :3, :4] = True
    np.testing.assert_array_equal(changed[~hidden], image[~hidden])


@pytest.mark.parametrize("crop", [ISOTROPIC, SECTIONS])
def test_volume_and_sides_are_those_asked_for(crop: Crop) -> None:
    plans = _drawn(crop, cut_out=1.0, cut_out_nm=(80.0, 160.0), cut_out_share=(0.2, 0.3))
    assert len(plans) == 60
    for plan in plans:
        boxes = np.array([np.subtract(g.stop, g.start) for g in plan.gaps])
        volume = boxes.prod(1)
        assert volume[:-1].sum() < 0.3 * np.prod(crop.shape)
        assert volume.sum() >= 0.2 * np.prod(crop.shape)
        sides = boxes * crop.voxel_size
        rounding = np.array(crop.voxel_size) / 2
        assert (sides >= 80 - rounding).all()
        assert (sides <= 160 + rounding).all()
        assert all(a >= 0 and b <= n for g in plan.gaps for a, b, n in zip(g.start, g.stop, crop.shape, strict=True))


def test_boxes_never_outgrow_the_crop_and_stay_few() -> None:
    (large, *_) = _drawn(ISOTROPIC, cut_out=1.0, cut_out_nm=(1000.0, 2000.0))
    assert large.gaps[0].stop == ISOTROPIC.shape
    (tiny, *_) = _drawn(ISOTROPIC, cut_out=1.0, cut_out_nm=(1.0, 2.0))
    assert len(tiny.gaps) == 256


def test_a_crop_without_boxes_draws_the_numbers_that_it_always_drew() -> None:
    rng = np.random.default_rng(3)
    assert cut_out(AugmentConfig(), rng, ISOTROPIC) is None
    assert rng.random() == np.random.default_rng(3).random()


@pytest.mark.parametrize("crop", [ISOTROPIC, SECTIONS])
def test_the_strong_set_always_hides_and_the_weak_one_never(crop: Crop) -> None:
    rng = np.random.default_rng(0)
    image = (0.3 + 0.4 * rng.random(crop.shape, dtype=np.float32)).astype(np.float32)
    nothing = np.zeros(crop.shape, np.uint32)
    for name, least, most in (("strong", 0.08, 0.9), ("weak", 0.0, 0.0)):
        config = AugmentConfig(set=name, noise=0.0, intensity=0.0, intensity_section=0.0).only_greys()  # type: ignore[arg-type]
        for i in range(10):
            plan = draw(config, np.random.default_rng(i), crop.shape, crop.voxel_size)
            boxes = [op for op in plan.ops if isinstance(op, CutOut)]
            assert len(boxes) == (name == "strong")
            changed, labels, _ = apply(plan, image, nothing, nothing.astype(bool))
            assert not labels.any()
            hidden = np.zeros(crop.shape, bool)
            for gap in boxes[0].gaps if boxes else ():
                hidden[tuple(slice(a, b) for a, b in zip(gap.start, gap.stop, strict=True))] = True
            assert least <= hidden.mean() <= most
            assert (changed[hidden] != image[hidden]).all()
