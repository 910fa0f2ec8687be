"""The part of the volumes that the page shows: one central box, read once, ids made small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import fastremap
import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets, as_offsets
from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Box, Float3, Int3
from neuropil.report.model import Look, ReportData
from neuropil.volume import IGNORED_IDS, Volume


@dataclass(frozen=True)
class Labels:
    """A label picture with small numbers: ``ids[index_ZYX]`` are the true ids, ``ids[0]`` is 0 (background)."""

    ids: npt.NDArray[np.uint64]
    index_ZYX: npt.NDArray[np.int32]

    @property
    def count(self) -> int:
        """Number of objects, background not counted."""
        return len(self.ids) - 1


@dataclass(frozen=True)
class Scene:
    """What is shown of one run: all on the voxels of `box`; `evidence` says what colours of affinities mean.

    `unknown_ZYX` is where the truth says nothing (reserved ids), if that is anywhere.
    """

    box: Box
    whole: Box
    image_ZYX: npt.NDArray[np.uint8] | None = None
    truth: Labels | None = None
    segmentation: Labels | None = None
    affinities_ZYXC: npt.NDArray[np.uint8] | None = None
    evidence: str = ""
    task: str = "neurons"
    unknown_ZYX: npt.NDArray[np.bool_] | None = None

    @property
    def cropped(self) -> bool:
        """Whether the pictures show less than the volumes hold."""
        return self.box != self.whole


def read_scene(data: ReportData, look: Look) -> Scene | None:
    """Read the central box (see `crop_limit`) of the volumes of a report; None if it has none.

    Raises
    ------
    GeometryError
        If the volumes share no voxel, differ in voxel size, or arrays come without a voxel size.
    InputError
        If labels are not integers, or affinities lack offsets.
    """
    given = {n: getattr(data, n) for n in ("image", "truth", "segmentation", "affinities")}
    volumes = {name: volume for name, volume in given.items() if volume is not None}
    if not volumes:
        return None
    size = _voxel_size(data, volumes)
    boxes = [_box(name, volume, size) for name, volume in volumes.items()]
    whole = reduce(Box.intersected, boxes)
    if whole.size == 0:
        where = ", ".join(f"{n} {b.start}..{b.stop}" for n, b in zip(volumes, boxes, strict=True))
        raise GeometryError(f"volumes of report '{data.title}' that do not meet: {where}", "volumes of one place")
    box = central(whole, crop_limit(whole.shape, look))
    read = {name: _read(volume, box) for name, volume in volumes.items()}
    return Scene(
        box,
        whole,
        image_ZYX=contrasted(read["image"]) if "image" in read else None,
        truth=_labels(read["truth"], "truth", data.task) if "truth" in read else None,
        segmentation=_labels(read["segmentation"], "segmentation", data.task) if "segmentation" in read else None,
        affinities_ZYXC=_shown_affinities(data, read["affinities"]) if "affinities" in read else None,
        evidence=_meaning(data, len(read["affinities"])) if "affinities" in read else "",
        task=data.task,
        unknown_ZYX=_unknown(read["truth"]) if "truth" in read else None,
    )


def crop_limit(shape: Int3, look: Look) -> Int3:
    """Most voxels to show along z, y, x: `look.voxels` in all, thin volumes may be wider."""
    depth = min(shape[0], 256)
    side = min(look.side, max(1, math.isqrt(look.voxels // max(1, depth))))
    return depth, side, side


def central(whole: Box, largest: Int3) -> Box:
    """The box of at most `largest` voxels in the middle of another."""
    margin = [max(0, n - m) for n, m in zip(whole.shape, largest, strict=True)]
    start = [a + m // 2 for a, m in zip(whole.start, margin, strict=True)]
    stop = [s + n - m for s, n, m in zip(start, whole.shape, margin, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), whole.voxel_size)


def contrasted(image_ZYX: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Grey values stretched so that all but the darkest and brightest 0.5 % use the whole range."""
    low, high = np.percentile(image_ZYX[:: max(1, image_ZYX.shape[0] // 16)], [0.5, 99.5]).astype(np.float32)
    scale = 255.0 / max(float(high - low), 1e-6)
    return np.asarray(np.clip((image_ZYX.astype(np.float32) - low) * scale, 0, 255), np.uint8)


def small_labels(labels_ZYX: npt.NDArray[Any], name: str) -> Labels:
    """Replace ids by 0..K, background and CREMI's reserved values being 0.

    Raises
    ------
    InputError
        If the array does not hold integers, or holds negative ones.
    """
    if labels_ZYX.dtype.kind not in "uib" or (
        labels_ZYX.dtype.kind == "i" and labels_ZYX.size and labels_ZYX.min() < 0
    ):
        raise InputError(f"{name} of type {labels_ZYX.dtype}", "whole numbers from 0", "pass labels, not an image")
    labels = labels_ZYX.astype(np.uint64)
    labels[labels >= min(IGNORED_IDS)] = 0
    ids = fastremap.unique(labels)
    if not len(ids) or ids[0] != 0:
        ids = np.concatenate([np.zeros(1, np.uint64), ids])
    table = {int(label): k for k, label in enumerate(ids)}
    return Labels(ids, fastremap.remap(labels, table).astype(np.int32))


def _labels(labels_ZYX: npt.NDArray[Any], name: str, task: str) -> Labels:
    """Small labels; of a mask, whatever is labelled is one object."""
    found = small_labels(labels_ZYX, name)
    if task != "semantic":
        return found
    return Labels(np.array([0, 1], np.uint64), (found.index_ZYX > 0).astype(np.int32))


def _unknown(truth_ZYX: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    if truth_ZYX.dtype != np.uint64:
        return None
    unknown = truth_ZYX >= min(IGNORED_IDS)
    return unknown if unknown.any() else None


def _voxel_size(data: ReportData, volumes: dict[str, Any]) -> Float3:
    sizes = [v.voxel_size for v in volumes.values() if not isinstance(v, np.ndarray)]
    if sizes:
        return sizes[0]  # type: ignore[no-any-return]
    if data.voxel_size is None:
        raise GeometryError(
            f"arrays without voxel size in report '{data.title}'", "voxel_size=(z, y, x) in nm", "give ReportData one"
        )
    return data.voxel_size


def _box(name: str, volume: Volume | npt.NDArray[Any], size: Float3) -> Box:
    if not isinstance(volume, np.ndarray):
        return volume.box
    if volume.ndim != (4 if name == "affinities" else 3):
        axes = "(C, Z, Y, X)" if name == "affinities" else "(Z, Y, X)"
        raise GeometryError(f"{name} of shape {volume.shape}", axes)
    z, y, x = volume.shape[-3:]
    return Box((0, 0, 0), (z, y, x), size)


def _read(volume: Volume | npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
    return volume[..., *box.slices()] if isinstance(volume, np.ndarray) else volume.read(box)


def _is_prediction(data: ReportData) -> bool:
    return isinstance(data.affinities, Volume) and data.affinities.kind == "prediction"


def _meaning(data: ReportData, channels: int) -> str:
    if not _is_prediction(data):
        return (
            "Affinities: red, green and blue are the evidence along x, y and z that neighbours belong together; white "
            f"is inside {'a neuron' if data.task == 'neurons' else 'an object'}, dark is a border."
        )
    named = getattr(data.affinities, "attrs", {}).get("channels") or [f"channel {c}" for c in range(channels)]
    names = [str(name) for name in named[:3]]
    colours = ["white"] if len(names) == 1 else ["red", "green", "blue"][: len(names)]
    return f"Prediction: {', '.join(f'{c} is {name}' for c, name in zip(colours, names, strict=True))}."


def _shown_affinities(data: ReportData, aff_CZYX: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The shortest step along x, y and z as red, green and blue; of another prediction, its first three channels."""
    channels = list(aff_CZYX[:3]) if _is_prediction(data) else _shortest_steps(data, aff_CZYX)
    if len(channels) == 1:
        channels *= 3
    none = [np.zeros_like(channels[0])] * (3 - len(channels))
    stacked = np.stack([*channels, *none], axis=-1)
    if stacked.dtype == np.uint8:
        return stacked
    top = np.iinfo(stacked.dtype).max if stacked.dtype.kind in "ui" else 1.0
    return np.asarray(np.clip(stacked.astype(np.float32) * (255.0 / top), 0, 255), np.uint8)


def _shortest_steps(data: ReportData, aff_CZYX: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The channel of the shortest step along x, y, and z."""
    offsets: Offsets = as_offsets(data.offsets or getattr(data.affinities, "attrs", {}).get("offsets", ()))
    if len(offsets) != aff_CZYX.shape[0]:
        raise InputError(f"{aff_CZYX.shape[0]} affinity channels and {len(offsets)} offsets", "one offset a channel")
    channels = []
    for axis in (2, 1, 0):
        lengths = {c: abs(o[axis]) for c, o in enumerate(offsets) if o[axis] and not any(np.delete(o, axis))}
        best = min(lengths, key=lengths.__getitem__) if lengths else 0
        channels.append(aff_CZYX[best])
    return channels
