"""What predicting and segmenting will take: a tile is really predicted and decoded, the rest is counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets
from neuropil.auto.memory import PROCESS_BYTES, available_bytes, tile_bytes
from neuropil.config import Config
from neuropil.decoding import Prediction, prediction
from neuropil.geometry import Box
from neuropil.infer.predict import TilePredictor, volume_plan
from neuropil.infer.tiles import TilePlan
from neuropil.jobs.begin import decoder_of, in_blocks
from neuropil.jobs.forecast import CHANNEL_DISK, LABEL_DISK, fitting_block, forecast, whole_bytes
from neuropil.preview.plan import Plan, Stage, require_disk, require_memory
from neuropil.tasks.base import task_named
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume

#: Tiles that are predicted, the first of which does not count.
_TILES = 3


def plan_prediction(run: Run, image: Volume, words: Sequence[str], out: Path) -> Plan:
    """What predicting an image with a run will take.

    Raises
    ------
    InputError
        If it cannot fit into memory.
    VolumeError
        If it cannot fit onto the disk.
    NeuropilError
        Whatever `neuropil predict` would raise before it begins.
    """
    job = prediction(run, image, words)
    stage, _ = _predicting(job, run, image)
    require_disk(out, stage.disk_bytes)
    return Plan("predict", (stage,), (_how(),))


def plan_segmentation(run: Run, image: Volume, words: Sequence[str], out: Path, *, asked: bool) -> Plan:
    """What segmenting an image with a run will take, as a whole or in blocks; errors as of `plan_prediction`.

    Parameters
    ----------
    asked
        Whether the user asked for blocks.
    """
    job = prediction(run, image, words)
    stage, stored = _predicting(job, run, image)
    started = time.monotonic()
    task_named(job.config.task).decode(stored, run.offsets, image.voxel_size, job.config)
    pace = (time.monotonic() - started) / stored[0].size
    if in_blocks(image, run.offsets, job.config, out, asked=asked):
        decoding, note = _blocks(image, run.offsets, job.config, pace, predicted=len(run.channels))
        stages = (_shared(stage, job.config.jobs.workers, disk=0), decoding)
    else:
        need = whole_bytes(image.box, len(run.channels)) + len(run.channels) * image.box.size
        require_memory("segmenting the whole volume", need, available_bytes(), _FIXES)
        decoding = Stage("segment", "the whole volume at once", pace * image.box.size, need, _labels_disk(image))
        stages, note = (_shared(stage, 1, disk=0), decoding), "prediction and labels are held in memory"
    plan = Plan("segment", stages, (_how(), note))
    require_disk(out, plan.disk_bytes)
    return plan


_FIXES = (
    "work in blocks: --memory with less than is free",
    "a part of the volume, such as 'x.h5:raw[0:100]'",
)


def _how() -> str:
    return f"{_TILES - 1} tiles were predicted here to measure"


def _predicting(job: Prediction, run: Run, image: Volume) -> tuple[Stage, npt.NDArray[np.uint8]]:
    """The stage, and one tile as it would be stored."""
    tiles = volume_plan(image, job.settings)
    inside = _middle(tiles, image)
    x_BCZYX = np.repeat(_filled(job, image, inside, tiles)[None, None], job.settings.batch, axis=0)
    offsets: Offsets = tuple(channel.step for channel in run.channels)
    predictor = TilePredictor(job.model.eval(), offsets, image.voxel_size, job.settings)
    answer: Any = None
    for number in range(_TILES):
        if number == 1:
            started = time.monotonic()
        answer = predictor(x_BCZYX).cpu()
    seconds = (time.monotonic() - started) / (_TILES - 1) / job.settings.batch
    own = tile_bytes(job.config, run.voxel_size, tiles.tile, job.settings.batch)
    memory = PROCESS_BYTES + job.settings.memory_bytes + (own or 0)
    fixes = ["a smaller --set predict.tile", "less --set predict.memory_gb", "--set predict.batch=1"]
    require_memory("predicting", memory, available_bytes(), fixes)
    disk = round(len(offsets) * image.box.size * CHANNEL_DISK)
    amount = f"{len(tiles)} tiles of {' x '.join(str(n) for n in tiles.tile)} voxels"
    stored = np.asarray(np.rint(255 * answer[0].float().numpy()), np.uint8)
    return Stage("predict", amount, seconds * len(tiles), memory, disk), stored


def _middle(tiles: TilePlan, image: Volume) -> Box:
    z, y, x = (n // 2 for n in tiles.count)
    return tiles.tile_box((z, y, x)).intersected(image.box)


def _filled(job: Prediction, image: Volume, inside: Box, tiles: TilePlan) -> npt.NDArray[np.float32]:
    """Grey values of a tile; what leaves the volume is repeated."""
    values = job.normaliser(image.read(inside))
    pads = [(0, t - n) for t, n in zip(tiles.tile, values.shape, strict=True)]
    return np.pad(values, pads, mode="wrap")


def _shared(stage: Stage, workers: int, *, disk: int) -> Stage:
    """A stage that several workers share; what is predicted on the way may stay in memory."""
    memory = stage.memory_bytes * workers
    return Stage(stage.name, stage.amount, stage.seconds / workers, memory, disk)


def _blocks(image: Volume, offsets: Offsets, config: Config, pace: float, *, predicted: int) -> tuple[Stage, str]:
    jobs = config.jobs
    decoder = decoder_of(image, offsets, config)
    assert decoder is not None  # asked before
    block = jobs.block or fitting_block(image.box, decoder.cut, int(jobs.memory_gb * 2**30 / jobs.workers))
    need = forecast(image.box, block, decoder.cut, predicted)
    memory = need.memory_bytes * jobs.workers
    fixes = ["less --memory, for smaller blocks", "fewer --workers", "a smaller --block"]
    require_memory(f"segmenting in blocks with {jobs.workers} workers", memory, available_bytes(), fixes)
    amount = f"{need.blocks} blocks of {' x '.join(str(n) for n in block)} voxels, {jobs.workers} workers"
    seconds = pace * image.box.size / jobs.workers
    return Stage("segment", amount, seconds, memory, need.disk_bytes), "predictions, pieces and labels lie on disk"


def _labels_disk(image: Volume) -> int:
    return round(image.box.size * LABEL_DISK)
