"""The verb that makes trees: trace."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuropil.config import Config, override
from neuropil.errors import ConfigError, InputError, VolumeError
from neuropil.geometry import Float3
from neuropil.inputs import opened_in_voxels
from neuropil.lazy import Arranged, Window
from neuropil.outputs import provenance
from neuropil.volume import Volume, VolumeLike, require_kind

if TYPE_CHECKING:
    from neuropil.skeleton import Skeleton

PathLike = str | os.PathLike[str]

#: The channel of a prediction that is traced, and the share of its threshold from which a voxel can be neurite.
_FOREGROUND = "foreground"
_WEAKER = 0.66


@dataclass(frozen=True)
class _Unit:
    """In what trees are written and their lengths told; where the size of a voxel is unknown, in voxels."""

    name: str
    voxel_size: Float3
    known: bool

    def write(self, tree: Skeleton, path: Path) -> None:
        from neuropil.io.swc import write_swc

        size = self.voxel_size if self.name == "voxel" else None
        write_swc(tree, path, units=self.name, voxel_size=size, size_known=self.known)

    def length(self, trees: Sequence[Skeleton]) -> dict[str, float]:
        key, unit_nm = ("length_um", 1000.0) if self.known else ("length_voxel", 1.0)
        return {key: round(sum(t.length_nm() for t in trees) / unit_nm, 4)}

    def place(self, node_nm: Sequence[float]) -> dict[str, list[float]]:
        """A place in nm, or where the size of a voxel is unknown, as what is written has it: 0 is a voxel's middle."""
        key, middle = ("root_nm", 0.0) if self.known else ("root_voxel", 0.5)
        return {key: [round(float(v) - middle, 3) for v in node_nm]}


def trace(
    image: VolumeLike | None = None,
    out: PathLike | None = None,
    *,
    labels: VolumeLike | None = None,
    out_dir: PathLike | None = None,
    voxel_size: Float3 | None = None,
    units: str = "um",
    soma: Float3 | None = None,
    set: Sequence[str] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Trace a neuron in an image or a probability map, or every segment of labels, to SWC.

    Parameters
    ----------
    image
        One channel; a single image is a stack of depth 1. A mask, or with `trace.source=probability` a probability map
        (uint8 or floats from 0 to 1), is its own evidence. Of what `predict` made with a run of the task trees, the
        foreground is, and the run's threshold that of its strong evidence.
    out
        The SWC file; beside it, `<name>.trace.json` has the confidence of every node and the settings.
    labels, out_dir
        Instead: a label volume, and the folder that gets `<label>.swc` for each segment and `trace.json` when all are
        there. A folder that was not finished is gone on with.
    units
        Of what is written: "um", "nm" or "voxel" (as Vaa3D has it). In voxels, a volume may leave their size unknown:
        they are taken for cubes then.
    soma
        Where the neuron is rooted, z, y, x in nm (voxels where their size is unknown); found when empty.
    set
        Settings, for example "trace.gap=30".

    Returns
    -------
    dict
        Of a neuron: `nodes`, `length_um`, `branches` (tips), `roots`, `bridges`, `soma_found`, `root_nm`, `tracer`,
        `score` (label-free, 0 to 1) and `confidence` (mean). Of labels: `segments`, `traced`, `nodes`, `length_um`.
        `length_voxel` and `root_voxel` instead, where the size of a voxel is unknown.
    """
    config = override(Config(), _only_trace(set))
    _require_finite(soma)
    _require_unit(units)
    _require_one(image, labels)
    if labels is not None:
        if out is not None or soma is not None or out_dir is None:
            got = "labels without --out-dir, or with --out or --soma"
            raise InputError(got, "labels and --out-dir only", "neuropil trace --labels seg.zarr --out-dir swc/")
        volume, unit = _opened(labels, voxel_size, units)
        return _segments(require_kind(volume, "labels"), Path(out_dir), config, unit, overwrite=overwrite)
    if out_dir is not None or out is None:
        got = "an image without --out, or with --out-dir"
        raise InputError(got, "an image and --out", "neuropil trace IMAGE --out neuron.swc")
    assert image is not None
    volume, unit = _opened(image, voxel_size, units)
    if volume.kind_stated and volume.kind == "prediction":
        volume, said = _foreground(volume)
        config = override(Config(), [*said, *set])
    return _neuron(volume, Path(out), config, soma, unit, overwrite=overwrite)


def _require_one(image: object, labels: object) -> None:
    if (image is None) == (labels is None):
        raise InputError(
            "both an image and labels" if image is not None else "neither an image nor labels",
            "one of them",
            "neuropil trace IMAGE --out neuron.swc, or neuropil trace --labels seg.zarr --out-dir swc/",
        )


def _opened(source: VolumeLike, voxel_size: Float3 | None, units: str) -> tuple[Volume, _Unit]:
    volume, known = opened_in_voxels(source, voxel_size, units)
    if not known:
        said = "its voxels are taken for cubes, and lengths are in voxels (--voxel-size z,y,x in nm)"
        print(f"note: {volume.name} does not state its voxel size: {said}", file=sys.stderr)
    return volume, _Unit(units, volume.voxel_size, known)


def _require_unit(units: str) -> None:
    from neuropil.io.swc import UNITS

    if units not in UNITS:
        raise InputError(f"--units {units}", "one of " + ", ".join(UNITS), "leave it out for um")


def _require_finite(soma: Float3 | None) -> None:
    if soma is not None and not all(math.isfinite(v) for v in soma):
        raise InputError(f"a soma at {soma}", "three finite numbers z, y, x in nm", "leave --soma out to have it found")


def _foreground(predicted: Volume) -> tuple[Volume, list[str]]:
    """The foreground of a stored prediction, read when it is asked for, and how it is traced.

    Raises
    ------
    InputError
        If no channel is foreground.
    """
    channels = list(predicted.attrs.get("channels", []))
    if _FOREGROUND not in channels:
        raise InputError(
            f"'{predicted.name}' with channels {channels}",
            f"a prediction with a channel '{_FOREGROUND}'",
            "neuropil predict, with a run of the recipe lm_neuron",
        )
    c, z, y, x = channels.index(_FOREGROUND), *predicted.shape[1:]
    one = Window(predicted.array, (slice(c, c + 1), slice(0, z), slice(0, y), slice(0, x)))
    alone = Volume(
        Arranged(one, "czyx", "zyx"), predicted.voxel_size, predicted.offset, "zyx", "image", name=predicted.name
    )
    threshold = predicted.attrs.get("instances", {}).get("foreground")
    said = [] if threshold is None else [f"trace.strong={threshold}", f"trace.weak={_WEAKER * threshold:g}"]
    return alone, ["trace.source=probability", *said]


def _neuron(
    volume: Volume, out: Path, config: Config, soma: Float3 | None, unit: _Unit, *, overwrite: bool
) -> dict[str, Any]:
    from neuropil.io.base import require_folder
    from neuropil.tracing.trace import trace as traced

    settings = config.trace
    if volume.kind == "mask" and volume.kind_stated:
        settings = settings.model_copy(update={"source": "probability"})
    elif settings.source == "image":
        volume = require_kind(volume, "image")
    beside = out.with_suffix(".trace.json")
    if out.suffix.lower() != ".swc":
        raise VolumeError(f"--out {out}", "a name that ends in .swc", f"--out {out.with_suffix('.swc')}")
    require_folder(out.absolute().parent)
    if out.exists() and not overwrite:
        raise VolumeError(f"'{out}' exists already", "a new name", "choose another name, or give --overwrite")
    found = traced(volume, settings, soma)
    tree = found.skeleton
    summary = _summary([tree], unit) | {
        "roots": int((tree.parent < 0).sum()),
        "bridges": found.bridges,
        "soma_found": found.soma_found,
        **unit.place(tree.nodes_nm[0]),
        "tracer": found.tracer,
        "score": round(found.score, 4),
        "confidence": round(float(found.confidence.mean()), 4),
    }
    unit.write(tree, out)
    record = {"summary": summary, "node_confidence": [round(float(c), 3) for c in found.confidence]}
    _write_json(beside, record | {"provenance": provenance(config, volume, None)})
    return summary


def _segments(labels: Volume, folder: Path, config: Config, unit: _Unit, *, overwrite: bool) -> dict[str, Any]:
    from neuropil.io.base import require_folder
    from neuropil.io.swc import read_swc
    from neuropil.progress import Progress
    from neuropil.tracing.skeletonize import segments, skeletons

    begun, done = folder / "begun.json", folder / "trace.json"
    job: dict[str, Any] = {"labels": labels.name, "voxel_size": list(labels.voxel_size), "units": unit.name}
    job |= {"trace": config.trace.model_dump(mode="json")}
    require_folder(folder.absolute().parent)
    _open_folder(folder, begun, done, job, overwrite=overwrite)
    wanted = segments(labels, config.trace)
    if not wanted:
        begun.unlink()
        raise InputError(
            f"{labels.name}: no segment of at least {config.trace.labels.min_voxels} voxels",
            "labels with segments to trace",
            "look at the labels, or lower trace.labels.min_voxels",
        )
    left = [s for s in wanted if not (folder / f"{s.label}.swc").exists()]
    done_before = len(wanted) - len(left)
    with Progress("tracing", len(wanted), unit="segment", done=done_before) as progress:
        for count, (segment, skeleton) in enumerate(skeletons(labels, config.trace, left), done_before + 1):
            unit.write(skeleton, folder / f"{segment.label}.swc")
            progress.update(count, len(wanted))
    trees = {s.label: read_swc(folder / f"{s.label}.swc", voxel_size=labels.voxel_size) for s in wanted}
    rows = {str(s.label): {"voxels": s.voxels, **_summary([trees[s.label]], unit)} for s in wanted}
    summary = {"segments": len(wanted), "traced": len(left), **_summary(list(trees.values()), unit)}
    _write_json(done, {"summary": summary, "segments": rows, "provenance": provenance(config, labels, None)})
    begun.unlink()
    return summary


def _open_folder(folder: Path, begun: Path, done: Path, job: dict[str, Any], *, overwrite: bool) -> None:
    """Make the folder, or go on with one that was begun with the same settings."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    ours = begun.exists() or done.exists()
    if there and not ours:
        raise VolumeError(f"folder '{folder}' holds other things", "an empty or new folder", "choose another --out-dir")
    same = begun.exists() and json.loads(begun.read_text()) == job
    if there and not same and not overwrite:
        why = "is finished" if done.exists() else "was begun with other labels or settings"
        raise VolumeError(f"folder '{folder}' {why}", "a new folder", "choose another --out-dir, or give --overwrite")
    folder.mkdir(exist_ok=True)
    if there and (overwrite or not same):
        for path in there:
            if path.suffix == ".swc" or path in (begun, done):
                path.unlink()
    _write_json(begun, job)


def _summary(trees: Sequence[Skeleton], unit: _Unit) -> dict[str, Any]:
    import numpy as np

    tips = sum(int((np.bincount(t.parent[t.parent >= 0], minlength=len(t.parent)) == 0).sum()) for t in trees)
    nodes = sum(len(t.parent) for t in trees)
    return {"nodes": nodes, **unit.length(trees), "branches": tips}


def _only_trace(words: Sequence[str]) -> Sequence[str]:
    for word in words:
        if not word.partition("=")[0].strip().startswith("trace."):
            raise ConfigError(f"--set {word}", "a setting under trace.", "see docs/reference/settings.md")
    return words


def _write_json(path: Path, values: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, allow_nan=False) + "\n")
    partial.replace(path)
