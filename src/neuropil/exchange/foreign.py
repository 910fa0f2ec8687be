"""A bioimage.io model as a run that predicts: through our tiles, with steps of affinities that are known or said.

TorchScript is a graph of tensor operations, run by torch's own interpreter: it imports and opens nothing. Weights that
need Python of their maker (`pytorch_state_dict`) are refused.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuropil.affinities import as_offsets
from neuropil.config import Config, override, parse_config
from neuropil.errors import InputError, RunError
from neuropil.exchange.described import Described, described
from neuropil.geometry import Float3, Int3
from neuropil.plan import TILE_VOXELS, default_extent, default_offsets
from neuropil.training.checkpoint import FORMAT, Run
from neuropil.volume import Volume
from neuropil.zoo.cache import unpacked

PREFIX = "bioimageio:"
#: Probabilities are kept so far from 0 and 1, to have logits.
_EDGE = 1e-6


class Scripted(nn.Module):
    """A foreign graph as one of our networks: normalised grey values (B, 1, Z, Y, X) → logits (B, C, Z, Y, X)."""

    def __init__(self, script: nn.Module, model: Described, *, boundaries: bool) -> None:
        super().__init__()
        self.script, self.model, self.boundaries = script, model, boundaries

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        for kind, one, other in self.model.steps:
            x_BCZYX = x_BCZYX * one + other if kind == "scale" else x_BCZYX.clamp(one, other)
        parts = torch.split(x_BCZYX, 1) if self.model.one_by_one else (x_BCZYX,)
        y = torch.cat([self._answer(part) for part in parts])
        y = y if self.model.logits else y.clamp(_EDGE, 1 - _EDGE).logit()
        return -y if self.boundaries else y

    def _answer(self, x_BCZYX: Tensor) -> Tensor:
        # order[n] is where our axis n lies among theirs
        theirs = x_BCZYX.permute(*sorted(range(5), key=self.model.order_in.__getitem__)).contiguous()
        try:
            out: Any = self.script(theirs)
        except RuntimeError as error:
            raise InputError(
                f"'{self.model.name}' cannot take tiles of {tuple(x_BCZYX.shape[2:])} "
                f"({' '.join(str(error).split())[-200:]})",
                "extents that its graph was made for",
                "set predict.tile",
            ) from error
        answer: Tensor = out[0] if isinstance(out, list | tuple) else out
        return answer.float().permute(*self.model.order_out)


@dataclass(frozen=True)
class ForeignRun(Run):
    """A bioimage.io model that acts as a run; it can predict, and nothing else."""

    model: Described
    boundaries: bool

    @property
    def stride(self) -> Int3:
        """What extents of tiles must be multiples of, z, y, x."""
        if self.model.ours:
            z, y, x = self.model.ours["stride"]
            return int(z), int(y), int(x)
        return _multiple(self.model)

    @property
    def calibration(self) -> dict[str, Any]:
        """The decoding that was calibrated for it, where neuropil made it."""
        decoding: dict[str, dict[str, Any]] = self.model.ours.get("decoding", {})
        return dict(next(iter(decoding.values()), {}))

    def load_model(self, device: str | torch.device = "cpu") -> nn.Module:
        """The network.

        Raises
        ------
        RunError
            If its file is no TorchScript.
        """
        try:
            with warnings.catch_warnings():
                # TorchScript is what bioimage.io has, however torch likes it
                warnings.simplefilter("ignore", DeprecationWarning)
                script = torch.jit.load(str(self.model.script), map_location=device)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())[:200]
            raise RunError(f"'{self.model.script}' is no TorchScript ({text})", "a file of torch.jit.save") from error
        return Scripted(script, self.model, boundaries=self.boundaries).to(device).eval()


def opened_foreign(name: str, image: Volume, words: Sequence[str]) -> tuple[ForeignRun, list[str]]:
    """The model behind ``bioimageio:FOLDER`` or ``bioimageio:ARCHIVE.zip`` for an image, and the other settings.

    Parameters
    ----------
    words
        Settings; those under `foreign.` say what the model does not.

    Raises
    ------
    InputError
        If its steps are not known, or not as many as its channels.
    RunError, VolumeError
        If it cannot be read, or is none that we can run; see `neuropil.exchange.described`.
    """
    place = Path(name.removeprefix(PREFIX))
    if not place.exists():
        raise RunError(f"'{place}' does not exist", f"{PREFIX} and a folder or an archive", "correct the path")
    model = described(place if place.is_dir() else unpacked(place, lambda _: True))
    foreign = [word for word in words if word.strip().startswith("foreign.")]
    said = override(Config(), foreign).foreign
    card = {"format": FORMAT, "status": "complete", "sources": [], **_channels(model, said.offsets)}
    boundaries = said.boundaries if said.boundaries is not None else model.ours.get("boundaries")
    if boundaries is None:
        raise InputError(
            f"'{model.name}' does not say what its 1 means",
            "affinities, or boundaries (their opposite)",
            "--set foreign.boundaries=false where 1 means together, true where it means apart",
        )
    card["voxel_size"] = list(model.voxel_size or _volumes_own(model, image))
    run = ForeignRun(model.folder, _settings(model, card), card, model, bool(boundaries))
    return run, [word for word in words if word not in foreign]


def _channels(model: Described, said: Sequence[Int3] | None) -> dict[str, Any]:
    """The task, channels and steps of a card."""
    if said is None and model.ours:
        return {key: model.ours[key] for key in ("task", "channels", "offsets")}
    given = said if said is not None else model.offsets
    if given is None:
        raise InputError(
            f"'{model.name}' does not say which steps its {len(model.channels)} channels are",
            "the voxel step z, y, x of each channel, in their order",
            "--set foreign.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]], for example",
        )
    offsets = as_offsets(given)
    if len(offsets) != len(model.channels):
        raise InputError(f"{len(offsets)} offsets for '{model.name}'", f"{len(model.channels)}, one for each channel")
    channels = [[name, list(step)] for name, step in zip(model.channels, offsets, strict=True)]
    return {"task": "neurons", "channels": channels, "offsets": [list(step) for step in offsets]}


def _volumes_own(model: Described, image: Volume) -> Float3:
    print(
        f"note: '{model.name}' does not say its voxel size; that of '{image.name}' ({image.voxel_size} nm) is taken "
        "for it",
        file=sys.stderr,
    )
    return image.voxel_size


def _multiple(model: Described) -> Int3:
    """What extents may be multiples of: where the least one is no multiple of the growth, only a chosen one is left."""
    found = [
        least if growth and least % growth == 0 else _chosen(least, growth)
        for least, growth in zip(model.least, model.growth, strict=True)
    ]
    return found[0], found[1], found[2]


def _chosen(least: int, growth: int) -> int:
    near = round(TILE_VOXELS ** (1 / 3))
    return least + growth * max(0, (near - least) // growth) if growth else least


def _settings(model: Described, card: dict[str, Any]) -> Config:
    """Settings of a run that predicts as the model wants it."""
    z, y, x = card["voxel_size"]
    values = Config().model_dump(mode="json")
    values["task"] = card["task"]
    values["data"] |= {"normalise": model.normalise, "percentiles": list(model.percentiles)}
    values["train"]["precision"] = "fp32"
    if model.ours:
        tile, overlap = model.ours["tile"], model.ours["overlap"]
    else:
        multiple = _multiple(model)
        free = default_extent((z, y, x), TILE_VOXELS, multiple)
        # where extents are not free, the multiple is the one that was chosen
        fixed = [not g or n % g for n, g in zip(model.least, model.growth, strict=True)]
        tile = [m if f else e for e, m, f in zip(free, multiple, fixed, strict=True)]
        steps = card["offsets"] or default_offsets((z, y, x))
        longest = [max(abs(step[axis]) for step in steps) for axis in range(3)]
        overlap = [min(t - 1, max(t // 4, 2 * e, 2 * h)) for t, e, h in zip(tile, longest, model.halo, strict=True)]
    values["predict"] |= {"tile": list(tile), "overlap": list(overlap)}
    return parse_config(values)
