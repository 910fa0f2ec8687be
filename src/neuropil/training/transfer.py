"""First weights from elsewhere: taken with a full account, or refused; never partly and silently."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuropil.affinities import Offsets
from neuropil.config import Config, ModelConfig, TrainConfig, parse_config
from neuropil.errors import RunError, listed
from neuropil.geometry import Float3, alike
from neuropil.models.convnext import plan_fold
from neuropil.plan import default_offsets
from neuropil.tasks.base import task_named
from neuropil.training.checkpoint import CARD, WEIGHTS, Run, read_tensors
from neuropil.training.encoders import INFLATED, check_lone, check_unseen, encoder_words, fold_of


@dataclass(frozen=True)
class Account:
    """What became of every tensor.

    Parameters
    ----------
    matched
        Names that were taken as they are.
    missing
        Names of the network that keep their fresh weights.
    reshaped
        Those among `missing` that the file has in another shape.
    unused
        Names of the file that the network does not take.
    share
        How much of what was asked for (by number of weights) was found.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]
    unused: tuple[str, ...]
    share: float

    def lines(self, where: str) -> list[str]:
        """The account for people."""
        told = [f"first weights from '{where}': {len(self.matched)} tensors taken ({self.share:.1%} of what was asked)"]
        for what, names in (
            ("fresh", self.missing),
            ("of another shape", self.reshaped),
            ("not used", self.unused),
        ):
            if names:
                told.append(f"  {len(names)} {what}: {listed(names)}")
        return told

    def summary(self) -> dict[str, Any]:
        """The account for run.json."""
        return {
            "matched": len(self.matched),
            "missing": list(self.missing),
            "reshaped": list(self.reshaped),
            "unused": list(self.unused),
            "share": round(self.share, 4),
        }


def adopted(config: Config, init: str | None, voxel_size: Float3) -> Config:
    """The settings, with what those of the first weights say of their meaning.

    Of an inflated encoder, its sizes: they are those of a file of somebody else, and of some of them (heads, eps) no
    shape tells. Of another encoder, such settings must be the same on both sides; so must its patches, where they have
    as many voxels. Of a network that learned affinities at about this voxel size, their steps, unless the settings say
    others. What is taken over, and what is not the same, is said on stderr.

    Parameters
    ----------
    init
        A run directory, or the weights in one; of a file elsewhere only its patches may be known.
    voxel_size
        nm, z, y, x, of what will be trained on.

    Raises
    ------
    ConfigError
        If the settings that remain (taps) do not fit that encoder, or its weights would mean something else here.
    RunError
        If the run cannot be read.
    """
    if init is None:
        return config
    folder = Path(init).parent if Path(init).name == WEIGHTS else Path(init)
    if not (folder / CARD).is_file():
        check_lone(config.model, Path(init), voxel_size)
        return config
    run = Run.open(folder)
    config, theirs = _encoder_only(config, run, str(folder)), run.config.model
    if theirs.encoder in INFLATED:
        config = _inflated_sizes(config, theirs, str(init))
        _note_other_size(config, run, voxel_size, str(folder))
    else:
        check_unseen(config.model, run, voxel_size)
    return _their_steps(config, run, voxel_size, str(folder))


def _inflated_sizes(config: Config, theirs: ModelConfig, init: str) -> Config:
    part, own = INFLATED[str(theirs.encoder)]
    values = config.model_dump(mode="json")
    sizes = theirs.model_dump(mode="json")[part]
    kept = {key: values["model"][part][key] for key in own}
    values["model"] |= {"name": theirs.name, "encoder": theirs.encoder, part: {**sizes, **kept}}
    taken = parse_config(values)
    if taken != config:
        print(
            f"taken over from '{init}': model.name={theirs.name}, model.encoder={theirs.encoder}, and model.{part} "
            f"({_sizes(theirs)}) except {', '.join(own)}",
            file=sys.stderr,
        )
    return taken


def _note_other_size(config: Config, run: Run, voxel_size: Float3, where: str) -> None:
    """Say that a ConvNeXt puts sections together as voxels of another size would have it."""
    if run.config.model.encoder != "convnext" or not run.card.get("voxel_size"):
        return
    kept = fold_of(config.model, voxel_size)
    fitting = plan_fold(config.model.seen(voxel_size), config.model.convnext.stem_stride)
    if kept != fitting:
        made, here = (" × ".join(f"{nm:g}" for nm in size) for size in (run.voxel_size, voxel_size))
        again = ",".join(f"{v:g}" for v in voxel_size)
        print(
            f"note: '{where}' was made for voxels of {made} nm, here are {here}: it puts sections together as "
            f"{list(kept)}, not {list(fitting)}; neuropil inflate with --voxel-size {again} makes one that fits",
            file=sys.stderr,
        )


def _sizes(model: ModelConfig) -> str:
    if model.encoder == "convnext":
        return f"channels {list(model.convnext.dims)}, blocks {list(model.convnext.depths)}"
    return f"width {model.vit.dim}, {model.vit.depth} blocks, patches of {model.vit.patch}"


def _encoder_only(config: Config, run: Run, where: str) -> Config:
    """The settings, by which only an encoder is taken from a network that was trained for another task."""
    made = run.config.task
    # a run of another kind has a head of its own names; this one's would fit, and mean something else
    if config.train.transfer != "auto" or run.card.get("kind", "network") != "network" or made == config.task:
        return config
    print(f"'{where}' was trained for {made}, not {config.task}: its encoder is taken", file=sys.stderr)
    return config.model_copy(update={"train": config.train.model_copy(update={"transfer": "encoder"})})


def _their_steps(config: Config, run: Run, voxel_size: Float3, where: str) -> Config:
    """The settings, with the steps of affinities that a network has learned."""
    if not run.card.get("offsets") or not same_network(config, run) or config.train.transfer == "encoder":
        return config
    ours = config.model.offsets or default_offsets(voxel_size)
    if run.offsets == ours:
        return config
    if config.model.offsets is None and alike(voxel_size, run.voxel_size):
        print(f"taken over from '{where}': the steps of its affinities, {_steps(run.offsets)}", file=sys.stderr)
        return config.model_copy(update={"model": config.model.model_copy(update={"offsets": run.offsets})})
    if len(run.offsets) != len(ours):
        return config  # of another number of outputs, none are taken, and the account says so
    print(
        f"note: '{where}' learned affinities of {_steps(run.offsets)}; the same outputs will learn {_steps(ours)}",
        file=sys.stderr,
    )
    return config


def same_network(config: Config, run: Run) -> bool:
    """Whether a run has learned the task of these settings with their network; steps of affinities may differ."""
    theirs, ours = (c.model.model_copy(update={"offsets": None}) for c in (run.config, config))
    return run.card.get("kind", "network") == "network" and run.config.task == config.task and theirs == ours


def _steps(offsets: Offsets) -> str:
    return " ".join(",".join(str(step) for step in offset) for offset in offsets)


def read_first_weights(init: str) -> tuple[Path, dict[str, Tensor], dict[str, str]]:
    """The file behind `--init`, its tensors, and which file it was.

    Raises
    ------
    RunError
        If it is missing, damaged, or not safetensors.
    """
    path = Path(init) / WEIGHTS if Path(init).is_dir() else Path(init)
    tensors, _ = read_tensors(path)
    return path, tensors, {"path": str(path), "sha256": sha256_of(path)}


def how_to_fit(path: Path, config: Config, voxel_size: Float3) -> str:
    """What would make weights fit a network, as far as the run that they lie in says it; empty if there is none."""
    if path.name != WEIGHTS or not (path.parent / CARD).is_file():
        return ""
    run = Run.open(path.parent)
    words = encoder_words(run, config.model, voxel_size)
    if words:
        return " ".join(f"--set {word}" for word in words)
    if not run.card.get("voxel_size"):
        return ""
    made, here = (" × ".join(f"{nm:g}" for nm in size) for size in (run.voxel_size, voxel_size))
    return f"their network is one for voxels of {made} nm (z, y, x), here are {here}: resample, or begin from scratch"


#: Settings of `segment` that say what a threshold is, or how it is chosen, and not what it means.
CALIBRATED = ("threshold", "bias", "min_size", "enough_objects", "caution", "keep_first")


def decoding_of(path: Path, account: Account, config: Config, voxel_size: Float3) -> dict[str, Any]:
    """What decoding came with first weights, and what it rests on; see `neuropil.tasks.base.Labelled`.

    Empty unless a whole run was taken whose decoding means the same here: of this task and these channels, in voxels of
    about this size, with the same settings of what it decodes.
    """
    if path.name != WEIGHTS or account.missing or account.unused or not (path.parent / CARD).is_file():
        return {}
    run, task = Run.open(path.parent), task_named(config.task)
    best = run.card.get("best", {})
    rests_on = best.get("rests_on", best.get("fragments", 0))
    same = (
        same_network(config, run)
        and [c.step for c in run.channels] == [c.step for c in task.channels(config)]
        and alike(voxel_size, run.voxel_size)
        and _decoded(config) == _decoded(run.config)
    )
    return {**run.calibration, "rests_on": rests_on} if same and rests_on else {}


def _decoded(config: Config) -> tuple[Any, ...]:
    """What gives a threshold its meaning: how affinities are learned, and how fragments are made and scored."""
    train = config.train
    learned = (train.loss, train.balance, train.dice, config.data.widen_border)
    return (*learned, config.segment.model_dump(exclude=set(CALIBRATED)))


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def transfer(network: nn.Module, tensors: Mapping[str, Tensor], config: TrainConfig, where: str) -> Account:
    """Give a network its first weights.

    Weights that fit exactly are all taken. Otherwise `config.transfer` says which: the encoder's ("auto", "encoder";
    the published ablations speak for it), or all that fit in name and shape ("all").

    Raises
    ------
    RunError
        If less than `config.transfer_floor` of the encoder's weights are found; nothing is changed then.
    """
    own = network.state_dict()
    fitting = {name for name in own if name in tensors and tensors[name].shape == own[name].shape}
    whole = fitting == set(own) == set(tensors)
    names: Any = getattr(network, "encoder_names", None)
    encoder: set[str] = set(own) if names is None else names()
    wanted = set(own) if config.transfer == "all" or (whole and config.transfer == "auto") else encoder
    taken = fitting & wanted
    share = _weights(own, encoder & fitting) / max(1, _weights(own, encoder))
    account = Account(
        matched=tuple(n for n in own if n in taken),
        missing=tuple(n for n in own if n not in taken),
        reshaped=tuple(n for n in own if n in wanted and n in tensors and n not in fitting),
        unused=tuple(n for n in tensors if n not in taken),
        share=share,
    )
    if share < config.transfer_floor or not taken:
        absent = [n for n in own if n in encoder and n not in fitting]
        raise RunError(
            f"weights of '{where}' do not fit the network: {share:.1%} of its encoder; "
            f"missing or of another shape: {listed(absent)}",
            f"at least {config.transfer_floor:.0%} (train.transfer_floor)",
            "use the network and the settings under model. that they were made with",
        )
    with torch.no_grad():
        for name in taken:
            own[name].copy_(tensors[name])
    return account


def _weights(own: Mapping[str, Tensor], names: set[str]) -> int:
    return sum(own[name].numel() for name in names)
