import numpy as np
import pytest

from neuropil.errors import InputError
from neuropil.geometry import Box
from neuropil.infer.tiles import plan_tiles

VOXELS = (8.0, 8.0, 8.0)


def plan(shape, tile, overlap, multiple=(1, 1, 1), start=(0, 0, 0)):
    stop = tuple(a + b for a, b in zip(start, shape, strict=True))
    return plan_tiles(Box(start, stop, VOXELS), tile, overlap, multiple)


def test_tiles_are_few_fitted_and_cover_the_box():
    got = plan((250, 250, 30), (96, 96, 96), (24, 24, 24), (8, 8, 8), start=(5, -7, 0))
    # 4 tiles of 96 are needed along 250 voxels; 4 of 88 do as well; one of 32 covers 30
    assert got.count == (4, 4, 1)
    assert got.tile == (88, 88, 32)
    assert len(got) == 16
    first, last = got.tile_box((0, 0, 0)), got.tile_box((3, 3, 0))
    assert all(a <= b for a, b in zip(first.start, got.box.start, strict=True))
    assert all(a >= b for a, b in zip(last.stop, got.box.stop, strict=True))
    before = [b - a for a, b in zip(first.start, got.box.start, strict=True)]
    after = [a - b for a, b in zip(last.stop, got.box.stop, strict=True)]
    assert all(0 <= a - b <= 1 for a, b in zip(after, before, strict=True))


def test_exact_fit_has_no_reflected_border():
    got = plan((168, 96, 96), (96, 96, 96), (24, 24, 24), (8, 8, 8))
    assert got.count == (2, 1, 1)
    assert got.first == (0, 0, 0)
    assert got.tile_box((1, 0, 0)).stop[0] == 168


def test_tiles_move_with_the_box():
    here, there = (
        plan((50, 50, 50), (16, 16, 16), (4, 4, 4)),
        plan((50, 50, 50), (16, 16, 16), (4, 4, 4), start=(3, 9, -4)),
    )
    assert there.count == here.count
    assert tuple(b - a for a, b in zip(here.first, there.first, strict=True)) == (3, 9, -4)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 50), (11, 12), (12, 30), (49, 50), (-20, 90), (200, 210)])
def test_touching_is_what_intersects(low, high):
    got = plan((50, 50, 50), (16, 16, 16), (4, 4, 4))
    want = [i for i in range(got.count[0]) if got.start(0, i) < high and got.start(0, i) + got.tile[0] > low]
    assert list(got.touching(0, low, high)) == want


@pytest.mark.parametrize("reach", [0, -1, 3, -9, -40])
@pytest.mark.parametrize("overlap", [0, 4, 9, 14])
def test_profiles_sum_to_one_and_prefer_tiles_that_see_both_ends(reach, overlap):
    got = plan((50, 20, 20), (16, 16, 16), (overlap, 4, 4))
    profiles = got.profiles(0, [reach, 0])
    extent = (got.count[0] - 1) * got.step[0] + got.tile[0]
    total, seen = np.zeros((2, extent)), np.zeros((2, extent), bool)
    for i, profile in enumerate(profiles):
        here = slice(i * got.step[0], i * got.step[0] + got.tile[0])
        total[:, here] += profile
        voxel = np.arange(got.tile[0])
        for c, r in enumerate((reach, 0)):
            seen[c, here] |= (voxel + r >= 0) & (voxel + r < got.tile[0])
    assert np.allclose(total, 1, atol=1e-6)
    for i, profile in enumerate(profiles):
        voxel = np.arange(got.tile[0])
        leaves = (voxel + reach < 0) | (voxel + reach >= got.tile[0])
        covered = seen[0, i * got.step[0] : i * got.step[0] + got.tile[0]]
        assert (profile[0][leaves & covered] == 0).all()
        assert (profile[1] > 0).all()


def test_weights_rise_smoothly_from_the_faces():
    inner = plan((200, 20, 20), (32, 16, 16), (8, 4, 4)).profiles(0, [0])[2, 0]
    assert (np.diff(inner[:8]) > 0).all()
    assert np.allclose(inner[8:24], 1)
    assert np.allclose(inner, inner[::-1])
    assert np.abs(np.diff(inner)).max() < 0.25


@pytest.mark.parametrize(
    ("tile", "overlap", "multiple", "message"),
    [
        ((8, 8, 9), (2, 2, 2), (1, 1, 2), "multiple of 2 on axis x"),
        ((8, 8, 8), (8, 2, 2), (1, 1, 1), "overlap < tile on axis z"),
        ((8, 8, 8), (2, -1, 2), (1, 1, 1), "axis y"),
        ((0, 8, 8), (0, 2, 2), (1, 1, 1), "axis z"),
        ((8, 8, 8), (2, 2, 2), (0, 1, 1), "axis z"),
    ],
)
def test_impossible_tiles_are_refused(tile, overlap, multiple, message):
    with pytest.raises(InputError, match=message):
        plan((50, 50, 50), tile, overlap, multiple)


def test_an_empty_volume_is_refused():
    with pytest.raises(InputError, match="at least one voxel"):
        plan((0, 5, 5), (8, 8, 8), (2, 2, 2))
