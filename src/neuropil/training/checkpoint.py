"""The Run directory: all that is needed to predict, to resume, and to know where the weights came from.

::

    runs/a/
      run.json               format, status, geometry, normalisation, calibrated decoding, provenance, versions
      config.yaml            the resolved settings
      model.safetensors      the best weights (exponential moving average)
      checkpoint.safetensors everything that resuming needs; state as JSON in its header, so one rename writes both
      metrics.jsonl          one row each log, validation and event
      README.md              the model card

Only safetensors are read: a pickled checkpoint can execute code, so it is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from neuropil.affinities import Offsets, as_offsets
from neuropil.config import Config, stored_config
from neuropil.errors import ConfigError, RunError, listed
from neuropil.geometry import Float3, Int3
from neuropil.models import build_model, network_stride
from neuropil.models.fitting import misfits
from neuropil.tasks.base import OF_OLD, Channel

FORMAT = 1
#: What a validation is drawn from, kept in its row of the metrics only.
DRAWN = ("sweep", "masks")
WEIGHTS, CHECKPOINT, CARD, CONFIG, METRICS = (
    "model.safetensors",
    "checkpoint.safetensors",
    "run.json",
    "config.yaml",
    "metrics.jsonl",
)


@dataclass(frozen=True)
class Run:
    """A run directory that has been opened and checked.

    Attributes
    ----------
    card
        The content of run.json.
    """

    path: Path
    config: Config
    card: dict[str, Any]

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: Config, card: Mapping[str, Any]) -> Run:
        """Start a run directory.

        Raises
        ------
        RunError
            If the directory already holds a run or other files.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(
                f"'{folder}' exists and is not empty", "a new directory", "choose another --out, or --resume"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"'{folder}' cannot be made: {error.strerror}", "a folder that may be written", "choose another --out"
            ) from None
        run = cls(folder, config, {"format": FORMAT, "status": "training", **card})
        write_atomic(folder / CONFIG, config.to_yaml().encode())
        run._write_card(run.card)
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open and check a run directory.

        Raises
        ------
        RunError
            If it is not a run, or one of another format version.
        """
        folder = Path(path)
        if not folder.exists():
            raise RunError(
                f"there is no run '{folder}'", "a directory made by `neuropil train --out`", "correct the path"
            )
        if not (folder / CARD).is_file():
            raise RunError(
                f"'{folder}' holds no {CARD}",
                "a directory made by `neuropil train --out`",
                "correct the path, or train one",
            )
        try:
            card = json.loads((folder / CARD).read_text())
            values = yaml.safe_load((folder / CONFIG).read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise RunError(
                f"'{folder}' cannot be read: {error}", f"a readable {CARD} and {CONFIG}", "copy the whole run again"
            ) from None
        if not isinstance(card, dict) or not isinstance(values, dict):
            raise RunError(
                f"'{folder}' cannot be read: not what a run holds",
                f"the {CARD} and {CONFIG} of a run",
                "copy the whole run again",
            )
        if card.get("format") != FORMAT:
            made_by = card.get("versions", {}).get("neuropil", "unknown")
            raise RunError(
                f"'{folder}' has run format {card.get('format')} (written by neuropil {made_by})",
                f"run format {FORMAT}",
                "use the neuropil version that wrote it, or train again",
            )
        try:
            config = stored_config(values)
        except ConfigError as error:
            made_by = card.get("versions", {}).get("neuropil", "unknown")
            raise RunError(
                f"'{folder / CONFIG}' (written by neuropil {made_by}): {error.got}",
                "settings that this version knows",
                f"use neuropil {made_by}, or train again",
            ) from None
        return cls(folder, config, card)

    @property
    def voxel_size(self) -> Float3:
        """nm, z, y, x, of the volumes it was trained on.

        Raises
        ------
        RunError
            If it was inflated from images, for voxels of any size.
        """
        if self.card["voxel_size"] is None:
            raise RunError(
                f"'{self.path}' was inflated for voxels of any size",
                "a run that was trained on volumes",
                f"train with --init {self.path} first",
            )
        z, y, x = self.card["voxel_size"]
        return float(z), float(y), float(x)

    @property
    def offsets(self) -> Offsets:
        """The affinity step of each output channel; none where the task is not affinities."""
        return as_offsets(self.card["offsets"])

    @property
    def task(self) -> str:
        """What was learned: a name in the TASKS table, or package.module:TASK."""
        return str(self.card.get("task", "neurons"))

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The outputs of the network."""
        stored = self.card.get("channels", [["affinity", offset] for offset in self.card["offsets"]])
        return tuple(Channel(str(name), (int(z), int(y), int(x))) for name, (z, y, x) in stored)

    @property
    def stride(self) -> Int3:
        """What extents of tiles must be multiples of, z, y, x."""
        return network_stride(self.config.model, self.voxel_size)

    @property
    def decoding_from(self) -> str:
        """Where its decoding comes from, in words."""
        best = self.card.get("best", {})
        raised = f", the threshold raised by {best['raised']:g}" if best.get("raised") else ""
        return f"{best.get('decoding', OF_OLD)}{raised}"

    @property
    def calibration(self) -> dict[str, Any]:
        """The decoding (threshold, bias) that was calibrated for these very weights.

        Raises
        ------
        RunError
            If there are no weights yet.
        """
        return dict(self._weights()[1]["calibration"])

    def _weights(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if not (self.path / WEIGHTS).is_file():
            raise RunError(f"run '{self.path}' has no {WEIGHTS} yet", "a run with weights", "finish it with --resume")
        return read_tensors(self.path / WEIGHTS)

    def load_model(self, device: str | torch.device = "cpu") -> nn.Module:
        """The trained network, in evaluation mode.

        Raises
        ------
        RunError
            If there are no weights yet, or they do not fit the configured network exactly.
        """
        if self.card.get("kind") == "encoder":
            raise RunError(
                f"'{self.path}' holds a pretrained encoder, which makes no affinities",
                "a run of `neuropil train`",
                f"train with --init {self.path}",
            )
        tensors, _ = self._weights()
        model = build_model(self.config.model, self.voxel_size, len(self.channels))
        load_exactly(model, tensors, str(self.path / WEIGHTS))
        return model.to(device).eval()

    def _repr_html_(self) -> str:
        from neuropil.notebook import curve_html, framed

        best = {k: v for k, v in self.card.get("best", {}).items() if isinstance(v, int | float)}
        facts: dict[str, object] = {
            k: self.card[k] for k in ("status", "recipe", "task", "parameters", "created") if k in self.card
        }
        facts |= {"voxel size": f"{self.card['voxel_size']} nm (z, y, x)", "steps": self.steps}
        facts |= {"volumes": ", ".join(str(source["image"]) for source in self.card["sources"])}
        curve = curve_html([(row["step"], row["loss"]) for row in self.rows("train")], "loss")
        return framed(str(self.path), curve, facts | {f"best {k.replace('_', ' ')}": v for k, v in best.items()})

    def updated(self, **changes: Any) -> Run:
        """Write changed entries of the card and return the run with them."""
        card = {**self.card, **changes}
        self._write_card(card)
        return Run(self.path, self.config, card)

    def _write_card(self, card: Mapping[str, Any]) -> None:
        write_atomic(self.path / CARD, (json.dumps(card, indent=1) + "\n").encode())

    def log(self, **row: Any) -> None:
        """Append one row to the metrics."""
        try:
            with (self.path / METRICS).open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise RunError(
                f"'{self.path / METRICS}' cannot be written: {error.strerror}",
                "space and permission to write",
                "make room and go on with --resume",
            ) from error

    def rows(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Rows of the metrics, all or of one kind ("train", "validation", "event")."""
        path = self.path / METRICS
        lines = path.read_text().splitlines() if path.is_file() else []
        rows = []
        for line in lines:
            # a killed process may leave half a last line
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
        return [row for row in rows if kind is None or row.get("kind") == kind]

    @property
    def steps(self) -> int:
        """Steps taken so far, as logged."""
        return max((int(row.get("step", 0)) for row in self.rows()), default=0)

    def forget_rows_after(self, step: int) -> None:
        """Drop metric rows of steps that are about to be repeated after a resume."""
        kept = [row for row in self.rows() if row.get("step", 0) <= step]
        write_atomic(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in kept).encode())


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, never meets half of it.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(
            f"'{path}' cannot be written: {error.strerror}",
            "space and permission to write",
            "make room, or correct the permissions",
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON state as one safetensors file, atomically."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(flat, metadata={"state": json.dumps(state)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises
    ------
    RunError
        If the file is missing, damaged, or not safetensors (a pickle is never opened).
    """
    if not path.is_file():
        raise RunError(
            f"'{path}' does not exist", "a .safetensors file", "correct the path; runs keep theirs in model.safetensors"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise RunError(
            f"'{path}' is not a whole safetensors file ({error})",
            "weights as safetensors; pickled checkpoints (.pt, .pth, .ckpt) can execute code and are refused",
            "convert it once in an environment that you trust, or copy it again if it was truncated",
        ) from None
    return tensors, json.loads(metadata.get("state", "{}"))


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def load_exactly(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load weights, all of them, in their very shapes.

    Raises
    ------
    RunError
        Naming what is missing, unexpected or of another shape.
    """
    if problems := misfits(model.state_dict(), tensors):
        raise RunError(
            f"weights of '{where}' do not fit the network: {listed(problems, '; ')}",
            "the network that config.yaml describes",
            "put back the config.yaml of these weights, or copy the whole run again",
        )
    model.load_state_dict(dict(tensors))
