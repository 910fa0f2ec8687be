"""What notebooks show of volumes, affinities and runs: a picture and a small table, in one piece of HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Box

if TYPE_CHECKING:
    from neuropil.volume import Volume

#: Most voxels along y and x that are read for a picture, and its width on the page.
WINDOW, WIDTH = 512, 240
#: Grey values outside of these percentiles are black or white.
_PERCENTILES = (0.5, 99.5)
_GOLDEN = 0.61803398875


def volume_html(volume: Volume, facts: Mapping[str, object] | None = None) -> str:
    """A volume's middle section and what is known of it.

    At most `WINDOW` x `WINDOW` voxels are read, from the middle of one section, so that volumes of any size are shown
    at once. What cannot be read is said in place of the picture.

    Parameters
    ----------
    facts
        Further rows of the table.
    """
    box = _middle(volume.box)
    try:
        picture = section(volume.read(box), volume.kind, volume.axes)
        shown = image_html(picture, f"section {box.start[0]} of {volume.name}", *volume.voxel_size[1:])
    except (OSError, ValueError) as error:
        shown = f"<em>no picture: {html.escape(str(error))}</em>"
    nm = " x ".join(f"{v:g}" for v in volume.voxel_size)
    part = [f"{a}:{b}" for a, b in zip(box.start, box.stop, strict=True)]
    rows: dict[str, object] = {
        "kind": volume.kind if volume.kind_stated else f"{volume.kind} (inferred)",
        "shape": f"{' x '.join(str(n) for n in volume.shape)} ({volume.axes})",
        "type": volume.dtype,
        "voxel size": f"{nm} nm",
        "extent": " x ".join(f"{n * v / 1000:.4g}" for n, v in zip(volume.box.shape, volume.voxel_size, strict=True))
        + " µm",
        "offset": " x ".join(f"{v:g}" for v in volume.offset) + " nm",
        "stored as": volume.layout.get("format", "unknown"),
        "picture": f"voxels [{', '.join(part)}]",
    }
    return framed(volume.name, shown, rows | dict(facts or {}))


def _middle(box: Box) -> Box:
    """One section, at most `WINDOW` voxels wide and high, around the middle."""
    start, stop = [], []
    for low, extent, most in zip(box.start, box.shape, (1, WINDOW, WINDOW), strict=True):
        first = low + max(0, extent - most) // 2
        start.append(first)
        stop.append(first + min(extent, most))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), box.voxel_size)


def section(values: npt.NDArray[Any], kind: str, axes: str) -> npt.NDArray[np.uint8]:
    """A section as grey (Y, X) or colours (Y, X, 3).

    Parameters
    ----------
    values
        (1, Y, X) or (C, 1, Y, X). Of channels the first three become red, green and blue.
    kind, axes
        As of a `Volume`. Labels get a colour each, 0 is black.
    """
    if axes == "czyx":
        first = values[:3, 0]
        rgb_CYX = np.zeros((3, *first.shape[1:]), np.uint8)
        rgb_CYX[: len(first)] = _bytes(first)
        return np.ascontiguousarray(rgb_CYX.transpose(1, 2, 0))
    if kind == "labels":
        ids = values[0].astype(np.uint64)
        hue = (ids.astype(np.float64) * _GOLDEN) % 1
        waves = np.cos(2 * np.pi * (hue[..., None] + np.array([0, 1, 2]) / 3))
        return np.where(ids[..., None] > 0, 140 + 110 * waves, 0).astype(np.uint8)
    if kind == "mask":
        return np.where(values[0] > 0, np.uint8(255), np.uint8(0))
    return _stretched(values[0])


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Evidence as bytes: floats are 0..1."""
    if values.dtype == np.uint8:
        return values
    return np.asarray(np.clip(np.nan_to_num(values) * (255 if values.dtype.kind == "f" else 1), 0, 255), np.uint8)


def _stretched(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    grey = np.nan_to_num(values.astype(np.float64))
    low, high = np.percentile(grey, _PERCENTILES) if grey.size else (0.0, 1.0)
    return np.asarray(np.clip(255 * (grey - low) / max(high - low, 1e-12), 0, 255), np.uint8)


def image_html(picture: npt.NDArray[np.uint8], alt: str, height_nm: float, width_nm: float) -> str:
    """An <img> that holds its picture (PNG), in its true proportions for pixels of so many nm."""
    import imagecodecs

    encoded = base64.b64encode(imagecodecs.png_encode(np.ascontiguousarray(picture))).decode("ascii")
    rows, columns = picture.shape[:2]
    height = max(1, round(WIDTH * rows * height_nm / (columns * width_nm)))
    return (
        f'<img alt="{html.escape(alt, quote=True)}" width="{WIDTH}" height="{height}" '
        f'style="image-rendering: pixelated; background: #000" src="data:image/png;base64,{encoded}">'
    )


def curve_html(points: Sequence[tuple[float, float]], name: str) -> str:
    """A small curve of (x, y), as SVG; nothing for fewer than two points."""
    if len(points) < 2:
        return ""
    x, y = np.asarray(points, np.float64).T
    spans = max(np.ptp(x), 1e-12), max(np.ptp(y), 1e-12)
    across, up = WIDTH * (x - x.min()) / spans[0], 80 * (1 - (y - y.min()) / spans[1])
    line = " ".join(f"{a:.1f},{b + 5:.1f}" for a, b in zip(across, up, strict=True))
    label = f"{name}: {y[0]:.4g} to {y[-1]:.4g}"
    return (
        f'<svg role="img" aria-label="{html.escape(label, quote=True)}" width="{WIDTH}" height="106">'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"></polyline>'
        f'<text x="0" y="103" font-size="11" fill="currentColor">{html.escape(label)}</text></svg>'
    )


def framed(title: str, picture: str, facts: Mapping[str, object]) -> str:
    """A picture beside a table of facts, under a title."""
    cell = '<td style="text-align: left">'
    rows = "".join(
        f"<tr>{cell}{html.escape(str(k))}</td>{cell}{html.escape(str(v))}</td></tr>" for k, v in facts.items()
    )
    return (
        f"<div><strong>{html.escape(title)}</strong>"
        f'<div style="display: flex; gap: 1em; align-items: flex-start; flex-wrap: wrap">'
        f"{picture}<table>{rows}</table></div></div>"
    )
