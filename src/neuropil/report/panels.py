"""The pictures of one run: three planes, a stack of sections, and the places of the worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Int3
from neuropil.report.colours import composed, error_overlay, id_colours, label_overlay, segment_colours
from neuropil.report.images import WEBP_SIDE, Figure, data_uri, enlarged, factors_for, figure, scale_bar
from neuropil.report.mistakes import Match, Mistake, error_classes, match, total_bits
from neuropil.report.model import Strip
from neuropil.report.objects import classes_in_background
from neuropil.report.scene import Labels, Scene

#: Plane name → the axis that it cuts and the axes of its rows and columns.
PLANES: dict[str, tuple[int, int, int]] = {"xy": (0, 1, 2), "xz": (1, 0, 2), "yz": (2, 0, 1)}
AXES = "zyx"
TITLES = {
    "image": "Raw",
    "truth": "Truth",
    "segmentation": "Segmentation",
    "errors": "Errors",
    "affinities": "Prediction",
}
Cut = tuple[Any, ...]
FILL = 0.42
NO_IMAGE = 70


@dataclass(frozen=True)
class Objects:
    """Labels and the colour (K, 3) of each."""

    labels: Labels
    colours: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Painter:
    """A scene with its colours and errors worked out once; paints any cut of it.

    `objects` holds "truth" and "segmentation" as far as there are any; `found` and `errors_ZYX` exist when both do.
    """

    scene: Scene
    objects: Mapping[str, Objects]
    found: Match | None
    errors_ZYX: npt.NDArray[np.uint8] | None

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that the scene has, in the order shown."""
        have = {
            "image": self.scene.image_ZYX is not None,
            **dict.fromkeys(self.objects, True),
            "errors": self.errors_ZYX is not None,
            "affinities": self.scene.affinities_ZYXC is not None,
        }
        return tuple(name for name in TITLES if have.get(name))

    def grey(self, cut: Cut, factors: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The raw picture of a cut, or even grey if there is none."""
        image = self.scene.image_ZYX
        if image is None:
            image = np.broadcast_to(np.uint8(NO_IMAGE), self.scene.box.shape)
        return enlarged(image[cut], factors)

    def overlay(self, layer: str, cut: Cut, factors: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """RGBA of a layer on a cut (one index, two slices), thin lines drawn after enlarging."""
        if layer == "affinities" and self.scene.affinities_ZYXC is not None:
            rgb = enlarged(self.scene.affinities_ZYXC[cut], factors)
            return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], axis=-1)
        if layer == "errors" and self.errors_ZYX is not None:
            truth, pred = (self.objects[name].labels.index_ZYX for name in ("truth", "segmentation"))
            classes, truth, pred = (enlarged(part[cut], factors) for part in (self.errors_ZYX, truth, pred))
            return error_overlay(classes, truth, pred)
        shown = self.objects[layer]
        return label_overlay(enlarged(shown.labels.index_ZYX[cut], factors), shown.colours, FILL)

    def sides(self, mistake: Mistake) -> tuple[Labels, Labels]:
        """Labels of the object that a mistake is about, and of the parts that it consists of."""
        names = ("truth", "segmentation") if mistake.of_truth else ("segmentation", "truth")
        return self.objects[names[0]].labels, self.objects[names[1]].labels


def painter(scene: Scene) -> Painter:
    """Match truth and segmentation of a scene and settle the colours."""
    truth, pred = scene.truth, scene.segmentation
    found = match(truth, pred) if truth is not None and pred is not None else None
    objects = {}
    if truth is not None:
        objects["truth"] = Objects(truth, id_colours(truth.ids))
    if pred is not None:
        objects["segmentation"] = Objects(pred, segment_colours(pred, truth, found))
    errors = None
    if truth is not None and pred is not None and found is not None:
        if scene.task == "neurons":
            errors = error_classes(truth.index_ZYX, pred.index_ZYX, found)
        else:
            errors = classes_in_background(truth.index_ZYX, pred.index_ZYX, found, scene.unknown_ZYX)
    return Painter(scene, objects, found, errors)


@dataclass(frozen=True)
class PlaneRow:
    """One plane through the middle, in every layer."""

    name: str
    where: str
    figures: tuple[tuple[str, Figure], ...]


def plane_rows(paint: Painter, width: int) -> list[PlaneRow]:
    """Cuts xy, xz and yz through the middle of the scene; hairlines show where the other two planes pass."""
    box = paint.scene.box
    middle = [n // 2 for n in box.shape]
    rows = []
    for name, (axis, row, column) in PLANES.items():
        cut = tuple(middle[a] if a == axis else slice(None) for a in range(3))
        pixel = (box.voxel_size[row], box.voxel_size[column])
        shape = (box.shape[row], box.shape[column])
        factors = factors_for(shape, pixel, width)
        size_nm = (shape[0] * pixel[0], shape[1] * pixel[1])
        where = f"{AXES[axis]} = {box.start[axis] + middle[axis]}"
        cross = ((middle[column] + 0.5) / shape[1], (middle[row] + 0.5) / shape[0])
        grey = paint.grey(cut, factors)
        figures = []
        for layer in paint.layers:
            title = TITLES[layer]
            flat = grey if layer == "image" else composed(grey, paint.overlay(layer, cut, factors))
            alt = f"{title}, {name} plane at {where}"
            figures.append((layer, figure(flat, size_nm, alt, quality=84, caption=title, cross=cross)))
        rows.append(PlaneRow(name, where, tuple(figures)))
    return rows


@dataclass(frozen=True)
class Stack:
    """Sections for the slider: each layer is one film strip, sections below one another."""

    z: tuple[int, ...]
    start: Int3
    shape: Int3
    aspect: float
    bar_percent: float
    bar_text: str
    raw: str
    overlays: tuple[tuple[str, str, str], ...]  # layer, title, data URI


def strip_row(strip: Strip, width: int) -> PlaneRow:
    """Pictures side by side, as a row of planes is shown."""
    figures = []
    for caption, grey in strip.pictures:
        factors = factors_for((grey.shape[0], grey.shape[1]), strip.pixel_nm, width)
        pixels = enlarged(np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8), factors)
        size = (grey.shape[0] * strip.pixel_nm[0], grey.shape[1] * strip.pixel_nm[1])
        figures.append((caption, figure(pixels, size, f"{strip.title}: {caption}", quality=90, caption=caption)))
    return PlaneRow(strip.title, "", tuple(figures))


def stack(paint: Painter, sections: int) -> Stack:
    """Evenly spaced xy sections of the scene."""
    box = paint.scene.box
    nz, ny, nx = box.shape
    count = max(1, min(sections, nz, WEBP_SIDE // ny))
    chosen = np.unique(((np.arange(count) + 0.5) * nz / count).astype(int))
    raw = np.concatenate([paint.grey((z,), (1, 1)) for z in chosen])
    strips = []
    for layer in paint.layers:
        if layer != "image":
            strip = np.concatenate([paint.overlay(layer, (z,), (1, 1)) for z in chosen])
            strips.append((layer, TITLES[layer], data_uri(strip, 70 if layer == "affinities" else 100)))
    width_nm = nx * box.voxel_size[2]
    length, text = scale_bar(width_nm)
    return Stack(
        tuple(int(z) + box.start[0] for z in chosen),
        box.start,
        box.shape,
        round(width_nm / (ny * box.voxel_size[1]), 4),
        round(100 * length / width_nm, 2),
        text,
        data_uri(raw, 72),
        tuple(strips),
    )


@dataclass(frozen=True)
class Place:
    """One of the worst mistakes, ready to be shown."""

    rank: int
    kind: str
    object_id: int
    bits: float
    share: float
    part_count: int
    part_text: str
    voxels: int
    wrong: int
    wrong_um3: float
    z: int
    y: int
    x: int
    truth: Figure
    segmentation: Figure


def places(paint: Painter, mistakes: list[Mistake], width: int) -> list[Place]:
    """Pictures of the worst mistakes: truth beside segmentation, only the object itself in colour."""
    box, shown = paint.scene.box, []
    total = total_bits(paint.found) if paint.found else 0.0
    for rank, mistake in enumerate(mistakes, start=1):
        whole, parts = paint.sides(mistake)
        z, y, x = (int(p + s) for p, s in zip(mistake.place, box.start, strict=True))
        left, right = (_place_figure(paint, mistake, layer, width) for layer in ("truth", "segmentation"))
        shown.append(
            Place(
                rank,
                mistake.kind,
                int(whole.ids[mistake.index]),
                mistake.bits,
                mistake.bits / total if total else 0.0,
                len(mistake.parts),
                _consists(mistake, parts),
                mistake.voxels or int(mistake.sizes.sum()),
                mistake.wrong,
                mistake.wrong * math.prod(box.voxel_size) / 1e9,
                z,
                y,
                x,
                left,
                right,
            )
        )
    return shown


def _consists(mistake: Mistake, parts: Labels) -> str:
    """The largest parts of an object; of a missed or false one, how much has a partner."""
    if mistake.kind in ("missed", "false"):
        shared = int(mistake.sizes.sum())
        much = f"{percent(shared / mistake.voxels)} of it" if shared else "nothing of it"
        return f"{much} is {'predicted' if mistake.of_truth else 'true'}"
    size = int(mistake.sizes.sum())
    named = ", ".join(
        f"{parts.ids[i]} ({percent(n / size)})" for i, n in zip(mistake.parts[:3], mistake.sizes[:3], strict=True)
    )
    more = len(mistake.parts) - 3
    return named + (f" and {more} more" if more > 0 else "")


def percent(share: float) -> str:
    """A share as whole percent; what is there but rounds to nothing is "< 1 %"."""
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _place_figure(paint: Painter, mistake: Mistake, layer: str, width: int) -> Figure:
    scene = paint.scene
    name, cut, corner = _view(paint, mistake)
    axis, row, column = PLANES[name]
    voxel = scene.box.voxel_size
    window = (cut[row].stop - cut[row].start, cut[column].stop - cut[column].start)
    pixel = (voxel[row], voxel[column])
    factors = factors_for(window, pixel, width)
    whole, _ = paint.sides(mistake)
    shown = paint.objects[layer]
    overlay = label_overlay(enlarged(shown.labels.index_ZYX[cut], factors), shown.colours, 0.55)
    other = enlarged(whole.index_ZYX[cut], factors) != mistake.index
    overlay[other, 3] = np.where(overlay[other, 3] > 200, 110, 0)
    flat = composed(paint.grey(cut, factors), overlay)
    middle = (mistake.place[column] - corner[1] + 0.5) / window[1], (mistake.place[row] - corner[0] + 0.5) / window[0]
    where = f"{AXES[axis]} = {scene.box.start[axis] + mistake.place[axis]}"
    title = TITLES[layer]
    alt = f"{title} around the {mistake.kind}, {name} plane at {where}"
    size_nm = (window[0] * pixel[0], window[1] * pixel[1])
    return figure(flat, size_nm, alt, quality=84, caption=f"{title} · {name}", cross=middle)


def _view(paint: Painter, mistake: Mistake) -> tuple[str, Cut, tuple[int, int]]:
    """The plane and window around a mistake that shows most of its two largest parts (xy unless clearly better)."""
    scene = paint.scene
    whole, parts = paint.sides(mistake)
    best: tuple[float, str, Cut, tuple[int, int]] = (-1.0, "", (), (0, 0))
    side_nm = 120 * math.prod(scene.box.voxel_size) ** (1 / 3)
    for name, (axis, row, column) in PLANES.items():
        spans: list[Any] = [0, 0, 0]
        spans[axis] = mistake.place[axis]
        for a in (row, column):
            spans[a] = _window(mistake.place[a], scene.box.shape[a], round(side_nm / scene.box.voxel_size[a]))
        cut = tuple(spans)
        close = tuple(
            c if isinstance(c, int) else _window(p, n, max(3, (c.stop - c.start) // 3))
            for c, p, n in zip(cut, mistake.place, scene.box.shape, strict=True)
        )
        inside = parts.index_ZYX[close][whole.index_ZYX[close] == mistake.index]
        # a missed or false object has no parts that must both be seen
        counts = [np.count_nonzero(inside == part) for part in mistake.parts[:2]]
        seen = len(inside) if mistake.kind in ("missed", "false") else min(counts)
        score = seen * scene.box.voxel_size[row] * scene.box.voxel_size[column]
        # a reader is used to sections, so another plane must show half as much again
        if score > 1.5 * best[0]:
            best = (score, name, cut, (spans[row].start, spans[column].start))
    return best[1:]


def _window(centre: int, size: int, side: int) -> slice:
    """A window of `side` around a voxel, moved (not cut) at the borders of the scene."""
    side = max(1, min(side, size))
    start = min(max(0, centre - side // 2), size - side)
    return slice(start, start + side)
