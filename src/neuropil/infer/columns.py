"""Cut a wide volume into columns whose buffers fit into memory.

A volume whose section fits is one column, and no tile is computed twice. Otherwise the section is cut along whole
blocks, and the tiles that reach across a cut are computed once for each of its sides.
"""

from __future__ import annotations

import math

from neuropil.errors import InputError
from neuropil.geometry import Box, Int3
from neuropil.infer.tiles import TilePlan


def memory_estimate(plan: TilePlan, channels: int, column: Box, block: Int3, batch: int, itemsize: int) -> int:
    """Most bytes that the buffers of one column take together; the network's own activations come on top.

    Parameters
    ----------
    channels
        Of the output.
    column
        What is predicted in one sweep along z.
    block
        Output block, z, y, x.
    batch
        Tiles computed at once.
    itemsize
        Bytes of a raw voxel.
    """
    section = column.shape[1] * column.shape[2]
    depth = plan.tile[0]
    staged = 2 * min(block[0], column.shape[0])  # uint8: one row of blocks being filled, one being written
    # float32: the sum, the part of it that is kept, three scaled sections; uint8: the finished row
    summed = 4 * channels * (depth + plan.overlap[0] + 3) + channels * depth
    wide = [plan.step[a] * (len(plan.touching(a, column.start[a], column.stop[a])) - 1) + plan.tile[a] for a in (1, 2)]
    slabs = 3 * itemsize * depth * wide[0] * wide[1]  # as stored, reflected, and the one still in use
    tiles = 4 * batch * math.prod(plan.tile) * (2 * 2 + 4 * channels)  # two batches ahead; prediction and its blend
    return section * (summed + channels * staged) + slabs + tiles


def plan_columns(
    plan: TilePlan, channels: int, block: Int3, *, batch: int, itemsize: int, memory_bytes: int
) -> list[Box]:
    """The fewest columns found by halving whose buffers fit into memory; each is a whole number of blocks wide.

    Raises
    ------
    InputError
        If not even a column of one block fits.
    """
    box = plan.box
    blocks_y, blocks_x = (-(-box.shape[a] // block[a]) for a in (1, 2))
    ny, nx = blocks_y, blocks_x
    while True:
        columns = _cut(box, (ny * block[1], nx * block[2]))
        need = max(memory_estimate(plan, channels, column, block, batch, itemsize) for column in columns)
        if need <= memory_bytes:
            return columns
        if ny == nx == 1:
            raise InputError(
                f"{memory_bytes / 2**20:.0f} MiB for prediction",
                f"at least {need / 2**20:.0f} MiB for tiles of {plan.tile} and blocks of {block}",
                "allow more memory, or set smaller predict.tile, predict.block or predict.batch",
            )
        if (ny * block[1] >= nx * block[2] and ny > 1) or nx == 1:
            ny = -(-ny // 2)
        else:
            nx = -(-nx // 2)


def _cut(box: Box, width: tuple[int, int]) -> list[Box]:
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    return [
        Box((z0, y, x), (z1, min(y1, y + width[0]), min(x1, x + width[1])), box.voxel_size)
        for y in range(y0, y1, width[0])
        for x in range(x0, x1, width[1])
    ]
