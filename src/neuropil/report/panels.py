"""The pictures of one run: three planes, a stack of sections, and the places of the worst mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Int3
from neuropil.report.colours import composed, error_overlay, id_colours, label_overlay, segment_colours
from neuropil.report.images import WEBP_SIDE, Figure, data_uri, enlarged, factors_for, figure, scale_bar
from neuropil.report.mistakes import Match, Mistake, error_classes, match, total_bits
from neuropil.report.scene import Scene

#: Plane name → the axis that it cuts and the axes of its rows and columns.
PLANES: dict[str, tuple[int, int, int]] = {"xy": (0, 1, 2), "xz": (1, 0, 2), "yz": (2, 0, 1)}
AXES = "zyx"
FILL = 0.42
NO_IMAGE = 70


@dataclass(frozen=True)
class Painter:
    """A scene with its colours and errors worked out once; paints any cut of it."""

    scene: Scene
    found: Match | None
    truth_colours: npt.NDArray[np.uint8] | None
    segment_colours: npt.NDArray[np.uint8] | None
    errors_ZYX: npt.NDArray[np.uint8] | None

    @property
    def layers(self) -> dict[str, str]:
        """Layers that the scene has, with their titles, in the order shown."""
        scene = self.scene
        have = {
            "image": ("Raw", scene.image_ZYX),
            "truth": ("Truth", scene.truth),
            "segmentation": ("Segmentation", scene.segmentation),
            "errors": ("Errors", self.errors_ZYX),
            "affinities": ("Affinities", scene.affinities_ZYXC),
        }
        return {name: title for name, (title, part) in have.items() if part is not None}

    def grey(self, cut: tuple[Any, ...], factors: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The raw picture of a cut, or even grey if there is none."""
        if self.scene.image_ZYX is None:
            z, y, x = self.scene.box.shape
            shape = np.broadcast_to(np.uint8(NO_IMAGE), (z, y, x))[cut]
            return np.asarray(enlarged(shape, factors))
        return np.asarray(enlarged(self.scene.image_ZYX[cut], factors))

    def overlay(self, layer: str, cut: tuple[Any, ...], factors: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """RGBA of a layer on a cut (one index, two slices), thin lines drawn after enlarging."""
        scene = self.scene
        if layer == "affinities":
            assert scene.affinities_ZYXC is not None
            rgb = enlarged(scene.affinities_ZYXC[cut], factors)
            return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], axis=-1)
        if layer == "errors":
            assert scene.truth is not None and scene.segmentation is not None and self.errors_ZYX is not None
            parts = (self.errors_ZYX, scene.truth.index_ZYX, scene.segmentation.index_ZYX)
            classes, truth, pred = (enlarged(part[cut], factors) for part in parts)
            return error_overlay(classes, truth, pred)
        labels, colours = (
            (scene.truth, self.truth_colours) if layer == "truth" else (scene.segmentation, self.segment_colours)
        )
        assert labels is not None and colours is not None
        return label_overlay(enlarged(labels.index_ZYX[cut], factors), colours, FILL)


def painter(scene: Scene) -> Painter:
    """Match truth and segmentation of a scene and settle the colours."""
    truth, pred = scene.truth, scene.segmentation
    found = match(truth, pred) if truth is not None and pred is not None else None
    return Painter(
        scene,
        found,
        id_colours(truth.ids) if truth is not None else None,
        segment_colours(pred, truth, found) if pred is not None else None,
        error_classes(truth.index_ZYX, pred.index_ZYX, found) if truth and pred and found else None,
    )


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
        for layer, title in paint.layers.items():
            flat = grey if layer == "image" else composed(grey, paint.overlay(layer, cut, factors))
            alt = f"{title}, {name} plane at {where}"
            figures.append((layer, figure(flat, size_nm, alt, quality=76, caption=title, cross=cross)))
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


def stack(paint: Painter, sections: int) -> Stack:
    """Evenly spaced xy sections of the scene."""
    box = paint.scene.box
    nz, ny, nx = box.shape
    count = max(1, min(sections, nz, WEBP_SIDE // ny))
    chosen = np.unique(((np.arange(count) + 0.5) * nz / count).astype(int))
    raw = np.concatenate([paint.grey((z,), (1, 1)) for z in chosen])
    strips = []
    for layer, title in paint.layers.items():
        if layer != "image":
            strip = np.concatenate([paint.overlay(layer, (z,), (1, 1)) for z in chosen])
            strips.append((layer, title, data_uri(strip, 45 if layer == "affinities" else 100)))
    width_nm = nx * box.voxel_size[2]
    length, text = scale_bar(width_nm)
    return Stack(
        tuple(int(z) + box.start[0] for z in chosen),
        box.start,
        box.shape,
        round(width_nm / (ny * box.voxel_size[1]), 4),
        round(100 * length / width_nm, 2),
        text,
        data_uri(raw, 60),
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
    z: int
    y: int
    x: int
    truth: Figure
    segmentation: Figure


def places(paint: Painter, mistakes: list[Mistake], width: int) -> list[Place]:
    """Pictures of the worst mistakes: truth beside segmentation, only the object itself in colour."""
    truth, pred = paint.scene.truth, paint.scene.segmentation
    assert truth is not None and pred is not None
    box, shown = paint.scene.box, []
    total = total_bits(paint.found) if paint.found else 0.0
    for rank, mistake in enumerate(mistakes, start=1):
        whole, parts = (truth, pred) if mistake.kind == "split" else (pred, truth)
        z, y, x = (int(p + s) for p, s in zip(mistake.place, box.start, strict=True))
        left, right = (_place_figure(paint, mistake, layer, width) for layer in ("truth", "segmentation"))
        size = int(mistake.sizes.sum())
        named = ", ".join(
            f"{parts.ids[i]} ({100 * n / size:.0f} %)" for i, n in zip(mistake.parts[:3], mistake.sizes, strict=False)
        )
        more = len(mistake.parts) - 3
        shown.append(
            Place(
                rank,
                mistake.kind,
                int(whole.ids[mistake.index]),
                mistake.bits,
                mistake.bits / total if total else 0.0,
                len(mistake.parts),
                named + (f" and {more} more" if more > 0 else ""),
                size,
                z,
                y,
                x,
                left,
                right,
            )
        )
    return shown


def _place_figure(paint: Painter, mistake: Mistake, layer: str, width: int) -> Figure:
    scene = paint.scene
    name, cut, corner = _view(paint, mistake)
    axis, row, column = PLANES[name]
    voxel = scene.box.voxel_size
    window = (cut[row].stop - cut[row].start, cut[column].stop - cut[column].start)
    pixel = (voxel[row], voxel[column])
    factors = factors_for(window, pixel, width)
    labels = scene.truth if layer == "truth" else scene.segmentation
    whole = scene.truth if mistake.kind == "split" else scene.segmentation
    colours = paint.truth_colours if layer == "truth" else paint.segment_colours
    assert labels is not None and whole is not None and colours is not None
    shown = enlarged(labels.index_ZYX[cut], factors)
    overlay = label_overlay(shown, colours, 0.55)
    other = enlarged(whole.index_ZYX[cut], factors) != mistake.index
    overlay[other, 3] = np.where(overlay[other, 3] > 200, 110, 0)
    flat = composed(paint.grey(cut, factors), overlay)
    middle = (mistake.place[column] - corner[1] + 0.5) / window[1], (mistake.place[row] - corner[0] + 0.5) / window[0]
    where = f"{AXES[axis]} = {scene.box.start[axis] + mistake.place[axis]}"
    title = "Truth" if layer == "truth" else "Segmentation"
    alt = f"{title} around the {mistake.kind}, {name} plane at {where}"
    size_nm = (window[0] * pixel[0], window[1] * pixel[1])
    return figure(flat, size_nm, alt, quality=74, caption=f"{title} · {name}", cross=middle)


def _view(paint: Painter, mistake: Mistake) -> tuple[str, tuple[Any, ...], tuple[int, int]]:
    """The plane and window around a mistake that shows most of its two largest parts (xy unless clearly better)."""
    scene = paint.scene
    parts = scene.segmentation if mistake.kind == "split" else scene.truth
    whole = scene.truth if mistake.kind == "split" else scene.segmentation
    assert parts is not None and whole is not None
    best: tuple[float, str, tuple[Any, ...], tuple[int, int]] | None = None
    side_nm = 120 * min(scene.box.voxel_size)
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
        first, second = (np.count_nonzero(inside == part) for part in mistake.parts[:2])
        seen = min(first, second)
        score = seen * scene.box.voxel_size[row] * scene.box.voxel_size[column]
        # a reader is used to sections, so another plane must show half as much again
        if best is None or score > 1.5 * best[0]:
            best = (score, name, cut, (spans[row].start, spans[column].start))
    assert best is not None
    return best[1], best[2], best[3]


def _window(centre: int, size: int, side: int) -> slice:
    """A window of `side` around a voxel, moved (not cut) at the borders of the scene."""
    side = max(1, min(side, size))
    start = min(max(0, centre - side // 2), size - side)
    return slice(start, start + side)
