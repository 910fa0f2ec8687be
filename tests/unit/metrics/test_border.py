import numpy as np
import pytest

from neuropil.errors import GeometryError, InputError
from neuropil.metrics.border import border_mask


def brute(truth, voxel_size, distance_nm):
    """Every pixel against every border pixel of its section."""
    mask = np.zeros(truth.shape, bool)
    for z, section in enumerate(truth):
        height, width = section.shape
        border = [
            (y, x)
            for y in range(height)
            for x in range(width)
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            if 0 <= v < height and 0 <= u < width and section[v, u] != section[y, x]
        ]
        for y in range(height):
            for x in range(width):
                mask[z, y, x] = any(
                    ((y - v) * voxel_size[1]) ** 2 + ((x - u) * voxel_size[2]) ** 2 <= distance_nm**2 + 1e-6
                    for v, u in border
                )
    return mask


@pytest.mark.parametrize("distance", [0, 3.9, 4, 5.7, 8, 12.5, 25])
@pytest.mark.parametrize("voxel_size", [(40, 4, 4), (40, 4, 6.5)])
def test_against_every_pair_of_pixels(rng, distance, voxel_size):
    truth = np.kron(rng.integers(0, 3, (2, 3, 3)), np.ones((1, 5, 6), int))
    assert (border_mask(truth, voxel_size, distance) == brute(truth, voxel_size, distance)).all()


def test_borders_between_sections_do_not_count():
    truth = np.stack([np.full((6, 6), 1), np.full((6, 6), 2)])
    assert not border_mask(truth, (40, 4, 4), 100).any()


def test_objects_that_are_all_border_are_left_out_whole():
    assert border_mask(np.array([[[1, 2, 3, 4]]], np.uint64), (40, 4, 4), 0).all()


@pytest.mark.parametrize("distance", [-1, float("nan"), float("inf")])
def test_the_distance_must_be_a_length(distance):
    with pytest.raises(InputError, match="border distance"):
        border_mask(np.ones((1, 2, 2), int), (1, 1, 1), distance)


def test_three_axes_are_needed():
    with pytest.raises(GeometryError, match="three axes"):
        border_mask(np.ones((2, 2), int), (1, 1, 1), 1)
