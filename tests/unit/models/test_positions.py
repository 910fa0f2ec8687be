from __future__ import annotations

import math

import pytest
import torch

from neuropil.models.positions import position_codes

CPU = torch.device("cpu")


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 2, 3), (1, 0, 2)])
def test_codes_are_sines_of_the_distance_in_nm(place: tuple[int, int, int]) -> None:
    size = (80.0, 16.0, 20.0)
    codes = position_codes((2, 3, 4), size, 26, (100.0, 1600.0), CPU).view(2, 3, 4, 26)
    waves = [100.0 * 16 ** (n / 3) for n in range(4)]
    expected = []
    for axis in range(3):
        centre_nm = (place[axis] + 0.5) * size[axis]
        expected += [math.sin(2 * math.pi * centre_nm / w) for w in waves]
        expected += [math.cos(2 * math.pi * centre_nm / w) for w in waves]
    assert codes[place].tolist() == pytest.approx([*expected, 0.0, 0.0], abs=1e-5)


def test_a_step_changes_the_product_of_codes_alike_everywhere() -> None:
    """What attention can compute from two codes, their product, depends on their distance only."""
    codes = position_codes((9, 1, 1), (64.0, 64.0, 64.0), 48, (320.0, 20480.0), CPU)
    products = codes @ codes.T
    for step in range(9):
        along = products.diagonal(step)
        assert torch.allclose(along, along[:1].expand_as(along), atol=1e-4)
