"""What training and pretraining will take: memory is counted first, then a few steps are really taken.

The steps are those of a run in a folder that is thrown away: the same volumes, crops, network, losses and validation.
"""

from __future__ import annotations

import math
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from neuropil.auto.memory import PROCESS_BYTES, available_bytes, step_memory
from neuropil.config import Config
from neuropil.geometry import Box
from neuropil.preview.plan import Plan, Stage, require_disk, require_memory
from neuropil.training.checkpoint import CHECKPOINT, Run, read_tensors
from neuropil.training.fit import Pair, fit_prepared, prepared
from neuropil.training.pretrain import fit_pretext
from neuropil.training.validate import Part
from neuropil.volume import Volume

#: Steps that are taken, and those of them whose time does not count, since caches and kernels are still cold.
STEPS, COLD = 6, 2
#: Voxels of a held-back slab that are predicted and decoded to time a validation.
_SLAB = 2 * 96**3
#: Held-back crops that are looked at to time a validation of pretraining.
_CROPS = 2
#: Copies of the weights in a run directory: weights, average, two moments; and what is kept. Written before the old one
#: is replaced.
_COPIES = 5 + 5


def plan_training(pairs: Sequence[Pair], config: Config, out: Path, *, init: str | None) -> Plan:
    """What `neuropil.training.fit.fit` will take.

    Raises
    ------
    InputError
        If a step cannot fit into memory.
    VolumeError
        If the run cannot fit onto the disk.
    NeuropilError
        Whatever `fit` would raise before it begins.
    """
    ready = prepared(pairs, config, init)
    settings = ready.settings
    counted = _counted(settings, ready.voxel_size, sum(image.box.size * image.dtype.itemsize for image, _ in pairs))
    trimmed = [_trimmed(part) for part in ready.held]
    share = sum(part.box.size for part in ready.held) / sum(part.box.size for part in trimmed)
    short = replace(ready, settings=_short(settings), held=trimmed)
    pace, validation, run = _measured(lambda folder: fit_prepared(short, folder, init=init, resume=False))
    return _plan("train", settings, out, (pace, share * validation), int(run.card["parameters"]), counted)


def plan_pretraining(images: Sequence[Volume], config: Config, out: Path) -> Plan:
    """What `neuropil.training.pretrain.fit_pretext` will take; errors as of `plan_training`."""
    short = _short(config)
    short = short.model_copy(update={"pretrain": short.pretrain.model_copy(update={"crops": _CROPS})})
    pace, validation, run = _measured(lambda folder: fit_pretext(images, short, folder, probe=[], resume=False))
    share = config.pretrain.crops / _CROPS
    return _plan("pretrain", config, out, (pace, share * validation), int(run.card["parameters"]), None)


def _counted(settings: Config, voxel_size: tuple[float, float, float], images: int) -> int | None:
    """Bytes of training as far as they can be counted beforehand; refused if they are not there."""
    step = step_memory(settings, voxel_size)
    if step is None:
        return None
    cached = min(images, round(settings.data.cache_gb * 2**30))
    need = step.total + (0 if torch.cuda.is_available() else PROCESS_BYTES + cached)
    fixes = [f"a smaller crop (--set data.crop=…, now {list(settings.data.crop or ())})"]
    if settings.train.batch > 1:
        fixes.insert(0, f"a smaller batch (--set train.batch=…, now {settings.train.batch})")
    if settings.model.name == "unetr" and not settings.model.vit.checkpointing:
        fixes.append("--set model.vit.checkpointing=true")
    if cached > need // 4:
        fixes.append(f"read volumes by box (--set data.cache_gb=…, now {settings.data.cache_gb:g})")
    require_memory("a step of training", need, available_bytes(), fixes)
    return need


def _short(settings: Config) -> Config:
    train = {"steps": STEPS, "budget": None, "log_every": 1, "validations": 1, "sinks": ()}
    return settings.model_copy(update={"train": settings.train.model_copy(update=train)})


def _trimmed(part: Part) -> Part:
    """The first part of a slab along its longest axis."""
    box = part.box
    if box.size <= _SLAB:
        return part
    axis = max(range(3), key=lambda a: box.shape[a])
    stop = list(box.stop)
    stop[axis] = box.start[axis] + max(1, box.shape[axis] * _SLAB // box.size)
    return replace(part, box=Box(box.start, (stop[0], stop[1], stop[2]), box.voxel_size))


def _measured(work: Callable[[Path], Run]) -> tuple[float, float, Run]:
    """Seconds of a step and of a validation, and the run that was thrown away."""
    print(f"measuring: {STEPS} steps and a validation", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="neuropil-plan-") as folder:
        run = work(Path(folder) / "run")
        rows = run.rows("train")
        _, state = read_tensors(run.path / CHECKPOINT)
    warm = rows[COLD - 1 :]
    pace = (warm[-1]["elapsed"] - warm[0]["elapsed"]) / (len(warm) - 1)
    return max(pace, 1e-3), float(state["schedule"]["validation_seconds"]), run


def _plan(
    what: str, settings: Config, out: Path, measured: tuple[float, float], parameters: int, counted: int | None
) -> Plan:
    pace, validation = measured
    train = settings.train
    validating = validation * train.validations
    steps = train.steps
    notes = [f"{STEPS - COLD} steps at {pace:.3g} s, and a validation at about {validation:.3g} s, were measured here"]
    if train.budget is not None:
        steps = max(1, math.floor((train.budget - validating) / pace))
        notes.append(f"a budget of {train.budget:g} s is for both")
        if validating > train.budget / 2:
            notes.append("validations take more than half of it: fewer train.validations, or a longer --budget")
    if counted is not None:
        notes.append(f"{counted / 2**30:.3g} GiB were counted before the steps were taken")
    disk = _COPIES * 4 * parameters
    require_disk(out, disk)
    memory = max(_peak_bytes(), counted or 0)
    crop = " x ".join(str(n) for n in settings.data.crop or ())
    amount = f"{steps} steps of {train.batch}" + (f" x {crop} voxels" if crop else "")
    return Plan(
        what,
        (
            Stage("train", amount, steps * pace, memory, disk),
            Stage("validate", f"{train.validations} times", validating, memory),
        ),
        tuple(notes),
    )


def _peak_bytes() -> int:
    """Most memory so far: of the GPU, or of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
