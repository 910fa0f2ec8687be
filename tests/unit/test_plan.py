from __future__ import annotations

import math

import pytest

from neuropil.config import load_config
from neuropil.plan import CROP_VOXELS, default_extent, default_offsets, resolved


@pytest.mark.parametrize("voxel_size", [(8, 8, 8), (40, 4, 4), (30, 6, 6), (50, 4, 4), (5, 5, 5), (100, 2, 2)])
def test_offsets_are_distinct_grow_and_begin_with_the_nearest(voxel_size: tuple[float, float, float]) -> None:
    offsets = default_offsets(voxel_size)
    assert offsets[:3] == ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    assert len(set(offsets)) == 9
    for axis in range(3):
        steps = [-o[axis] for o in offsets if o[axis]]
        assert steps == sorted(steps)
        assert all(s > 0 for s in steps)


@pytest.mark.parametrize("voxel_size", [(8, 8, 8), (40, 4, 4), (30, 6, 6), (50, 4, 4)])
def test_crops_have_the_planned_size_on_the_grid(voxel_size: tuple[float, float, float]) -> None:
    extent = default_extent(voxel_size, CROP_VOXELS, (2, 8, 8))
    assert all(e % m == 0 for e, m in zip(extent, (2, 8, 8), strict=True))
    assert 0.6 < math.prod(extent) / CROP_VOXELS < 1.7


def test_resolving_fills_what_is_empty_and_keeps_what_is_set() -> None:
    free = resolved(load_config("em_neurons"), (8, 8, 8), (8, 8, 8))
    assert free.data.crop == (64, 64, 64)
    assert free.predict.tile == (96, 96, 96)
    assert free.model.offsets == default_offsets((8, 8, 8))
    fixed = resolved(
        load_config("em_neurons", ["data.crop=[8,8,8]", "model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]]"]),
        (8, 8, 8),
        (8, 8, 8),
    )
    assert fixed.data.crop == (8, 8, 8)
    assert len(fixed.model.offsets or ()) == 3
    assert resolved(free, (8, 8, 8), (8, 8, 8)) == free
