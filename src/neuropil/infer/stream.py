"""The moving parts of a streamed prediction: read reflected, batch ahead, sum along z, write whole blocks behind.

Nothing here is as large as the volume. A column (all of z over a rectangle of y and x) is worked through from low to
high z; the sum of blended tiles is one tile deep and rolls along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from neuropil.affinities import Offsets
from neuropil.errors import InputError
from neuropil.geometry import Box, Int3
from neuropil.infer.tiles import TilePlan
from neuropil.lazy import check_finite
from neuropil.volume import Volume

Normalise = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
Item = TypeVar("Item")

#: Values that are blended at a time on a CPU, so that they stay in its cache.
_CACHED = 2**17


def reflected_index(start: int, stop: int, low: int, high: int) -> npt.NDArray[np.intp]:
    """Where to read ``start <= v < stop`` from data in ``low <= v < high``, mirrored at its first and last voxel.

    The border voxel is not repeated; any extent may be asked for, of data as small as one voxel.
    """
    period = 2 * (high - low - 1)
    if period == 0:
        return np.full(stop - start, low, np.intp)
    phase = (np.arange(start, stop, dtype=np.intp) - low) % period
    return np.minimum(phase, period - phase) + low


def read_reflected(image: Volume, box: Box) -> npt.NDArray[Any]:
    """Read a box that may leave the volume (Z, Y, X).

    Raises
    ------
    InputError
        If a voxel is NaN or infinite; its place is named.
    """
    inside = image.box
    index = [reflected_index(*ends) for ends in zip(box.start, box.stop, inside.start, inside.stop, strict=True)]
    z, y, x = (int(i.min()) for i in index)
    tz, ty, tx = (int(i.max()) + 1 for i in index)
    data = image.read(Box((z, y, x), (tz, ty, tx), inside.voxel_size))
    check_finite(data, f"{image.name} at voxels {(z, y, x)}..{(tz, ty, tx)}")
    if data.shape == box.shape and box.start == (z, y, x):
        return data
    return data[np.ix_(index[0] - z, index[1] - y, index[2] - x)]


def tile_batches(
    image: Volume, plan: TilePlan, column: Box, batch: int, normalise: Normalise
) -> Iterator[tuple[list[Int3], npt.NDArray[np.float32]]]:
    """All tiles that touch a column, in rising z, y, x, as (grid indices, (B, 1, Z, Y, X)).

    Every batch has the same size, because the arithmetic of a network may depend on it; the last is filled by repeats.
    Each z-row of tiles is read from storage once.
    """
    rows, ys, xs = (plan.touching(a, column.start[a], column.stop[a]) for a in range(3))
    indices: list[Int3] = []
    tiles: list[npt.NDArray[np.float32]] = []
    for iz in rows:
        first, last = plan.tile_box((iz, ys[0], xs[0])), plan.tile_box((iz, ys[-1], xs[-1]))
        slab = read_reflected(image, Box(first.start, last.stop, first.voxel_size))
        for iy in ys:
            for ix in xs:
                tile = plan.tile_box((iz, iy, ix))
                indices.append((iz, iy, ix))
                tiles.append(normalise(slab[tile.slices(first.start)]))
                if len(tiles) == batch:
                    yield indices, np.stack(tiles)[:, None].astype(np.float32, copy=False)
                    indices, tiles = [], []
    if tiles:
        tiles += [tiles[-1]] * (batch - len(tiles))
        yield indices, np.stack(tiles)[:, None].astype(np.float32, copy=False)


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the next one is made in a thread while the current one is in use."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="read") as thread:
        coming: Future[Any] = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item


class RollingSum:
    """The blended sum of tiles over a column, one row of tiles deep.

    Parameters
    ----------
    plan, offsets
        Decide the weights; see `TilePlan.profiles`.
    column
        The voxels of interest.
    device
        Where the tiles are computed and summed.
    """

    def __init__(self, plan: TilePlan, offsets: Offsets, column: Box, device: torch.device) -> None:
        self.plan, self.column = plan, column
        self.profiles = [
            torch.from_numpy(plan.profiles(axis, [offset[axis] for offset in offsets])).to(device) for axis in range(3)
        ]
        self.rows = plan.touching(0, column.start[0], column.stop[0])
        self.row = self.rows.start
        # channels last, as the fast networks put them out: the sum is most of the work beside the network
        self.sum_ZYXC = torch.zeros((plan.tile[0], *column.shape[1:], len(offsets)), device=device)

    def add(self, index: Int3, probability_CZYX: torch.Tensor) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Add a tile; first hand out, as (first z, (C, z, Y, X) uint8), what no later tile will change."""
        while self.row < index[0]:
            yield self._finished_row()
        tile = self.plan.tile_box(index)
        (_, y0, x0), (_, y1, x1) = self.column.start, self.column.stop
        part = tile.intersected(Box((tile.start[0], y0, x0), (tile.stop[0], y1, x1), tile.voxel_size))
        _, ys, xs = part.slices(tile.start)
        weight_z, weight_y, weight_x = (p[i].T for p, i in zip(self.profiles, index, strict=True))
        plane = weight_y[ys, None] * weight_x[xs]
        tile_ZYXC = probability_CZYX.permute(1, 2, 3, 0)[:, ys, xs]
        _, ys, xs = part.slices((tile.start[0], y0, x0))
        target_ZYXC = self.sum_ZYXC[:, ys, xs]
        depth = max(1, _CACHED // plane.numel()) if plane.device.type == "cpu" else len(weight_z)
        for z in range(0, len(weight_z), depth):
            weight = plane * weight_z[z : z + depth, None, None]
            # two operations, not one: a fused one may round differently at the rim of a column
            target_ZYXC[z : z + depth] += weight.mul_(tile_ZYXC[z : z + depth])

    def finish(self) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Hand out what is left."""
        while self.row < self.rows.stop:
            yield self._finished_row()

    def _finished_row(self) -> tuple[int, npt.NDArray[np.uint8]]:
        start = self.plan.start(0, self.row)
        last = self.row == self.rows.stop - 1
        depth = self.plan.tile[0] if last else self.plan.step[0]
        low = max(0, self.column.start[0] - start)
        high = min(depth, self.column.stop[0] - start)
        done = as_uint8(self.sum_ZYXC[low:high])
        if not last:
            kept = self.sum_ZYXC[depth:].clone()
            self.sum_ZYXC[: len(kept)] = kept
            self.sum_ZYXC[len(kept) :] = 0
        self.row += 1
        return start + low, done


def as_uint8(probability_ZYXC: torch.Tensor) -> npt.NDArray[np.uint8]:
    """round(255·p) as (C, Z, Y, X), on the host.

    Raises
    ------
    InputError
        If a probability is NaN: the network's weights or its precision are broken.
    """
    z, y, x, c = probability_ZYXC.shape
    out = np.empty((c, z, y, x), np.uint8)
    for section, values_YXC in enumerate(probability_ZYXC):
        if bool(torch.isnan(values_YXC).any()):
            raise InputError(
                "the network predicts NaN",
                "finite logits",
                "use precision fp32, or train again with a lower learning rate",
            )
        rounded = (values_YXC * 255).round_().clamp_(0, 255).to(torch.uint8)
        out[:, section] = rounded.permute(2, 0, 1).cpu().numpy()
    return out


class ArrayWriter:
    """Puts finished rows of a column into an array that holds the whole result."""

    def __init__(self, out_CZYX: npt.NDArray[np.uint8], box: Box, column: Box) -> None:
        self.out_CZYX, self.box, self.column = out_CZYX, box, column

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *failure: object) -> None:
        """Nothing is pending."""

    def push(self, z: int, done_CZYX: npt.NDArray[np.uint8]) -> None:
        """Take the next rows, which begin at `z`."""
        _, ys, xs = self.column.slices(self.box.start)
        at = z - self.box.start[0]
        self.out_CZYX[:, at : at + done_CZYX.shape[1], ys, xs] = done_CZYX


class BlockWriter:
    """Collects finished rows of a column and writes them as whole blocks, in a thread, one row of blocks behind.

    Blocks are counted from the first voxel of the output, as the shards of its storage are.
    """

    def __init__(self, out: Volume, column: Box, block: Int3) -> None:
        self.out, self.column, self.block = out, column, block
        self.origin = out.box.start
        self.z = column.start[0]
        self.staged = self._stage()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self.writing: Future[None] | None = None

    def push(self, z: int, done_CZYX: npt.NDArray[np.uint8]) -> None:
        """Take the next rows, which begin at `z`; write each row of blocks that is now complete."""
        while done_CZYX.shape[1]:
            at = z - self.z
            taken = min(done_CZYX.shape[1], self.staged.shape[1] - at)
            self.staged[:, at : at + taken] = done_CZYX[:, :taken]
            z, done_CZYX = z + taken, done_CZYX[:, taken:]
            if z == self.z + self.staged.shape[1]:
                self._write_row()

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(self, *failure: object) -> None:
        """Wait for the last write, and raise what went wrong in it unless something else already went wrong."""
        self.thread.shutdown()
        if self.writing is not None and failure[0] is None:
            self.writing.result()

    def _stage(self) -> npt.NDArray[np.uint8]:
        depth = min(self.block[0] - (self.z - self.origin[0]) % self.block[0], self.column.stop[0] - self.z)
        return np.empty((self.out.shape[0], max(0, depth), *self.column.shape[1:]), np.uint8)

    def _write_row(self) -> None:
        if self.writing is not None:
            self.writing.result()
        stop = (self.z + self.staged.shape[1], *self.column.stop[1:])
        region = Box((self.z, *self.column.start[1:]), stop, self.column.voxel_size)
        self.writing = self.thread.submit(self._write, self.staged, region)
        self.z = region.stop[0]
        self.staged = self._stage()

    def _write(self, staged_CZYX: npt.NDArray[np.uint8], region: Box) -> None:
        z, y, x = self.origin
        for block in region.shifted((-z, -y, -x)).blocks(self.block):
            box = block.write.shifted(self.origin)
            self.out.write(box, staged_CZYX[(slice(None), *box.slices(region.start))])
