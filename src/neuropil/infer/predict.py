"""From an image and a network to affinities or other channels, tile by tile, in bounded memory.

The result at a voxel follows from the image, the network and the tiles. It does not depend on the blocks that are
written, on the memory that may be used, or on the order of the work: bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from neuropil.affinities import Offsets, as_offsets
from neuropil.errors import InputError
from neuropil.geometry import Box, Float3, Int3, same_voxel_size
from neuropil.infer.columns import plan_columns
from neuropil.infer.devices import keep_heap
from neuropil.infer.stream import ArrayWriter, BlockWriter, Normalise, RollingSum, read_ahead, tile_batches
from neuropil.infer.tiles import TilePlan, plan_tiles
from neuropil.infer.tta import Mode, ViewAverage, common_multiple, views
from neuropil.infer.workers import Progress
from neuropil.volume import Volume, require_kind


@dataclass(frozen=True)
class PredictSettings:
    """How to predict; the values come from the configuration and the run.

    Parameters
    ----------
    tile, overlap
        Largest tile, and voxels that neighbours share, z, y, x. A quarter of the tile, and twice the longest edge, is
        enough overlap; edges longer than it are also taken from tiles that do not see their far end.
    multiple_of
        What the network's input shape must be divisible by (its stride).
    block
        What is written at once, counted from the volume's first voxel: a multiple of the output's `write_unit`; None
        takes the `write_unit`, or the tile where the output has none. Volumes too wide for the memory are cut there.
    memory_bytes
        What all buffers together may take; the network's own activations and a result in memory not counted.
    tta, batch
        Test-time averaging (`neuropil.infer.tta.views`), and tiles computed at once.
    precision
        "bf16" (autocast; several times faster, also on CPUs that have it) or "fp32".
    device
        As torch names it.
    """

    tile: Int3
    overlap: Int3
    multiple_of: Int3
    block: Int3 | None
    memory_bytes: int
    tta: Mode
    batch: int
    precision: Literal["bf16", "fp32"]
    device: str

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise InputError(f"precision '{self.precision}'", "bf16 or fp32", "leave train.precision at auto")
        if self.batch < 1:
            raise InputError(f"a batch of {self.batch} tiles", "at least one", "set predict.batch")
        if self.block is not None and min(self.block) < 1:
            raise InputError(f"blocks of {self.block}", "three positive integers", "set predict.block")


def predict_volume(
    net: nn.Module,
    image: Volume,
    *,
    offsets: Sequence[Int3],
    normalise: Normalise,
    settings: PredictSettings,
    out: Volume | None = None,
    progress: Progress | None = None,
) -> Volume | npt.NDArray[np.uint8]:
    """Predict the channels of a whole volume, affinities for instance, as uint8, round(255·p).

    Parameters
    ----------
    net
        (B, 1, Z, Y, X) float → (B, C, Z, Y, X) logits. Is moved to the device and, for the time of the call, put in
        evaluation mode.
    image
        Axes "zyx", any extent.
    offsets
        The voxel step of each channel: that of an affinity, or zero where a channel speaks of the voxel itself.
    normalise
        Raw values (Z, Y, X) of one tile → float32. Use one scale for the volume, or tiles will differ.
    out
        Where to write: uint8, axes "czyx", the box of the image. If there is none, an array (C, Z, Y, X) is returned.
    progress
        Is told of finished tiles.

    Raises
    ------
    InputError
        If the image is none or has values that are not finite, or output, network, memory and tiles do not fit.
    """
    offsets = _steps(offsets)
    plan = volume_plan(image, settings)
    block = settings.block or (out.write_unit if out is not None and max(out.write_unit) > 1 else plan.tile)
    if out is not None:
        _check_output(out, image, len(offsets), block)
    columns = plan_columns(
        plan,
        len(offsets),
        block,
        batch=settings.batch,
        itemsize=image.dtype.itemsize,
        memory_bytes=settings.memory_bytes,
    )
    result = np.empty((len(offsets), *image.box.shape), np.uint8) if out is None else out
    finished = _counter(sum(_tile_count(plan, column) for column in columns), progress)
    training = net.training
    try:
        predictor = TilePredictor(net.eval(), offsets, image.voxel_size, settings)
        for column in columns:
            rolling = RollingSum(plan, offsets, column, predictor.device)
            batches = tile_batches(image, plan, column, settings.batch, normalise)
            with _writer(result, image.box, column, block) as writer:
                for z, rows in finished_rows(predictor, batches, rolling, finished):
                    writer.push(z, rows)
    finally:
        net.train(training)
    return result


def _steps(offsets: Sequence[Int3]) -> Offsets:
    """Check the steps; zero may stand there, and more than once."""
    edges = iter(as_offsets([offset for offset in offsets if any(offset)]))
    return tuple(next(edges) if any(offset) else (0, 0, 0) for offset in offsets)


def volume_plan(image: Volume, settings: PredictSettings) -> TilePlan:
    """The tiles of a volume under the given settings.

    Raises
    ------
    InputError
        If the volume is not an image, or tile and overlap do not fit.
    """
    if require_kind(image, "image").axes != "zyx":
        raise InputError(f"{image.name} with axes '{image.axes}'", "an image with axes 'zyx'", "choose one channel")
    multiple = common_multiple(settings.multiple_of, image.voxel_size, settings.tta)
    return plan_tiles(image.box, settings.tile, settings.overlap, multiple)


class TilePredictor:
    """A network as a function of normalised tiles: float32 (B, 1, Z, Y, X) → probabilities (B, C, Z, Y, X)."""

    def __init__(self, net: nn.Module, offsets: Offsets, voxel_size: Float3, settings: PredictSettings) -> None:
        keep_heap()
        self.device = torch.device(settings.device)
        self.channels, self.bf16 = len(offsets), settings.precision == "bf16"
        # the layout of the input alone decides how convolutions run; the weights of the caller keep theirs
        self.net = net.to(self.device)
        self.average = ViewAverage(self._probability, offsets, views(settings.tta, voxel_size))

    @torch.inference_mode()
    def __call__(self, x_BCZYX: npt.NDArray[np.float32]) -> torch.Tensor:
        """Predict a batch of tiles."""
        return self.average(torch.from_numpy(x_BCZYX).to(self.device))

    def _probability(self, x_BCZYX: torch.Tensor) -> torch.Tensor:
        x_BCZYX = x_BCZYX.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits: torch.Tensor = self.net(x_BCZYX)
        expected = (x_BCZYX.shape[0], self.channels, *x_BCZYX.shape[2:])
        if tuple(logits.shape) != expected:
            raise InputError(
                f"a network that makes {tuple(logits.shape)} of {tuple(x_BCZYX.shape)}",
                f"{expected}: one channel for each of the {self.channels} offsets, same extent",
                "give the network as many outputs as it is built for, and keep the extent",
            )
        return logits.float().sigmoid_() if self.bf16 else logits.sigmoid()


def finished_rows(
    predictor: TilePredictor,
    batches: Iterator[tuple[list[Int3], npt.NDArray[np.float32]]],
    rolling: RollingSum,
    finished: Callable[[int], None],
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Predict batches of tiles and yield (first section, rows) as soon as no further tile touches them.

    Parameters
    ----------
    finished
        Is told how many tiles each batch had.
    """
    for indices, x_BCZYX in read_ahead(batches):
        # a batch may be filled up with tiles that nobody asked for
        for index, probability_CZYX in zip(indices, predictor(x_BCZYX)[: len(indices)], strict=True):
            yield from rolling.add(index, probability_CZYX)
        finished(len(indices))
    yield from rolling.finish()


def _writer(result: Volume | npt.NDArray[np.uint8], box: Box, column: Box, block: Int3) -> ArrayWriter | BlockWriter:
    if isinstance(result, np.ndarray):
        return ArrayWriter(result, box, column)
    return BlockWriter(result, column, block)


def _tile_count(plan: TilePlan, column: Box) -> int:
    return math.prod(len(plan.touching(axis, column.start[axis], column.stop[axis])) for axis in range(3))


def _counter(total: int, progress: Progress | None) -> Callable[[int], None]:
    done = 0

    def finished(tiles: int) -> None:
        nonlocal done
        done += tiles
        if progress is not None:
            progress(done, total)

    return finished


def _check_output(out: Volume, image: Volume, channels: int, block: Int3) -> None:
    box = image.box
    fits = (out.box.start, out.box.stop) == (box.start, box.stop) and same_voxel_size(out.voxel_size, box.voxel_size)
    if out.axes != "czyx" or out.dtype != np.uint8 or out.shape[0] != channels or not fits:
        raise InputError(
            f"output '{out.name}' of {out.dtype} with axes '{out.axes}', shape {out.shape}, from {out.box.start}",
            f"uint8 with axes 'czyx', {channels} channels, and the image's box {box.start}..{box.stop}",
            "let neuropil predict make the output, or make it so",
        )
    if any(b % unit for b, unit in zip(block, out.write_unit, strict=True)):
        raise InputError(
            f"blocks of {block} for '{out.name}' with shards of {out.write_unit}",
            "blocks of whole shards",
            "leave predict.block empty, or make the output with such shards",
        )
