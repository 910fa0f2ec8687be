from __future__ import annotations

import math

import pytest

from neuropil.models.levels import plan_levels, plan_to


@pytest.mark.parametrize(
    ("voxel_size", "stride"),
    [
        ((8, 8, 8), (8, 8, 8)),
        ((40, 4, 4), (1, 8, 8)),
        ((30, 6, 6), (2, 8, 8)),
        ((50, 4, 4), (1, 8, 8)),
        ((16, 8, 8), (4, 8, 8)),
        ((10, 20, 10), (8, 4, 8)),
    ],
)
def test_stride_follows_the_voxel_size(voxel_size: tuple[float, float, float], stride: tuple[int, int, int]) -> None:
    assert plan_levels(voxel_size, 4)[-1].stride == stride


def test_coarse_sections_get_flat_kernels_until_near_isotropic() -> None:
    kernels = [level.kernel for level in plan_levels((40, 4, 4), 4)]
    assert kernels == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert all(level.kernel == (3, 3, 3) for level in plan_levels((8, 8, 8), 4))


@pytest.mark.parametrize(
    ("voxel_size", "patch", "strides"),
    [
        ((8, 8, 8), (8, 8, 8), [(1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8)]),
        ((40, 4, 4), (4, 16, 16), [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16)]),
        ((30, 6, 6), (2, 16, 16), [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8), (2, 16, 16)]),
        ((40, 4, 4), (1, 6, 6), [(1, 1, 1), (1, 2, 2), (1, 6, 6)]),
        ((8, 8, 8), (7, 14, 14), [(1, 1, 1), (1, 2, 2), (7, 14, 14)]),
        ((8, 8, 8), (1, 1, 1), [(1, 1, 1)]),
    ],
)
def test_pooling_ends_exactly_at_the_patch(voxel_size, patch, strides) -> None:
    levels = plan_to(voxel_size, patch)
    assert [level.stride for level in levels] == strides
    for axis in range(3):
        assert math.prod(level.factor[axis] for level in levels) == patch[axis]


def test_kernels_on_the_way_to_a_patch_follow_the_voxel_size() -> None:
    kernels = [level.kernel for level in plan_to((40, 4, 4), (4, 16, 16))]
    assert kernels == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)]


def test_four_times_coarser_sections_are_just_near_enough_for_a_kernel() -> None:
    assert plan_levels((16, 4, 4), 2)[0].kernel == (3, 3, 3)
    assert plan_levels((17, 4, 4), 2)[0].kernel == (1, 3, 3)
