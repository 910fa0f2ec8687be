"""Colours of objects: even in lightness, far apart in hue, the same for the same id on every picture and run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.report.mistakes import BORDER, FALSE, IGNORED, MATCHED, MERGE, MISSED, SPLIT, Match
from neuropil.report.scene import Labels

Rgb = tuple[int, int, int]

#: Blue against vermilion: told apart by colour-blind readers (after Okabe and Ito 2008).
ERROR_COLOURS: dict[int, Rgb] = {
    SPLIT: (45, 140, 255),
    MERGE: (255, 96, 32),
    BORDER: (176, 132, 220),
    MISSED: (250, 214, 60),
    FALSE: (204, 0, 120),
}
ERROR_ALPHA: dict[int, float] = {
    IGNORED: 0.0,
    MATCHED: 0.0,
    SPLIT: 0.62,
    MERGE: 0.62,
    BORDER: 0.42,
    MISSED: 0.5,
    FALSE: 0.62,
}
_SEGMENT_SALT = np.uint64(0x5851F42D4C957F2D)


def mixed(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A well-mixed 64-bit hash of each id (SplitMix64, Steele et al. 2014)."""
    x = ids.astype(np.uint64)
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)


def id_colours(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """One colour (K, 3) for each id; id 0 is black."""
    bits = mixed(ids)
    hue = (bits >> np.uint64(32)).astype(np.float64) / 2**32
    lightness = np.array([0.66, 0.74, 0.82])[(bits & np.uint64(0xFFFF)).astype(np.int64) % 3]
    chroma = np.array([0.105, 0.14, 0.17])[((bits >> np.uint64(16)) & np.uint64(0xFFFF)).astype(np.int64) % 3]
    colours = oklch_to_srgb(lightness, chroma, hue * 2 * np.pi)
    colours[ids == 0] = 0
    return colours


def oklch_to_srgb(
    lightness: npt.NDArray[np.float64], chroma: npt.NDArray[np.float64], hue: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Perceptual lightness 0..1, chroma and hue (radians) to 8-bit sRGB (K, 3), clipped (Ottosson 2020)."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(encoded * 255), np.uint8)


def segment_colours(pred: Labels, truth: Labels | None, found: Match | None) -> npt.NDArray[np.uint8]:
    """Colours (K, 3) of segments: that of the neuron whose main segment it is, otherwise one of its own."""
    if truth is None or found is None:
        return id_colours(pred.ids)
    colours = id_colours(pred.ids ^ _SEGMENT_SALT)
    partner = found.main_truth
    mutual = (partner > 0) & (found.main_pred[np.maximum(partner, 0)] == np.arange(len(partner)))
    colours[mutual] = id_colours(truth.ids)[partner[mutual]]
    colours[0] = 0
    return colours


def borders(index_YX: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour belongs to another object: lines one pixel wide."""
    line = np.zeros(index_YX.shape, np.bool_)
    line[:-1] |= index_YX[:-1] != index_YX[1:]
    line[:, :-1] |= index_YX[:, :-1] != index_YX[:, 1:]
    return line


def label_overlay(index_YX: npt.NDArray[Any], colours: npt.NDArray[np.uint8], fill: float) -> npt.NDArray[np.uint8]:
    """Objects as translucent fills with opaque thin borders, RGBA (Y, X, 4); background is clear."""
    rgba = np.zeros((*index_YX.shape, 4), np.uint8)
    rgba[..., :3] = colours[index_YX]
    rgba[..., 3] = np.where(index_YX > 0, round(fill * 255), 0)
    line = borders(index_YX)
    rgba[line, :3] = (rgba[line, :3].astype(np.uint16) * 2 // 5).astype(np.uint8)
    rgba[line, 3] = 235
    return rgba


def error_overlay(
    classes_YX: npt.NDArray[np.uint8], truth_YX: npt.NDArray[Any], pred_YX: npt.NDArray[Any]
) -> npt.NDArray[np.uint8]:
    """Mistakes in colour over clear ground, with white lines between neurons and dark ones between segments."""
    table = np.zeros((len(ERROR_ALPHA), 4), np.uint8)
    for kind, alpha in ERROR_ALPHA.items():
        table[kind] = (*ERROR_COLOURS.get(kind, (0, 0, 0)), round(alpha * 255))
    rgba = table[classes_YX]
    wrong = classes_YX > MATCHED
    cut = borders(pred_YX) & wrong
    rgba[cut] = (12, 20, 32, 235)
    neuron = borders(truth_YX)
    rgba[neuron] = (255, 255, 255, 150)
    return rgba


def composed(grey_YX: npt.NDArray[np.uint8], overlay_YX4: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lay an RGBA overlay on a grey picture: RGB (Y, X, 3)."""
    alpha = overlay_YX4[..., 3:].astype(np.float32) / 255
    mixed_rgb = grey_YX[..., None] * (1 - alpha) + overlay_YX4[..., :3] * alpha
    return np.asarray(mixed_rgb.round(), np.uint8)
