"""Predict straight into an OME-Zarr: whole shards, the offsets stored beside them, incomplete until it is whole."""

from __future__ import annotations

import os
from dataclasses import replace

from torch import nn

from neuropil.affinities import Affinities, Offsets, as_offsets
from neuropil.infer.blockwise import Progress
from neuropil.infer.predict import PredictSettings, predict_volume, volume_plan
from neuropil.infer.stream import Normalise
from neuropil.io.zarr import NewZarr, create_zarr, finish
from neuropil.volume import Volume, open_volume


def predict_to_zarr(
    net: nn.Module,
    image: Volume,
    path: str | os.PathLike[str],
    *,
    offsets: Offsets,
    normalise: Normalise,
    settings: PredictSettings,
    progress: Progress | None = None,
) -> Affinities:
    """Predict the affinities of a volume into a new OME-Zarr; see `predict_volume`.

    What is interrupted stays marked as incomplete, is refused by `open_volume`, and is replaced by the next run. A
    `settings.block` becomes the shard; where there is none, the shards are those of `create_zarr`.

    Raises
    ------
    VolumeError
        If the place is taken or the disk is full.
    InputError
        As `predict_volume`.
    """
    offsets = as_offsets(offsets)
    volume_plan(image, settings)  # refuses what cannot be predicted before anything is made or replaced
    options: NewZarr = {
        "offset": image.offset,
        "axes": "czyx",
        "kind": "affinities",
        "attrs": {"offsets": [list(offset) for offset in offsets]},
    }
    if settings.block is not None:
        options["shard"] = settings.block
    out = create_zarr(path, (len(offsets), *image.shape), "uint8", image.voxel_size, **options)
    own = replace(settings, block=out.write_unit)
    predict_volume(net, image, offsets=offsets, normalise=normalise, settings=own, out=out, progress=progress)
    finish(path)
    return Affinities(open_volume(path), offsets)
