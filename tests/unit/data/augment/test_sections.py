import numpy as np
import pytest
from scipy import ndimage

from neuropil.config import AugmentConfig
from neuropil.data.augment.base import Crop
from neuropil.data.augment.sections import (
    Defocus,
    Fold,
    Folded,
    Hole,
    LowContrast,
    Missing,
    defocus,
    fold,
    low_contrast,
    missing,
)

CROP = Crop((20, 24, 32), (40.0, 4.0, 4.0))
GIVEN = np.random.default_rng(0).random(CROP.shape, dtype=np.float32)


def changed(op):
    out = GIVEN.copy()
    op.change(out)
    return out


def drawn(function, **config):
    settings = AugmentConfig(**config)
    return [op for i in range(100) if (op := function(settings, np.random.default_rng(i), CROP)) is not None]


def untouched(out, sections):
    keep = [z for z in range(20) if z not in sections]
    np.testing.assert_array_equal(out[keep], GIVEN[keep])


def test_missing_sections_are_filled():
    out = changed(Missing((Hole(3, (0, 0), (24, 32), 0.0), Hole(7, (2, 4), (10, 20), 0.4))))
    assert not out[3].any()
    assert (out[7, 2:10, 4:20] == np.float32(0.4)).all()
    np.testing.assert_array_equal(out[7, 10:], GIVEN[7, 10:])
    untouched(out, {3, 7})


def test_pale_sections_keep_their_mean():
    out = changed(LowContrast((5,), 0.3))
    assert out[5].mean() == pytest.approx(GIVEN[5].mean(), abs=1e-5)
    assert out[5].std() == pytest.approx(0.3 * GIVEN[5].std(), rel=1e-3)
    untouched(out, {5})


def test_sections_out_of_focus_are_blurred_in_their_plane():
    out = changed(Defocus((2, 9), (1.0, 2.0)))
    for z, sigma in ((2, 1.0), (9, 2.0)):
        radius = round(2.5 * sigma)
        expected = ndimage.gaussian_filter(GIVEN[z].astype(float), sigma, mode="nearest", radius=radius)
        np.testing.assert_allclose(out[z], expected, atol=1e-5)
    untouched(out, {2, 9})


def test_rates_are_per_section():
    holes = [hole for op in drawn(missing, missing_section=0.2, missing_partial=0.25) for hole in op.holes]
    assert len(holes) == pytest.approx(400, abs=60)
    partial = [hole for hole in holes if (hole.start, hole.stop) != ((0, 0), (24, 32))]
    assert len(partial) == pytest.approx(100, abs=35)
    for hole in partial:
        for a, b, n in zip(hole.start, hole.stop, (24, 32), strict=True):
            assert 0 <= a < b <= n
            assert 0.25 * n - 1 <= b - a <= 0.75 * n + 1
    assert sum(hole.value == 0 for hole in holes) == pytest.approx(len(holes) / 2, abs=45)
    assert sum(len(op.sections) for op in drawn(low_contrast, low_contrast_section=0.1)) == pytest.approx(200, abs=45)
    assert sum(len(op.sections) for op in drawn(defocus, defocus_section=0.1)) == pytest.approx(200, abs=45)


@pytest.mark.parametrize("function", [missing, low_contrast, defocus])
def test_no_defects_where_z_is_no_section_axis(function):
    config = AugmentConfig(missing_section=1, low_contrast_section=1, defocus_section=1)
    assert function(config, np.random.default_rng(0), Crop((8, 8, 8), (8.0, 8.0, 8.0))) is None


def test_a_fold_swallows_tissue_on_both_sides_of_a_black_line():
    """On a ramp the grey value tells the place: beside the line stands what lay `loss` voxels off, far away what lay there."""
    ramp = np.broadcast_to(np.arange(400, dtype=np.float32) / 400 + 0.1, (3, 24, 400)).copy()
    given = ramp.copy()
    Folded((Fold(1, (12.0, 200.0), np.pi / 2, 6.0, 10.0),)).change(ramp)
    np.testing.assert_array_equal(ramp[[0, 2]], given[[0, 2]])
    assert not ramp[1, :, 198:203].any()
    assert (ramp[1, :, [190, 210]] > 0).all()
    moved = (ramp[1, 12] - 0.1) * 400 - np.arange(400)
    for x in (150, 190, 210, 260):
        expected = np.sign(x - 200) * 10 * np.exp(-abs(x - 200) / 40)
        assert moved[x] == pytest.approx(expected, abs=0.02)
    # places keep their order: nothing is shown twice
    shown = ramp[1, 12][ramp[1, 12] > 0][20:-20]
    assert (np.diff(shown) > 0).all()


@pytest.mark.parametrize("angle", [0.0, 0.6, 2.0])
def test_a_fold_runs_at_its_angle_to_the_x_axis(angle):
    image = np.ones((1, 101, 101), np.float32)
    Folded((Fold(0, (50.0, 50.0), angle, 4.0, 10.0),)).change(image)
    along = np.arange(-35, 36)
    y, x = np.rint(50 + along * np.sin(angle)).astype(int), np.rint(50 + along * np.cos(angle)).astype(int)
    assert not image[0, y, x].any()
    assert (image == 0).mean() < 0.06


def test_folds_lie_at_all_angles_and_only_in_sections():
    folds = [f for op in drawn(fold, fold_section=0.2) for f in op.folds]
    assert len(folds) == pytest.approx(400, abs=60)
    assert np.histogram([f.angle for f in folds], 4, (0, np.pi))[0].min() > 60
    assert fold(AugmentConfig(fold_section=1.0), np.random.default_rng(0), Crop((8, 8, 8), (8.0, 8.0, 8.0))) is None
