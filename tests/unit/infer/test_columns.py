import pytest

from neuropil.errors import InputError
from neuropil.geometry import Box
from neuropil.infer.columns import memory_estimate, plan_columns
from neuropil.infer.tiles import plan_tiles

BOX = Box((10, 0, 0), (110, 500, 300), (40.0, 4.0, 4.0))
PLAN = plan_tiles(BOX, (16, 64, 64), (4, 16, 16), (1, 8, 8))
BLOCK = (16, 64, 64)


def columns(memory, block=BLOCK):
    return plan_columns(PLAN, 3, block, batch=1, itemsize=1, memory_bytes=memory)


def test_one_column_if_it_fits():
    assert columns(2**30) == [BOX]


@pytest.mark.parametrize("mib", [40, 20, 12])
def test_columns_fit_and_cover_the_box_once_in_whole_blocks(mib):
    cut = columns(mib * 2**20)
    assert len(cut) > 1
    assert sum(c.size for c in cut) == BOX.size
    for column in cut:
        assert memory_estimate(PLAN, 3, column, BLOCK, 1, 1) <= mib * 2**20
        assert column.start[0] == BOX.start[0]
        assert column.stop[0] == BOX.stop[0]
        for axis in (1, 2):
            assert (column.start[axis] - BOX.start[axis]) % BLOCK[axis] == 0


def test_the_estimate_does_not_grow_with_depth():
    deep = Box(BOX.start, (10_000, *BOX.stop[1:]), BOX.voxel_size)
    plan = plan_tiles(deep, (16, 64, 64), (4, 16, 16), (1, 8, 8))
    assert memory_estimate(plan, 3, deep, BLOCK, 1, 1) == memory_estimate(PLAN, 3, BOX, BLOCK, 1, 1)


def test_too_little_memory_is_refused_with_what_is_needed():
    with pytest.raises(InputError, match="at least"):
        columns(2**20)
