"""Two trees on the three projections: what the traced one found, missed and added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import block_reduce

from neuropil.geometry import Box
from neuropil.metrics.tree_branches import Branch, Lines, branches, lines
from neuropil.metrics.tree_pair import TreePair
from neuropil.report.colours import Rgb
from neuropil.report.images import Figure, figure, scale_bar
from neuropil.report.panels import AXES, PLANES, PlaneRow
from neuropil.volume import Volume

Rgbs = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

#: Blue against vermilion, as for splits and merges: told apart by colour-blind readers.
COLOURS: dict[str, Rgb] = {"found": (214, 220, 214), "missed": (255, 96, 32), "extra": (45, 140, 255)}
_MEANING = {
    "found": ("Found", "true cable with traced cable near it"),
    "missed": ("Missed", "true cable without"),
    "extra": ("Extra", "traced cable without true cable near it"),
}
_GROUND = 26
#: Voxels of an image that are read at once.
_BLOCK = 2**25


@dataclass(frozen=True)
class TreeView:
    """Two trees for the page.

    Parameters
    ----------
    pair
        The trees.
    unit
        What a step is called on the page: "voxel", or "µm" if a step is one micrometre.
    image
        What they were traced in.
    known
        Whether the length of a step in nm is known; otherwise bars are labelled in steps.
    """

    pair: TreePair
    unit: str
    image: Volume | None = None
    known: bool = True


@dataclass(frozen=True)
class BranchRow:
    """A missed or extra branch in the table."""

    rank: int
    kind: str
    length: str
    share: float
    apart: str
    place: str


@dataclass(frozen=True)
class TreePage:
    """The part of the page about trees."""

    rows: tuple[PlaneRow, ...]
    legend: tuple[tuple[str, str, str, str], ...]  # name, meaning, css colour, share
    branches: tuple[BranchRow, ...]
    counts: str
    unit: str


def tree_page(view: TreeView, *, width: int, most: int) -> TreePage:
    """Pictures, legend and table of two trees.

    Parameters
    ----------
    width
        Pixels of a picture's longer side.
    most
        Branches in the table.
    """
    pair = view.pair
    drawn, found = lines(pair), branches(pair)
    missed, extra = (
        float(np.average(apart >= pair.config.tolerance, weights=pieces.length))
        for apart, pieces in ((pair.truth_apart, pair.truth_pieces), (pair.test_apart, pair.test_pieces))
    )
    shares = {"found": 1 - missed, "missed": missed, "extra": extra}
    legend = [(*_MEANING[k], f"rgb{COLOURS[k]}", f"{100 * share:.1f} %") for k, share in shares.items()]
    count = {kind: sum(b.kind == kind for b in found) for kind in ("missed", "extra")}
    return TreePage(
        tuple(_rows(view, drawn, width)),
        tuple(legend),
        tuple(_branch_rows(view, found[:most])),
        f"{count['missed']} missed and {count['extra']} extra stretches",
        view.unit,
    )


def _branch_rows(view: TreeView, found: Sequence[Branch]) -> list[BranchRow]:
    pair = view.pair
    total = {"missed": pair.truth.length, "extra": pair.test.length}
    rows = []
    for rank, branch in enumerate(found, start=1):
        length, apart = branch.length_nm / pair.step_nm, branch.apart_nm / pair.step_nm
        share = length / total[branch.kind] if total[branch.kind] else 0.0
        rows.append(BranchRow(rank, branch.kind, f"{length:.1f}", share, f"{apart:.1f}", _place(view, branch)))
    return rows


def _place(view: TreeView, branch: Branch) -> str:
    """Where to look: voxels of the image, or steps."""
    if view.image is not None:
        pairs = zip(branch.place_nm, view.image.voxel_size, strict=True)
        return ", ".join(str(int(np.floor(nm / size + 1e-6))) for nm, size in pairs)
    return ", ".join(f"{nm / view.pair.step_nm:.1f}" for nm in branch.place_nm)


@dataclass(frozen=True)
class _Canvas:
    """A picture of a rectangle in nm: corner and size (rows, columns), and pixels a nm."""

    corner_nm: tuple[float, float]
    size_nm: tuple[float, float]
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = (max(1, round(s * self.scale)) for s in self.size_nm)
        return rows, columns


def _rows(view: TreeView, drawn: dict[str, Lines], width: int) -> list[PlaneRow]:
    start, stop, flat = _bounds(view, drawn)
    longest = float((stop - start).max())
    seen = projections(view.image) if view.image is not None else {}
    rows = []
    for name, (axis, row, column) in PLANES.items():
        size = (float(stop[row] - start[row]), float(stop[column] - start[column]))
        canvas = _Canvas((float(start[row]), float(start[column])), size, width / longest)
        if flat and name != "xy":
            continue
        ground = None if view.image is None else _placed(seen[name], view.image.box, canvas, (row, column))
        rows.append(PlaneRow(name, f"along {AXES[axis]}", tuple(_figures(view, drawn, canvas, ground, name))))
    return rows


def _bounds(view: TreeView, drawn: dict[str, Lines]) -> tuple[Floats, Floats, bool]:
    """Corners in nm of what is shown: both trees, with some room around them; and whether that is flat."""
    points = np.concatenate([one.ends_nm.reshape(-1, 3) for one in drawn.values()])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = (0.03 if view.image is None else 0.08) * float((high - low).max()) + view.pair.step_nm
    section = view.image is not None and view.image.box.shape[0] == 1
    return low - margin, high + margin, section or bool(high[0] - low[0] < 2 * view.pair.step_nm)


def _figures(
    view: TreeView, drawn: dict[str, Lines], canvas: _Canvas, ground: Grey | None, name: str
) -> list[tuple[str, Figure]]:
    _, row, column = PLANES[name]
    flat = {k: Lines(one.ends_nm[:, :, [row, column]], one.apart) for k, one in drawn.items()}
    truth, test = flat["truth"], flat["test"]
    every = {k: np.ones(len(one.apart), np.bool_) for k, one in flat.items()}
    pictures = {
        "Truth": [(truth, every["truth"], COLOURS["found"])],
        "Traced": [(test, every["test"], COLOURS["found"])],
        "Missed and extra": [
            (truth, ~truth.apart, COLOURS["found"]),
            (test, test.apart, COLOURS["extra"]),
            (truth, truth.apart, COLOURS["missed"]),
        ],
    }
    grey = np.full(canvas.shape, _GROUND, np.uint8) if ground is None else ground
    base = np.repeat(grey[..., None], 3, axis=-1)
    shown = [] if ground is None else [("image", _framed(view, base, canvas, "Image", name))]
    # lines must stand out from what is bright in the image
    dim = base if ground is None else (base * 0.45).astype(np.uint8)
    for title, layers in pictures.items():
        picture = dim.copy()
        for one, chosen, colour in layers:
            _draw(picture, one.ends_nm[chosen], canvas, colour)
        shown.append((title.lower(), _framed(view, picture, canvas, title, name)))
    return shown


def _framed(view: TreeView, picture: Rgbs, canvas: _Canvas, title: str, plane: str) -> Figure:
    alt = f"{title}, projected onto the {plane} plane"
    made = figure(picture, canvas.size_nm, alt, quality=86, caption=title)
    if view.known:
        return made
    steps = scale_bar(canvas.size_nm[1] / view.pair.step_nm)[0]
    share = round(100 * steps * view.pair.step_nm / canvas.size_nm[1], 2)
    return replace(made, bar_text=f"{steps:g} {view.unit}s", bar_percent=share)


def _draw(picture: Rgbs, ends_nm: Floats, canvas: _Canvas, colour: Rgb) -> None:
    """Lines three pixels wide."""
    if not len(ends_nm):
        return
    ends = (ends_nm - np.array(canvas.corner_nm)) * canvas.scale
    longest = float(np.abs(ends[:, 1] - ends[:, 0]).max(initial=0.0))
    share = np.linspace(0.0, 1.0, int(np.ceil(longest * 1.5)) + 2)
    hit = np.zeros((canvas.shape[0] + 2, canvas.shape[1] + 2), np.bool_)
    for at in share:
        pixel = np.floor(ends[:, 0] + at * (ends[:, 1] - ends[:, 0])).astype(np.int64) + 1
        inside = ((pixel >= 0) & (pixel < hit.shape)).all(axis=1)
        hit[tuple(pixel[inside].T)] = True
    rows, columns = canvas.shape
    wide = np.zeros(canvas.shape, np.bool_)
    for dy, dx in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2)):
        wide |= hit[dy : dy + rows, dx : dx + columns]
    picture[wide] = colour


def projections(image: Volume) -> dict[str, npt.NDArray[Any]]:
    """The image seen along z, y and x: the brightest voxel of each line, or the darkest where the ground is bright.

    Returns
    -------
    dict
        Plane name → (rows, columns); read block by block.
    """
    box = image.box
    high: dict[str, npt.NDArray[np.float32]] = {}
    low: dict[str, npt.NDArray[np.float32]] = {}
    sums = np.zeros(2)
    depth = max(1, _BLOCK // max(1, box.shape[1] * box.shape[2]))
    for name, (_, row, column) in PLANES.items():
        shape = (box.shape[row], box.shape[column])
        high[name], low[name] = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    for block in box.blocks((min(depth, box.shape[0]), box.shape[1], box.shape[2]), (0, 0, 0)):
        data = image.read(block.write).astype(np.float32)
        cut = block.write.slices(box.start)
        sums += float(data.sum(dtype=np.float64)), data.size
        for name, (axis, row, column) in PLANES.items():
            part = (cut[row], cut[column])
            high[name][part] = np.maximum(high[name][part], data.max(axis=axis))
            low[name][part] = np.minimum(low[name][part], data.min(axis=axis))
    mean = sums[0] / max(sums[1], 1)
    # a bright ground lies near the brightest voxels, thin things pull the mean hardly away from it
    bright = float(np.max(high["xy"])) - mean < mean - float(np.min(low["xy"]))
    return {name: low[name] if bright else high[name] for name in PLANES}


def _placed(flat: npt.NDArray[Any], box: Box, canvas: _Canvas, axes: tuple[int, int]) -> Grey:
    """A projection on the canvas, contrast stretched; where many pixels fall on one, the brightest; none is black."""
    pixel = [box.voxel_size[a] for a in axes]
    fold = [max(1, int(1 / (nm * canvas.scale))) for nm in pixel]
    small = block_reduce(flat, tuple(fold), np.max, cval=float(flat.min()))  # type: ignore[no-untyped-call]
    place, inside = [], []
    for n, corner, a, nm, f, m in zip(canvas.shape, canvas.corner_nm, axes, pixel, fold, small.shape, strict=True):
        at = ((np.arange(n) + 0.5) / canvas.scale + corner - box.start[a] * nm) / (nm * f)
        inside.append((at >= 0) & (at < m))
        place.append(np.clip(at, 0, m - 1).astype(np.int64))
    shown = small[np.ix_(*place)]
    low, high = np.percentile(shown, [1.0, 99.7])
    grey = np.clip((shown - low) * (255 / max(float(high - low), 1e-6)), 0, 255)
    return np.ascontiguousarray(np.where(np.logical_and.outer(*inside), grey, 0).astype(np.uint8))
