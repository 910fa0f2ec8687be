"""Pictures as text: arrays become WebP data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from neuropil.geometry import Float3

#: A side of a WebP picture has at most this many pixels.
WEBP_SIDE = 16383
#: Nor is one enlarged further than this, or than so many times its wanted width: no reader scrolls along more.
_LARGEST, _WIDTHS = 16000, 8


@dataclass(frozen=True)
class Figure:
    """A picture with what a reader needs to use it.

    `aspect` is width / height in nm, `bar_percent` the width of the scale bar as a share of the picture's.
    """

    source: str
    alt: str
    width: int
    height: int
    aspect: float
    bar_percent: float
    bar_text: str
    caption: str = ""
    cross: tuple[float, float] | None = None


def data_uri(picture: npt.NDArray[np.uint8], quality: int) -> str:
    """Encode grey (Y, X), RGB (Y, X, 3) or RGBA (Y, X, 4) as a WebP data URI; quality 100 means without loss."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=-1)
    coarser = -(-max(picture.shape[:2]) // WEBP_SIDE)
    picture = np.ascontiguousarray(picture[::coarser, ::coarser])
    # the encoder's default is lossless whatever the level
    encoded = imagecodecs.webp_encode(picture, level=min(quality, 100), lossless=quality >= 100, method=3)
    return "data:image/webp;base64," + base64.b64encode(encoded).decode("ascii")


def enlarged(picture: npt.NDArray[Any], factors: tuple[int, int]) -> npt.NDArray[Any]:
    """Repeat rows and columns, so that thin lines can be drawn between voxels and voxels keep their shape."""
    return np.repeat(np.repeat(picture, factors[0], axis=0), factors[1], axis=1)


def factors_for(shape: tuple[int, int], pixel_nm: tuple[float, float], width: int) -> tuple[int, int]:
    """Whole factors for rows and columns that bring a picture near `width` pixels with its true proportions.

    Long thin pictures are enlarged less: they are shown in true proportions whatever their pixels are.
    """
    unit = min(pixel_nm)
    most = min(_LARGEST, _WIDTHS * width)
    sides = [n * nm / unit for n, nm in zip(shape, pixel_nm, strict=True)]
    scale = min(max(1.0, width / max(1.0, sides[1])), *(most / side for side in sides))
    rows, columns = (max(1, min(round(nm / unit * scale), most // n)) for n, nm in zip(shape, pixel_nm, strict=True))
    return rows, columns


def scale_bar(width_nm: float) -> tuple[float, str]:
    """A round length near a quarter of the picture: (nm, text)."""
    target = width_nm / 4
    power = 10.0 ** math.floor(math.log10(target))
    length = max(step * power for step in (1, 2, 5) if step * power <= target * 1.0001)
    return length, f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm"


def figure(
    picture: npt.NDArray[np.uint8],
    size_nm: tuple[float, float],
    alt: str,
    *,
    quality: int,
    caption: str = "",
    cross: tuple[float, float] | None = None,
) -> Figure:
    """Make a figure of a picture that covers `size_nm` (height, width)."""
    length, text = scale_bar(size_nm[1])
    return Figure(
        data_uri(picture, quality),
        alt,
        picture.shape[1],
        picture.shape[0],
        round(size_nm[1] / size_nm[0], 4),
        round(100 * length / size_nm[1], 2),
        text,
        caption,
        cross,
    )


def voxel_text(voxel_size: Float3) -> str:
    """A voxel size as words: ``"50 × 4 × 4 nm"``."""
    return " × ".join(f"{v:g}" for v in voxel_size) + " nm"
