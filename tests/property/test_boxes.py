"""What holds for every box, block and crop."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neuropil.geometry import Box
from neuropil.volume import Volume

NM = (40.0, 4.0, 4.0)
corner = st.tuples(*[st.integers(-20, 20)] * 3)
extent = st.tuples(*[st.integers(0, 12)] * 3)
positive = st.tuples(*[st.integers(1, 9)] * 3)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    start, shape = draw(corner), draw(extent)
    return Box(start, tuple(a + n for a, n in zip(start, shape, strict=True)), NM)  # type: ignore[arg-type]


@given(boxes(), positive)
@settings(deadline=None, max_examples=40)
def test_blocks_cover_a_box_exactly_once(box: Box, shape) -> None:
    count = np.zeros(box.shape, int)
    for block in box.blocks(shape):
        count[block.write.slices(box.start)] += 1
        assert block.write.size > 0
        assert all(a // s == i for a, s, i in zip(block.write.start, shape, block.index, strict=True))
        assert all((b - 1) // s == i for b, s, i in zip(block.write.stop, shape, block.index, strict=True))
    assert (count == 1).all()


@given(boxes(), positive, positive)
@settings(deadline=None, max_examples=40)
def test_read_regions_are_write_regions_with_a_halo(box: Box, shape, halo) -> None:
    for block in box.blocks(shape, halo):
        assert block.read == block.write.grown(halo)


@given(boxes(), boxes())
def test_intersection_is_the_common_part(a: Box, b: Box) -> None:
    common = a.intersected(b)
    assert common.size == b.intersected(a).size
    assert common.size <= min(a.size, b.size)
    if common.size:
        assert a.contains(common)
        assert b.contains(common)


@given(boxes(), corner)
def test_shift_there_and_back(box: Box, by) -> None:
    assert box.shifted(by).shifted(tuple(-s for s in by)) == box
    assert box.shifted(by).shape == box.shape


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_any_read_is_the_numpy_slice(data: st.DataObject) -> None:
    shape = data.draw(positive)
    start = data.draw(corner)
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    volume = Volume(array, NM, tuple(s * v for s, v in zip(start, NM, strict=True)))
    assert volume.box.start == start
    low = [data.draw(st.integers(0, n)) for n in shape]
    high = [data.draw(st.integers(a, n)) for a, n in zip(low, shape, strict=True)]
    box = Box(
        tuple(a + s for a, s in zip(low, start, strict=True)),  # type: ignore[arg-type]
        tuple(b + s for b, s in zip(high, start, strict=True)),  # type: ignore[arg-type]
        NM,
    )
    expected = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    np.testing.assert_array_equal(volume.read(box), expected)
    np.testing.assert_array_equal(volume.crop(box).numpy(), expected)


@given(positive, positive, corner)
@settings(deadline=None, max_examples=40)
def test_volume_blocks_start_at_its_first_voxel(shape, block, start) -> None:
    volume = Volume(np.zeros(shape, np.uint8), NM, tuple(s * v for s, v in zip(start, NM, strict=True)))
    count = np.zeros(shape, int)
    for b in volume.blocks(block):
        local = [a - s for a, s in zip(b.write.start, start, strict=True)]
        assert all(a % n == 0 for a, n in zip(local, block, strict=True))
        count[b.write.slices(volume.box.start)] += 1
    assert (count == 1).all()
