"""Boxes on a voxel grid, and their blocks."""

from __future__ import annotations

import pytest

from neuropil.errors import GeometryError
from neuropil.geometry import Block, Box, same_voxel_size

NM = (40.0, 4.0, 4.0)


def test_shape_size_and_place() -> None:
    box = Box((1, 2, 3), (4, 6, 8), NM)
    assert (box.shape, box.size, box.offset_nm) == ((3, 4, 5), 60, (40.0, 8.0, 12.0))


def test_values_become_plain_numbers() -> None:
    box = Box([0, 0, 0], [1.0, 2.0, 3.0], (40, 4, 4))  # type: ignore[arg-type]
    assert box == Box((0, 0, 0), (1, 2, 3), NM)
    assert all(type(v) is int for v in box.stop)
    assert all(type(v) is float for v in box.voxel_size)


@pytest.mark.parametrize(
    ("start", "stop", "voxel"),
    [
        ((0, 0), (1, 1, 1), NM),
        ((0, 0, 0), (1, 1, 1, 1), NM),
        ((0, 0, 0), (1, 1, 1), (4.0, 4.0)),
        ((0, 0, 0), (1, 1, 1), (0.0, 4.0, 4.0)),
        ((0, 0, 0), (1, 1, 1), (-40.0, 4.0, 4.0)),
        ((0, 0, 0), (1, 1, 1), (float("nan"), 4.0, 4.0)),
        ((0, 0, 0), (1, 1, 1), (float("inf"), 4.0, 4.0)),
        ((0, 0, 2), (1, 1, 1), NM),
    ],
)
def test_impossible_boxes_are_refused(start, stop, voxel) -> None:
    with pytest.raises(GeometryError):
        Box(start, stop, voxel)


def test_grown_and_shifted() -> None:
    box = Box((0, 0, 0), (4, 6, 8), NM)
    assert box.grown((1, 2, 3)) == Box((-1, -2, -3), (5, 8, 11), NM)
    assert box.grown((1, 2, 3)).grown((-1, -2, -3)) == box
    assert box.shifted((5, -1, 0)) == Box((5, -1, 0), (9, 5, 8), NM)


def test_shrinking_past_nothing_is_refused() -> None:
    with pytest.raises(GeometryError, match="stop not below start"):
        Box((0, 0, 0), (4, 4, 4), NM).grown((-3, 0, 0))


def test_intersection() -> None:
    a, b = Box((0, 0, 0), (4, 4, 4), NM), Box((2, -1, 3), (9, 2, 9), NM)
    assert a.intersected(b) == Box((2, 0, 3), (4, 2, 4), NM)
    assert a.intersected(Box((10, 0, 0), (11, 1, 1), NM)).size == 0
    assert a.contains(Box((1, 1, 1), (4, 4, 4), NM))
    assert not a.contains(b)


def test_other_voxel_size_is_refused() -> None:
    with pytest.raises(GeometryError, match="one grid"):
        Box((0, 0, 0), (4, 4, 4), NM).intersected(Box((0, 0, 0), (4, 4, 4), (8.0, 8.0, 8.0)))


def test_voxel_sizes_as_formats_round_them_are_the_same() -> None:
    assert same_voxel_size((40.0, 4.0, 4.0), (40.0, 4.0000001, 4.0))
    assert not same_voxel_size((40.0, 4.0, 4.0), (40.0, 4.1, 4.0))


def test_slices_from_an_origin() -> None:
    box = Box((2, 3, 4), (5, 6, 7), NM)
    assert box.slices((2, 2, 2)) == (slice(0, 3), slice(1, 4), slice(2, 5))
    with pytest.raises(GeometryError, match="begins at or after"):
        box.slices((3, 0, 0))


def test_blocks_stand_on_the_global_grid() -> None:
    blocks = list(Box((3, 0, 0), (9, 4, 4), NM).blocks((4, 4, 4), (1, 0, 0)))
    assert [b.write.start[0] for b in blocks] == [3, 4, 8]
    assert blocks[1] == Block((1, 0, 0), Box((4, 0, 0), (8, 4, 4), NM), Box((3, 0, 0), (9, 4, 4), NM))


def test_no_blocks_in_nothing_and_none_of_no_size() -> None:
    assert list(Box((3, 3, 3), (3, 5, 5), NM).blocks((4, 4, 4))) == []
    with pytest.raises(GeometryError, match="three positive integers"):
        list(Box((0, 0, 0), (4, 4, 4), NM).blocks((4, 0, 4)))
