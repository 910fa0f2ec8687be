"""What a bioimage.io model (specification 0.5) says of itself, as far as affinities of volumes need it.

Only its rdf.yaml is read here, as plain YAML. What cannot be done as it says is one clear error, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import yaml

from neuropil.data.normalise import ZSCORE_REACH
from neuropil.errors import RunError
from neuropil.geometry import Float3, Int3
from neuropil.io.base import file_errors, unit_nm
from neuropil.zoo.package import named_code, sha256

#: Version of what neuropil writes into a model, under config.neuropil.
FORMAT = 1
_NAMES = ("rdf.yaml", "bioimageio.yaml", "model.yaml")
_AXES = ("batch", "channel", "z", "y", "x")
_RUN_CODE = "pytorch_state_dict"

#: ("scale", gain, offset): value · gain + offset; or ("clip", least, most).
Step = tuple[Literal["scale", "clip"], float, float]


@dataclass(frozen=True)
class Described:
    """A model whose description was understood.

    Parameters
    ----------
    script
        Its TorchScript.
    order_in, order_out
        Places of (batch, channel, z, y, x) among the axes of its input and output.
    one_by_one
        Whether it takes batches of one only.
    least, growth
        Extents that it takes, z, y, x: least, least + growth, …; a growth of zero fixes them.
    halo
        Voxels at each side of its output that are not to be used.
    voxel_size
        nm, z, y, x, where its axes say so.
    channels
        Names of its outputs.
    normalise, percentiles, steps
        How grey values are made: ours of this kind, then these steps.
    logits
        Whether its output is not yet a probability.
    ours
        What neuropil wrote into it, if it did.
    offsets
        Steps of affinities, where anybody wrote them into it.
    """

    folder: Path
    name: str
    script: Path
    order_in: tuple[int, ...]
    order_out: tuple[int, ...]
    one_by_one: bool
    least: Int3
    growth: Int3
    halo: Int3
    voxel_size: Float3 | None
    channels: tuple[str, ...]
    normalise: str
    percentiles: tuple[float, float]
    steps: tuple[Step, ...]
    logits: bool
    ours: dict[str, Any]
    offsets: list[list[int]] | None


def described(folder: Path) -> Described:
    """Read the description of the model in a folder.

    Raises
    ------
    RunError
        If there is none, or it asks for what we do not do: code, 2-D images, several inputs or outputs, …
    VolumeError
        If a file cannot be read.
    """
    values, where = _read(folder)
    try:
        return _understood(folder, values, where)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, RunError):
            raise
        raise _refused(where, f"is not as the specification has it ({error!r})", "a valid model") from error


def _read(folder: Path) -> tuple[dict[str, Any], str]:
    found = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    if found is None:
        raise _refused(str(folder), f"holds no {_NAMES[0]}", "the folder or archive of a bioimage.io model")
    with file_errors(str(found), "reading"):
        try:
            values = yaml.safe_load(found.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise _refused(str(found), f"is not YAML ({' '.join(str(error).split())[:200]})", "YAML") from error
    version = str(values.get("format_version", "")) if isinstance(values, dict) else ""
    if not version.startswith("0.5") or values.get("type") != "model":
        raise _refused(
            str(found),
            f"is not of a model of specification 0.5 (it says {version or 'no version'})",
            "a model of format_version 0.5",
            "bring it up to date: bioimageio update-format",
        )
    return values, str(found)


def _understood(folder: Path, values: dict[str, Any], where: str) -> Described:
    given, made = _only(values["inputs"], where, "inputs"), _only(values["outputs"], where, "outputs")
    axes_in, axes_out = _by_name(given["axes"], where), _by_name(made["axes"], where)
    if len(_channels(axes_in["channel"])) != 1:
        raise _refused(where, f"takes {len(_channels(axes_in['channel']))} channels", "an image of one")
    sizes = [_size(axes_in[axis], where) for axis in "zyx"]
    kind, percentiles, steps = _grey(given, where)
    least, growth = zip(*sizes, strict=True)
    config = values.get("config") or {}
    ours = _ours(config.get("neuropil") or {}, where)
    return Described(
        folder=folder,
        name=str(values.get("name", folder.name)),
        script=_script(folder, values["weights"], where),
        order_in=tuple(list(axes_in).index(axis) for axis in _AXES),
        order_out=tuple(list(axes_out).index(axis) for axis in _AXES),
        one_by_one=axes_in["batch"].get("size") == 1,
        least=least,  # type: ignore[arg-type]
        growth=growth,  # type: ignore[arg-type]
        halo=tuple(int(axes_out[axis].get("halo", 0)) for axis in "zyx"),  # type: ignore[arg-type]
        voxel_size=_voxel_size([axes_in[axis] for axis in "zyx"]),
        channels=_channels(axes_out["channel"]),
        normalise=kind,
        percentiles=percentiles,
        steps=steps,
        logits=_is_logits(made, where),
        ours=ours,
        offsets=ours.get("offsets") or (config.get("mws") or {}).get("offsets"),
    )


def _ours(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What neuropil wrote into a model, which may have come from anybody."""
    if not found:
        return {}
    if found.get("format") != FORMAT:
        raise _refused(
            where,
            f"has a part of neuropil's in format {found.get('format')}",
            f"format {FORMAT}",
            "use the neuropil version that wrote it",
        )
    if named_code(found["task"]):
        raise _refused(where, f"names code: {found['task']}", "a task with a short name", "do not use this model")
    return dict(found)


def _only(tensors: Sequence[Any], where: str, what: str) -> dict[str, Any]:
    if len(tensors) != 1:
        raise _refused(where, f"has {len(tensors)} {what}", "a model with one input and one output")
    return dict(tensors[0])


def _by_name(axes: Sequence[Mapping[str, Any]], where: str) -> dict[str, dict[str, Any]]:
    """The axes in their order; each must be one of ours."""
    named = {str(axis["id"] if axis["type"] == "space" else axis["type"]): dict(axis) for axis in axes}
    if sorted(named) != sorted(_AXES) or len(axes) != len(_AXES):
        raise _refused(where, f"has the axes {', '.join(named)}", "batch, channel, z, y, x: a network of volumes")
    return named


def _channels(axis: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in axis["channel_names"])


def _size(axis: Mapping[str, Any], where: str) -> tuple[int, int]:
    """The least extent along an axis, and what may be added any number of times."""
    size = axis["size"]
    if isinstance(size, int):
        return size, 0
    if "min" not in size or "step" not in size:
        raise _refused(where, f"has an extent along {axis['id']} that depends on another axis", "extents of their own")
    return int(size["min"]), int(size["step"])


def _voxel_size(axes: Sequence[Mapping[str, Any]]) -> Float3 | None:
    sizes = [float(axis.get("scale", 1.0)) * (unit_nm(axis.get("unit")) or math.nan) for axis in axes]
    return None if any(math.isnan(size) for size in sizes) else (sizes[0], sizes[1], sizes[2])


def _grey(given: Mapping[str, Any], where: str) -> tuple[str, tuple[float, float], tuple[Step, ...]]:
    """How the model wants its grey values, in terms of our own."""
    kind, percentiles = "", (0.5, 99.5)
    steps: list[Step] = []
    for entry in given.get("preprocessing") or ():
        name, said = entry["id"], entry.get("kwargs") or {}
        if name == "ensure_dtype":
            continue
        if name in ("scale_range", "zero_mean_unit_variance") and not kind and not steps:
            kind = {"scale_range": "percentile"}.get(name, "zscore")
            if name == "scale_range":
                percentiles = float(said.get("min_percentile", 0)), float(said.get("max_percentile", 100))
            else:
                # ours has the standard deviations -REACH .. REACH at 0 .. 1
                steps.append(("scale", 2 * ZSCORE_REACH, -ZSCORE_REACH))
            continue
        step = _step(name, said)
        if step is None:
            raise _refused(where, f"prepares its image by {name} in a way that we do not", "scaling and clipping")
        steps.append(step)
    if kind:
        return kind, percentiles, tuple(steps)
    dtype = str((given.get("data") or {}).get("type", "float32"))
    white = float(np.iinfo(dtype).max) if dtype in ("uint8", "uint16") else 255.0
    return "uint8", percentiles, (("scale", white, 0.0), *steps)


def _step(name: str, said: Mapping[str, Any]) -> Step | None:
    numbers = [v for key, v in said.items() if key not in ("axis", "axes")]
    if any(not isinstance(v, int | float) for v in numbers):
        return None
    if name == "scale_linear":
        return "scale", float(said.get("gain", 1)), float(said.get("offset", 0))
    if name == "fixed_zero_mean_unit_variance":
        return "scale", 1 / float(said["std"]), -float(said["mean"]) / float(said["std"])
    if name == "clip" and not any("percentile" in key for key in said):
        return "clip", float(said.get("min", -math.inf)), float(said.get("max", math.inf))
    return None


def _is_logits(made: Mapping[str, Any], where: str) -> bool:
    names = [entry["id"] for entry in made.get("postprocessing") or () if entry["id"] != "ensure_dtype"]
    if names not in ([], ["sigmoid"]):
        raise _refused(where, f"changes its output by {', '.join(names)}", "probabilities, or logits with sigmoid")
    return bool(names)


def _script(folder: Path, weights: Mapping[str, Any], where: str) -> Path:
    entry = weights.get("torchscript")
    if entry is None:
        fix = "export it as torchscript in an environment that you trust"
        why = " (which runs code of its maker)" if _RUN_CODE in weights else ""
        raise _refused(where, f"has weights as {', '.join(weights)} only{why}", "weights as torchscript", fix)
    source = PurePosixPath(str(entry["source"]))
    path = folder / source
    if source.is_absolute() or ".." in source.parts or "://" in str(entry["source"]) or not path.is_file():
        raise _refused(where, f"has its weights at '{entry['source']}'", "a file beside it", "get the whole package")
    if entry.get("sha256") not in (None, sha256(path)):
        raise _refused(str(path), "is not the file that its description names", "a file with that hash")
    return path


def _refused(where: str, got: str, expected: str, fix: str = "") -> RunError:
    return RunError(f"'{where}' {got}", expected, fix)
