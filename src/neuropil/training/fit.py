"""`fit`: from labelled volumes and settings to a Run directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from neuropil.config import Config
from neuropil.data.batches import Order, make_loader
from neuropil.data.normalise import Normaliser, fit_normaliser
from neuropil.data.sampling import Sampler, prepare, split_region
from neuropil.data.targets import known_labels
from neuropil.errors import ConfigError, InputError, RunError
from neuropil.geometry import Box, Float3, Int3
from neuropil.infer.predict import volume_plan
from neuropil.infer.settings import predict_settings
from neuropil.locks import alone_in
from neuropil.models import build_model, network_stride
from neuropil.plan import resolved
from neuropil.tasks.base import task_named
from neuropil.training.card import model_card
from neuropil.training.checkpoint import Run, write_atomic
from neuropil.training.engine import check_devices, launch
from neuropil.training.loop import train_loop
from neuropil.training.objective import Batch, HintedObjective, SupervisedObjective
from neuropil.training.rundir import open_or_create, origin
from neuropil.training.sinks import check_sinks
from neuropil.training.transfer import adopted, decoding_of, how_to_fit, read_first_weights, transfer
from neuropil.training.validate import Part, Validator
from neuropil.volume import Volume

Pair = tuple[Volume, Volume]


@dataclass(frozen=True)
class Job:
    """What every training process is given; picklable."""

    pairs: Sequence[Pair]
    regions: Sequence[Box]
    held: Sequence[Part]
    normalisers: Sequence[Normaliser]
    run: Run
    init: str | None
    first: Mapping[str, Any]

    @property
    def settings(self) -> Config:
        """Of the run."""
        return self.run.config

    @property
    def voxel_size(self) -> Float3:
        """nm, z, y, x, of the run."""
        return self.run.voxel_size


@dataclass(frozen=True)
class Prepared:
    """Checked volumes and settings of a training that has not begun.

    Parameters
    ----------
    settings
        All of them, filled for the voxel size.
    regions, held
        What of each volume is learned from, and what is held back.
    """

    pairs: Sequence[Pair]
    settings: Config
    regions: Sequence[Box]
    held: Sequence[Part]
    normalisers: Sequence[Normaliser]

    @property
    def voxel_size(self) -> Float3:
        """nm, z, y, x, of all volumes."""
        return self.pairs[0][0].voxel_size


def fit(
    pairs: Sequence[Pair],
    config: Config,
    out: str | os.PathLike[str],
    *,
    init: str | None,
    resume: bool,
    beside: Mapping[str, str] | None = None,
) -> Run:
    """Train a network on labelled volumes.

    Parameters
    ----------
    pairs
        (image, labels) volumes of one voxel size.
    config
        Settings; the empty ones are filled from the voxel size.
    out
        The run directory to make, or with `resume` to go on with.
    init
        First weights: a run directory or a .safetensors file. An inflated run brings its encoder's settings too.
    beside
        Texts to write into the run directory, by name of the file.

    Returns
    -------
    Run
        With weights, calibrated decoding, and a model card.

    Raises
    ------
    InputError, GeometryError, ConfigError, RunError
        If volumes, settings or the directory cannot be used; see the modules that check them.
    """
    return fit_prepared(prepared(pairs, config, init), out, init=init, resume=resume, beside=beside)


def fit_prepared(
    ready: Prepared,
    out: str | os.PathLike[str],
    *,
    init: str | None,
    resume: bool,
    beside: Mapping[str, str] | None = None,
) -> Run:
    """Train what has been checked; see `fit`."""
    settings, voxel_size = ready.settings, ready.voxel_size
    first = None if init is None else first_weights(init, settings, voxel_size)
    card = {**_card(settings, voxel_size, _sources(ready.pairs, ready.normalisers, ready.held)), "init": first}
    run = open_or_create(out, settings, card, resume=resume)
    for name, text in (beside or {}).items():
        write_atomic(run.path / name, text.encode())
    begun = run.card["init"] or {}
    decoding = begun.get("decoding", {})
    job = Job(ready.pairs, ready.regions, ready.held, ready.normalisers, run, begun.get("path"), decoding)
    return worked(_work, job, run)


def prepared(pairs: Sequence[Pair], config: Config, init: str | None) -> Prepared:
    """Fill the settings and check all that can be wrong, before a directory exists; see `fit`."""
    voxel_size = _voxel_size(pairs)
    config = adopted(_flat_if_thin(config, pairs), init, voxel_size)
    settings = resolved(config, voxel_size, network_stride(config.model, voxel_size))
    check_crop(settings, network_stride(settings.model, voxel_size))
    check_sinks(settings)
    normalisers = [fit_normaliser(image, settings.data) for image, _ in pairs]
    regions, held = [], []
    for (image, labels), normaliser in zip(pairs, normalisers, strict=True):
        region, slab = split_region(labels.box.intersected(image.box), settings.data)
        regions.append(region)
        if slab is not None:
            held.append(Part(image, labels, slab, normaliser))
    if not held:
        raise ConfigError(
            f"data.validation = {settings.data.validation}",
            "a share above 0: decoding is calibrated on what is held back",
            "leave data.validation out",
        )
    ready = Prepared(pairs, settings, regions, held, normalisers)
    sampler_of(ready)
    check_decoding(settings, held, voxel_size)
    check_devices(settings.train.devices)
    return ready


def sampler_of(ready: Prepared | Job) -> Sampler:
    """What makes the training crops, with the volumes that fit in memory."""
    config = ready.settings
    sources = prepare(ready.pairs, config.data, regions=ready.regions, normalisers=ready.normalisers)
    targets = task_named(config.task).targets(config, ready.voxel_size)
    return Sampler(sources, _crop(config), targets, config.data, config.train.seed)


def worked(work: Callable[[Fabric, Any], bool], job: Any, run: Run) -> Run:
    """Do the work of a run in its processes, and say in its card how it ended.

    Raises
    ------
    KeyboardInterrupt
        If it was stopped; the run can be resumed.
    RunError
        If another process is training it.
    """
    config = run.config.train
    with alone_in(run.path, "training", RunError):
        run.updated(status="training")
        try:
            finished = launch(work, job, devices=config.devices, precision=config.precision)
        except KeyboardInterrupt:
            Run.open(run.path).updated(status="interrupted")
            raise
        if not finished:
            Run.open(run.path).updated(status="interrupted")
            raise KeyboardInterrupt
        done = Run.open(run.path).updated(status="complete")
        write_atomic(done.path / "README.md", model_card(done).encode())
        return done


def check_decoding(config: Config, held: Sequence[Part], voxel_size: Float3) -> None:
    """Meet now what would otherwise stop the first validation: settings of the task, tiles, slabs without labels.

    Raises
    ------
    ConfigError, InputError
        For the first of them.
    """
    task = task_named(config.task)
    task.check(config, voxel_size)
    settings = predict_settings(config, network_stride(config.model, voxel_size))
    bare = []
    for slab in held:
        volume_plan(slab.image.crop(slab.box), settings)
        ids, _ = known_labels(slab.labels.read(slab.box))
        bare += [] if ids.any() else [slab]
        if bare and (not task.pooled or len(bare) == len(held)):
            raise InputError(
                f"the slab held back of '{slab.labels.name}' ({slab.box.start}..{slab.box.stop}) holds no object",
                "labelled voxels to calibrate on",
                "choose another data.validation_axis, or a larger data.validation",
            )


def first_weights(init: str, config: Config, voxel_size: Float3) -> dict[str, Any]:
    """Check that first weights fit and print the account of them; which they are.

    Raises
    ------
    RunError
        If they are missing, damaged, or of another network.
    """
    path, tensors, identity = read_first_weights(init)
    network = _built(config, voxel_size)
    try:
        account = transfer(network, tensors, config.train, str(path))
    except RunError as error:
        raise RunError(error.got, error.expected, how_to_fit(path, config, voxel_size) or error.fix) from None
    print("\n".join(account.lines(str(path))), file=sys.stderr)
    return {**identity, "account": account.summary(), "decoding": decoding_of(path, account, config, voxel_size)}


def check_crop(config: Config, stride: Int3) -> None:
    """Raise a ConfigError unless the crop is a multiple of the network's stride."""
    if any(c % s for c, s in zip(_crop(config), stride, strict=True)):
        raise ConfigError(
            f"data.crop = {list(_crop(config))}",
            f"multiples of {list(stride)}, the network's stride",
            "leave data.crop out, or round it to multiples",
        )


def _work(fabric: Fabric, job: Job) -> bool:
    config = job.run.config
    sampler = sampler_of(job)
    stride = network_stride(config.model, job.run.voxel_size)

    def batches(first_step: int, rank: int, world: int) -> Iterator[Batch]:
        order = Order(config.train.batch, first_step, None, rank, world)
        return iter(make_loader(sampler, order, config.data, pin_memory=fabric.device.type == "cuda"))

    context = (2 * stride[0], 2 * stride[1], 2 * stride[2])
    learned = [
        Part(image, labels, region, normaliser)
        for (image, labels), region, normaliser in zip(job.pairs, job.regions, job.normalisers, strict=True)
    ]
    validator = Validator(job.held, learned, config, predict_settings(config, stride), context, job.first)
    return train_loop(fabric, job.run, _objective(job), batches, validator)


def _objective(job: Job) -> SupervisedObjective:
    config = job.run.config
    task = task_named(config.task)

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        return task.loss(logits, batch, config)

    network, hint = _network(job), task.hint(config, job.run.voxel_size)
    return SupervisedObjective(network, loss) if hint is None else HintedObjective(network, loss, hint)


def _network(job: Job) -> nn.Module:
    config = job.run.config
    torch.manual_seed(config.train.seed)
    network = _built(config, job.run.voxel_size)
    if job.init is not None:
        path, tensors, _ = read_first_weights(job.init)
        transfer(network, tensors, config.train, str(path))
    return network


def _sources(pairs: Sequence[Pair], normalisers: Sequence[Normaliser], held: Sequence[Part]) -> list[dict[str, Any]]:
    return [
        {
            "image": image.name,
            "labels": labels.name,
            "shape": list(image.shape),
            "normaliser": normaliser.to_dict(),
            "held_back": {"start": list(slab.box.start), "stop": list(slab.box.stop)},
        }
        for (image, labels), normaliser, slab in zip(pairs, normalisers, held, strict=True)
    ]


def _card(config: Config, voxel_size: Float3, sources: list[dict[str, Any]]) -> dict[str, Any]:
    task = task_named(config.task)
    channels = task.channels(config)
    return {
        **origin(config, sum(p.numel() for p in _built(config, voxel_size).parameters())),
        "voxel_size": list(voxel_size),
        "task": config.task,
        "channels": [[channel.name, list(channel.step)] for channel in channels],
        "offsets": [list(channel.step) for channel in channels] if task.kind == "affinities" else [],
        "sources": sources,
    }


def _built(config: Config, voxel_size: Float3) -> nn.Module:
    """The network with an output for each channel of the task, and fresh weights."""
    channels = task_named(config.task).channels(config)
    network = build_model(config.model, voxel_size, len(channels))
    if any(channel.prior != 0.5 for channel in channels):
        bias = network.get_parameter("head.bias")
        with torch.no_grad():
            bias.copy_(torch.logit(torch.tensor([channel.prior for channel in channels])))
    return network


def _flat_if_thin(config: Config, pairs: Sequence[Pair]) -> Config:
    """Settings of a network that does not look along z, where there is nothing to see there."""
    if any(image.box.shape[0] > 1 for image, _ in pairs):
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"flat": True})})


def _voxel_size(pairs: Sequence[Pair]) -> Float3:
    if not pairs:
        raise InputError("no training volumes", "at least one --image with its --labels", "give both, in pairs")
    return pairs[0][0].voxel_size


def _crop(config: Config) -> Int3:
    assert config.data.crop is not None  # filled by `resolved`
    return config.data.crop
