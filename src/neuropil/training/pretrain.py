"""`fit_pretext`: from volumes without labels to a run directory that holds an encoder."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.config import AugmentConfig, Config
from neuropil.data.batches import Order, collate, make_loader
from neuropil.data.normalise import Normaliser, fit_normaliser
from neuropil.data.targets import known_labels
from neuropil.data.unlabelled import RawSampler, prepare_raw
from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Box, Int3
from neuropil.models import network_stride
from neuropil.plan import resolved
from neuropil.pretrain.effect import check_effect
from neuropil.pretrain.targets import patches
from neuropil.registry import MASKS, PRETEXTS
from neuropil.training.checkpoint import CHECKPOINT, Run, load_exactly, part_of, read_tensors, write_atomic
from neuropil.training.engine import check_devices
from neuropil.training.fit import Pair, worked
from neuropil.training.loop import Validate, train_loop
from neuropil.training.objective import Batch, Objective
from neuropil.training.rundir import open_or_create, origin
from neuropil.training.sinks import check_sinks
from neuropil.volume import Volume, open_volume


class Pictures(Protocol):
    """Sections (Y, X) of one crop that say what a pretext does.

    Attributes
    ----------
    pictures
        Name and grey values 0..1 of each.
    lead
        What all such pictures have in common, for people.
    """

    @property
    def pictures(self) -> tuple[tuple[str, npt.NDArray[np.float32]], ...]: ...

    @property
    def lead(self) -> str: ...


class Pretext(Objective, Protocol):
    """A way of pretraining, built by a function of the table PRETEXTS.

    Attributes
    ----------
    kept
        Has besides a `patch`: extents of crops are multiples of it.
    """

    kept: Any

    def views(self) -> Mapping[str, AugmentConfig]:
        """Images of each crop that are wanted beside it; see `RawSampler`."""

    def validator(self, crops: Sequence[Batch], probe: Sequence[Batch]) -> Validate:
        """What scores `kept` on held-back crops and, where there are any, on labelled ones."""

    def look(self, crop: Batch) -> Pictures:
        """Pictures of one crop (a batch of one)."""

    def eval(self) -> Any:
        """As of `nn.Module`."""


@dataclass(frozen=True)
class PretrainJob:
    """What every process is given; picklable."""

    images: Sequence[Volume]
    regions: Sequence[Box]
    held: Sequence[Box]
    normalisers: Sequence[Normaliser]
    probe: Sequence[Pair]
    run: Run


def fit_pretext(
    images: Sequence[Volume],
    config: Config,
    out: str | os.PathLike[str],
    *,
    probe: Sequence[Pair],
    resume: bool,
    beside: Mapping[str, str] | None = None,
) -> Run:
    """Pretrain an encoder on volumes without labels.

    Parameters
    ----------
    images
        Volumes of grey values; voxel sizes may differ. Patches and levels follow from that of the first.
    config
        Settings; `pretrain.method` says how.
    out
        The run directory to make, or with `resume` to go on with.
    probe
        (image, labels) that validation probes the encoder on. They choose the mask ratio, where
        `pretrain.mask.adapt_ratio` asks for it; nothing else is learned from them.
    beside
        Texts to write into the run directory, by name of the file.

    Returns
    -------
    Run
        With the encoder's weights by the names that networks know them by.

    Raises
    ------
    InputError, ConfigError, RunError
        If volumes, settings or the directory cannot be used.
    """
    if not images:
        raise InputError("no volumes to pretrain on", "at least one --image", "give one or several --image")
    voxel_size = images[0].voxel_size
    check_names(config)
    check_sinks(config)
    pretext: Pretext = PRETEXTS.resolve(config.pretrain.method)(config, voxel_size)
    network = pretext.kept
    stride = network_stride(config.model, voxel_size)
    z, y, x = (math.lcm(s, p) for s, p in zip(stride, network.patch, strict=True))
    settings = resolved(config, voxel_size, (z, y, x))
    crop = _crop(settings)
    check_settings(settings, network.patch, probe)
    normalisers = [fit_normaliser(image, settings.data) for image in images]
    split = [hold_back(image.box, crop, settings.data.validation) for image in images]
    regions, held = [r for r, _ in split], [h for _, h in split]
    RawSampler(_sources(images, regions, normalisers, settings), crop, settings.data, 0, batch=1)
    check_devices(settings.train.devices)
    card = _card(settings, network, (images, normalisers, held), probe)
    run = open_or_create(out, settings, card, resume=resume)
    for name, text in (beside or {}).items():
        write_atomic(run.path / name, text.encode())
    return worked(_work, PretrainJob(images, regions, held, normalisers, probe, run), run)


def _card(
    config: Config,
    network: Any,
    given: tuple[Sequence[Volume], Sequence[Normaliser], Sequence[Box]],
    probe: Sequence[Pair],
) -> dict[str, Any]:
    images, normalisers, held = given
    return {
        **origin(config, sum(p.numel() for p in network.parameters())),
        "kind": "encoder",
        "voxel_size": list(images[0].voxel_size),
        "offsets": [],
        "patch": list(network.patch),
        "sources": [
            {
                "image": image.name,
                "shape": list(image.shape),
                "voxel_size": list(image.voxel_size),
                "normaliser": normaliser.to_dict(),
                "held_back": {"start": list(part.start), "stop": list(part.stop)},
            }
            for image, normaliser, part in zip(images, normalisers, held, strict=True)
        ],
        "probe": [[image.name, labels.name] for image, labels in probe],
        "init": None,
    }


def check_names(config: Config) -> None:
    """Raise a ConfigError if the method or the mask policy is unknown, or a setting would change nothing."""
    PRETEXTS.resolve(config.pretrain.method)
    MASKS.resolve(config.pretrain.mask.policy)
    check_effect(config.pretrain)
    if config.pretrain.mask.policy == "learned":
        raise ConfigError(
            "pretrain.mask.policy = learned", "another policy", "agents choose in the recipe decision_mim"
        )


def check_settings(config: Config, patch: Int3, probe: Sequence[Pair]) -> None:
    """Meet now what would otherwise stop the first step.

    Raises
    ------
    ConfigError
        If the crop is no whole number of patches, or a probe is missing.
    """
    crop = _crop(config)
    if any(c % p for c, p in zip(crop, patch, strict=True)):
        raise ConfigError(
            f"data.crop = {list(crop)}",
            f"multiples of the patch {list(patch)}",
            "leave data.crop out, or round it to multiples",
        )
    if np.prod([c // p for c, p in zip(crop, patch, strict=True)]) < 2:
        raise ConfigError(
            f"data.crop = {list(crop)}",
            f"at least two patches of {list(patch)}",
            "a larger data.crop, or a smaller model.vit.patch",
        )
    if config.pretrain.mask.adapt_ratio and not probe:
        raise ConfigError(
            "pretrain.mask.adapt_ratio without labels",
            "at least one --probe-image with its --probe-labels",
            "give a small labelled crop, or set pretrain.mask.ratio yourself",
        )


def hold_back(box: Box, crop: Int3, share: float) -> tuple[Box, Box]:
    """Cut a volume into the part to learn from and a slab for validation that holds at least one crop.

    Where there is no room for both, both are the whole: the error on hidden patches still says whether learning goes
    on, and the encoder is judged by what it does downstream.
    """
    axis = int(np.argmax([n / c for n, c in zip(box.shape, crop, strict=True)]))
    depth = max(crop[axis], round(share * box.shape[axis]))
    if share == 0 or box.shape[axis] - depth < crop[axis]:
        return box, box
    stop, start = list(box.stop), list(box.start)
    stop[axis] = start[axis] = box.stop[axis] - depth
    return Box(box.start, (stop[0], stop[1], stop[2]), box.voxel_size), Box(
        (start[0], start[1], start[2]), box.stop, box.voxel_size
    )


def _work(fabric: Fabric, job: PretrainJob) -> bool:
    run, config = job.run, job.run.config
    torch.manual_seed(config.train.seed)
    objective: Pretext = PRETEXTS.resolve(config.pretrain.method)(config, run.voxel_size)
    sampler = RawSampler(
        _sources(job.images, job.regions, job.normalisers, config),
        _crop(config),
        config.data,
        config.train.seed,
        batch=config.train.batch,
        views=objective.views(),
    )

    def batches(first_step: int, rank: int, world: int) -> Iterator[Batch]:
        order = Order(config.train.batch, first_step, None, rank, world)
        return iter(make_loader(sampler, order, config.data, pin_memory=fabric.device.type == "cuda"))

    validator = objective.validator(_held_crops(job, objective), _probe_crops(job, objective.kept.patch))
    return train_loop(fabric, run, objective, batches, validator)


def _held_crops(job: PretrainJob, objective: Pretext) -> list[dict[str, Tensor]]:
    config = job.run.config
    still = config.data.model_copy(update={"augment": config.data.augment.still()})
    sources = _sources(job.images, job.held, job.normalisers, config)
    sampler = RawSampler(sources, _crop(config), still, 1, batch=1, views=objective.views())
    return [collate([(i, sampler(i))]) for i in range(config.pretrain.crops)]


def _probe_crops(job: PretrainJob, patch: Int3) -> list[dict[str, Tensor]]:
    """Labelled crops on a regular grid, at most as many as validation has, with the share of cut edges a patch."""
    config, found = job.run.config, []
    crop = _crop(config)
    for image, labels in job.probe:
        normaliser = fit_normaliser(image, config.data)
        blocks = [b.write for b in labels.box.intersected(image.box).blocks(crop) if b.write.shape == crop]
        for box in blocks[:: max(1, len(blocks) // config.pretrain.crops)]:
            ids, _ = known_labels(labels.read(box))
            affinities, _ = affinities_from_labels(ids, NEAREST)
            cut = torch.from_numpy(1 - affinities.astype(np.float32).mean(0))[None, None]
            found.append(
                {
                    "image": torch.from_numpy(normaliser(image.read(box)))[None, None],
                    "voxel_size": torch.tensor([image.voxel_size]),
                    "cut": patches(cut, patch).mean(-1),
                }
            )
    if len(found) == 1:
        raise InputError(
            "one labelled crop to probe with",
            f"at least two of {list(crop)} voxels",
            "give a larger labelled volume, or a smaller data.crop",
        )
    return found


def _sources(
    images: Sequence[Volume], regions: Sequence[Box], normalisers: Sequence[Normaliser], config: Config
) -> Any:
    weights = config.pretrain.weights
    return prepare_raw(images, config.data, regions=regions, normalisers=normalisers, weights=weights)


def _crop(config: Config) -> Int3:
    assert config.data.crop is not None  # filled by `resolved`
    return config.data.crop


def restored(run: Run) -> Pretext:
    """The objective of a pretraining run as its last checkpoint left it, with the averaged weights.

    Raises
    ------
    RunError
        If the run has no checkpoint.
    """
    tensors, state = read_tensors(run.path / CHECKPOINT)
    objective: Pretext = PRETEXTS.resolve(run.config.pretrain.method)(run.config, run.voxel_size)
    load_exactly(objective.kept, part_of(tensors, "ema."), str(run.path))
    with torch.no_grad():
        for name, tensor in objective.state_dict().items():
            if not name.startswith("kept."):
                tensor.copy_(tensors[f"objective.{name}"])
    objective.load_extra_state(part_of(tensors, "extra."), state["extra"])
    objective.eval()
    return objective


def looks(run: Run, count: int) -> list[Pictures]:
    """Pictures of held-back crops of the first volume, as the finished run sees and answers them.

    Raises
    ------
    VolumeError
        If the volume is not where it was.
    """
    source, config = run.card["sources"][0], run.config
    z, y, x = source["voxel_size"]
    image = open_volume(source["image"], voxel_size=(z, y, x))
    start, stop = (tuple(source["held_back"][end]) for end in ("start", "stop"))
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), image.box.voxel_size)
    objective = restored(run)
    few = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"crops": count, "weights": None})})
    normaliser = Normaliser.from_dict(source["normaliser"])
    job = PretrainJob([image], [box], [box], [normaliser], [], Run(run.path, few, run.card))
    return [objective.look(crop) for crop in _held_crops(job, objective)]
