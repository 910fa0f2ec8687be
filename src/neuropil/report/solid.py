"""Neurons in three dimensions, drawn by casting rays at smoothed objects: a turntable of shaded pictures.

Each object's mask is smoothed and its half-height surface is what a ray meets first; the slope there is the normal.
Creases and gaps are darkened by the unsharp depth buffer (Luft et al., SIGGRAPH 2006). No mesh is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from neuropil.geometry import Float3

_CELL = 4  # voxels of a cell of the empty-space table
_ELEVATION = 0.42  # radians above the horizon


@dataclass(frozen=True)
class Solid:
    """Smoothed objects on cubic voxels: `height` in 0..1 (surface at 0.5), `owner` the object index of each voxel."""

    height_ZYX: npt.NDArray[np.float32]
    owner_ZYX: npt.NDArray[np.int32]
    busy: npt.NDArray[np.bool_]


def build(index_ZYX: npt.NDArray[np.int32], chosen: npt.NDArray[Any], voxel_size: Float3, side: int) -> Solid:
    """Smooth the chosen objects on a grid of cubic voxels, the longest side having at most `side` of them."""
    extent = [n * v for n, v in zip(index_ZYX.shape, voxel_size, strict=True)]
    unit = max(min(voxel_size), max(extent) / side)
    shape = tuple(max(1, round(e / unit)) for e in extent)
    picks = [
        np.minimum(((np.arange(n) + 0.5) * unit / v).astype(int), m - 1)
        for n, v, m in zip(shape, voxel_size, index_ZYX.shape, strict=True)
    ]
    grid = index_ZYX[np.ix_(*picks)]
    wanted = np.zeros(int(index_ZYX.max(initial=0)) + 1, np.bool_)
    wanted[chosen] = True
    grid = np.where(wanted[grid], grid, 0)
    sigma = tuple(max(1.0, 0.6 * v / unit) for v in voxel_size)
    height, owner = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    for index, span in enumerate(ndimage.find_objects(grid), start=1):
        if span is None:
            continue
        grown = tuple(slice(max(0, s.start - 4), min(n, s.stop + 4)) for s, n in zip(span, shape, strict=True))
        # 'constant' closes the surface where the object leaves the volume
        soft = ndimage.gaussian_filter((grid[grown] == index).astype(np.float32), sigma, mode="constant", truncate=3)
        ahead = soft > height[grown]
        height[grown][ahead] = soft[ahead]
        owner[grown][ahead] = index
    return Solid(height, owner, _busy(height))


def _busy(height: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which cells of 4³ voxels, or a neighbour of theirs, hold a surface."""
    pad = [(0, -n % _CELL) for n in height.shape]
    z, y, x = (n // _CELL for n in np.pad(height, pad).shape)
    cells = np.pad(height, pad).reshape(z, _CELL, y, _CELL, x, _CELL).max(axis=(1, 3, 5)) > 0.2
    return np.asarray(ndimage.binary_dilation(cells, np.ones((3, 3, 3))))


def turntable(
    solid: Solid, colours: npt.NDArray[np.uint8], pixels: int, frames: int, *, smooth: int = 2
) -> list[npt.NDArray[np.uint8]]:
    """Pictures RGBA (height, width, 4) from evenly spaced sides, slightly from above; z points down.

    They are `pixels` wide, and narrower where they would be more than twice as high: every pixel is a ray.
    """
    width, height = _view_size(solid.height_ZYX.shape)
    pixels = max(1, min(pixels, round(2 * pixels * width / height)))
    return [
        picture(solid, colours, pixels, 2 * np.pi * (k / frames) + 0.6, smooth=smooth) for k in range(max(1, frames))
    ]


def picture(
    solid: Solid, colours: npt.NDArray[np.uint8], pixels: int, azimuth: float, *, smooth: int
) -> npt.NDArray[np.uint8]:
    """One view; `smooth` rays a pixel side are averaged."""
    right, down, ahead = _camera(azimuth)
    shape = solid.height_ZYX.shape
    radius = 0.5 * float(np.linalg.norm(shape))
    width, height = _view_size(shape)
    columns, rows = pixels * smooth, max(smooth, round(pixels * height / width) * smooth)
    axes = np.stack([right, down, ahead])
    body = (solid.height_ZYX, solid.owner_ZYX, solid.busy)
    depth, normal, owner = _cast(body, axes, radius, width / columns, (rows, columns))
    rgb, alpha = _shaded(depth, normal, colours[owner].astype(np.float32) / 255, axes, radius)
    _frame(rgb, alpha, depth, axes, shape, width / columns)
    premultiplied = np.concatenate([rgb * alpha[..., None], alpha[..., None]], axis=-1)
    small = premultiplied.reshape(rows // smooth, smooth, pixels, smooth, 4).mean(axis=(1, 3))
    small[..., :3] /= np.maximum(small[..., 3:], 1e-4)
    return np.asarray((small.clip(0, 1) * 255).round(), np.uint8)


def _view_size(shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height (voxels) of a picture that holds the volume from every side."""
    across = float(np.hypot(shape[1], shape[2]))
    return across * 1.02, (np.cos(_ELEVATION) * shape[0] + np.sin(_ELEVATION) * across) * 1.02


def _camera(azimuth: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Unit vectors (z, y, x) of the picture's right, down and depth directions."""
    c, s, elevation = np.cos(azimuth), np.sin(azimuth), _ELEVATION
    right = np.array([0.0, -s, c])
    level = np.array([0.0, c, s])
    tilt = np.array([1.0, 0.0, 0.0])
    ahead = np.cos(elevation) * level + np.sin(elevation) * tilt
    down = np.cos(elevation) * tilt - np.sin(elevation) * level
    return right, down, ahead


def _shaded(
    depth: npt.NDArray[np.float32],
    normal: npt.NDArray[np.float32],
    base: npt.NDArray[np.float32],
    axes: npt.NDArray[np.float64],
    radius: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Colour and coverage: soft key light from the upper left, sky light, gloss, darkened creases, distance haze."""
    hit = depth < np.inf
    right, down, ahead = axes
    key = -(0.55 * right + 0.75 * down + 0.75 * ahead)
    key /= np.linalg.norm(key)
    half = key - ahead
    half /= np.linalg.norm(half)
    diffuse = (normal @ key.astype(np.float32) * 0.5 + 0.5).clip(0, 1) ** 1.6
    sky = 0.5 - 0.5 * (normal @ down.astype(np.float32))
    gloss = (normal @ half.astype(np.float32)).clip(0, 1) ** 42
    facing = (-(normal @ ahead.astype(np.float32))).clip(0, 1)
    far = np.where(hit, depth, radius * 1.15).astype(np.float32)
    # means of neighbours are smooth, so they are taken on every other pixel
    near_mean, wide_mean = (_blurred(far, round(share * depth.shape[1])) for share in (0.012, 0.045))
    crease = (near_mean + wide_mean - 2 * far) / radius
    shade = 1 + np.clip(crease * 3.2, -0.5, 0.1)
    light = (0.24 + 0.66 * diffuse + 0.2 * sky) * (0.62 + 0.38 * facing**0.6) * shade
    rgb = base * light[..., None] + 0.16 * gloss[..., None]
    haze = np.clip((far / radius + 0.35) * 0.26, 0, 0.34)[..., None]
    rgb = rgb * (1 - haze) + np.float32(0.62) * haze
    return rgb.clip(0, 1).astype(np.float32), hit.astype(np.float32)


def _blurred(picture: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    """Mean over about `width` pixels, twice, worked out at half the size."""
    size = max(1, width // 2)
    small = ndimage.uniform_filter(ndimage.uniform_filter(picture[::2, ::2], size), size)
    rows, columns = picture.shape
    return np.asarray(np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)[:rows, :columns])


def _frame(
    rgb: npt.NDArray[np.float32],
    alpha: npt.NDArray[np.float32],
    depth: npt.NDArray[np.float32],
    axes: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    pixel: float,
) -> None:
    """Draw the edges of the volume as thin grey lines, hidden behind the objects in front of them."""
    rows, columns = depth.shape
    half = np.array(shape) / 2
    t = np.linspace(-1, 1, 3 * columns)[:, None]
    for axis in range(3):
        a, b = [k for k in range(3) if k != axis]
        for sa in (-1, 1):
            for sb in (-1, 1):
                points = np.zeros((len(t), 3))
                points[:, axis], points[:, a], points[:, b] = t[:, 0] * half[axis], sa * half[a], sb * half[b]
                column = points @ axes[0] / pixel + columns / 2
                row = points @ axes[1] / pixel + rows / 2
                for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                    r, c = (row + dy).astype(int).clip(0, rows - 1), (column + dx).astype(int).clip(0, columns - 1)
                    seen = depth[r, c] > points @ axes[2]
                    r, c = r[seen], c[seen]
                    solid_there = (depth[r, c] < np.inf)[:, None]
                    rgb[r, c] = np.where(solid_there, 0.5 * rgb[r, c] + 0.35, 0.55)
                    alpha[r, c] = np.where(solid_there[:, 0], 1.0, 0.55)


def _trilinear(field: Any, z: float, y: float, x: float) -> float:
    nz, ny, nx = field.shape
    if z < 0 or y < 0 or x < 0 or z > nz - 1 or y > ny - 1 or x > nx - 1:
        z2, y2, x2 = min(max(z, 0.0), nz - 1.0), min(max(y, 0.0), ny - 1.0), min(max(x, 0.0), nx - 1.0)
        away = max(abs(z - z2), abs(y - y2), abs(x - x2))
        if away >= 1:
            return 0.0
        # fade to nothing within one voxel, so that objects are closed at the faces of the volume
        return (1.0 - away) * _sample(field, z2, y2, x2)  # type: ignore[no-any-return]
    return _sample(field, z, y, x)  # type: ignore[no-any-return]


def _sample_py(field: Any, z: float, y: float, x: float) -> float:
    nz, ny, nx = field.shape
    k, j, i = min(int(z), nz - 2), min(int(y), ny - 2), min(int(x), nx - 2)
    k, j, i = max(k, 0), max(j, 0), max(i, 0)
    k2, j2, i2 = min(k + 1, nz - 1), min(j + 1, ny - 1), min(i + 1, nx - 1)
    w, v, u = z - k, y - j, x - i
    low = (field[k, j, i] * (1 - u) + field[k, j, i2] * u) * (1 - v)
    low += (field[k, j2, i] * (1 - u) + field[k, j2, i2] * u) * v
    high = (field[k2, j, i] * (1 - u) + field[k2, j, i2] * u) * (1 - v)
    high += (field[k2, j2, i] * (1 - u) + field[k2, j2, i2] * u) * v
    return low * (1 - w) + high * w  # type: ignore[no-any-return]


_sample = numba.njit(cache=True)(_sample_py)
_at = numba.njit(cache=True)(_trilinear)


def _surface_py(height: Any, origin: Any, ahead: Any, t: float) -> Any:
    """Where exactly between t - 0.6 and t a ray enters an object, and the unit normal there."""
    oz, oy, ox = origin
    near, inner = t - 0.6, t
    for _ in range(5):
        mid = 0.5 * (near + inner)
        if _at(height, oz + ahead[0] * mid, oy + ahead[1] * mid, ox + ahead[2] * mid) < 0.5:
            near = mid
        else:
            inner = mid
    z, y, x = oz + ahead[0] * inner, oy + ahead[1] * inner, ox + ahead[2] * inner
    gz = _at(height, z - 1, y, x) - _at(height, z + 1, y, x)
    gy = _at(height, z, y - 1, x) - _at(height, z, y + 1, x)
    gx = _at(height, z, y, x - 1) - _at(height, z, y, x + 1)
    length = max(1e-9, np.sqrt(gz * gz + gy * gy + gx * gx))
    return inner, (z, y, x), (gz / length, gy / length, gx / length)


def _span_py(shape: Any, origin: Any, ahead: Any, radius: float) -> Any:
    """First and last step of a ray inside the volume."""
    t, end = -radius, radius
    for a in range(3):
        if abs(ahead[a]) < 1e-9:
            if origin[a] < -1 or origin[a] > shape[a]:
                end = -radius
            continue
        t1, t2 = (-1.0 - origin[a]) / ahead[a], (shape[a] - origin[a]) / ahead[a]
        t, end = max(t, min(t1, t2)), min(end, max(t1, t2))
    return t, end


_surface = numba.njit(cache=True)(_surface_py)
_span = numba.njit(cache=True)(_span_py)


def _cast_py(body: Any, axes: Any, radius: float, pixel: float, size: Any) -> Any:
    """Depth, normal and owner of the first surface behind every pixel; `body` is (height, owner, busy)."""
    height, owner, busy = body
    rows, columns = size
    nz, ny, nx = height.shape
    depth = np.full((rows, columns), np.inf, np.float32)
    normal = np.zeros((rows, columns, 3), np.float32)
    who = np.zeros((rows, columns), np.int32)
    right, down, ahead = axes[0], axes[1], axes[2]
    for row in range(rows):
        v = (row + 0.5 - rows / 2) * pixel
        for column in range(columns):
            u = (column + 0.5 - columns / 2) * pixel
            oz = (nz - 1) / 2 + right[0] * u + down[0] * v
            oy = (ny - 1) / 2 + right[1] * u + down[1] * v
            ox = (nx - 1) / 2 + right[2] * u + down[2] * v
            t, end = _span((nz, ny, nx), (oz, oy, ox), ahead, radius)
            while t < end:
                z, y, x = oz + ahead[0] * t, oy + ahead[1] * t, ox + ahead[2] * t
                k, j, i = min(max(int(z), 0), nz - 1), min(max(int(y), 0), ny - 1), min(max(int(x), 0), nx - 1)
                if not busy[k // 4, j // 4, i // 4]:
                    t += 3.0
                    continue
                if height[k, j, i] < 0.1:
                    t += 0.9
                    continue
                if _at(height, z, y, x) < 0.5:
                    t += 0.6
                    continue
                inner, (z, y, x), slope = _surface(height, (oz, oy, ox), ahead, t)
                normal[row, column, 0], normal[row, column, 1], normal[row, column, 2] = slope
                k, j, i = int(z + 0.5), int(y + 0.5), int(x + 0.5)
                depth[row, column] = inner
                who[row, column] = owner[min(max(k, 0), nz - 1), min(max(j, 0), ny - 1), min(max(i, 0), nx - 1)]
                break
    return depth, normal, who


_cast = numba.njit(cache=True)(_cast_py)


def selected(
    index_ZYX: npt.NDArray[np.int32], voxel_size: Float3, colours: npt.NDArray[np.uint8], count: int
) -> npt.NDArray[np.int64]:
    """Indices of objects that make a telling picture: far-reaching and slender, and not of one colour."""
    sizes = np.bincount(index_ZYX.ravel()).astype(np.float64)
    scores = np.zeros(len(sizes))
    for index, span in enumerate(ndimage.find_objects(index_ZYX), start=1):
        if span is not None:
            reach = float(np.linalg.norm([(s.stop - s.start) * v for s, v in zip(span, voxel_size, strict=True)]))
            scores[index] = reach if sizes[index] < 0.04 * index_ZYX.size else reach * 0.3
    best = np.argsort(-scores, kind="stable")[: 4 * count]
    best = best[scores[best] > 0]
    picked: list[int] = []
    for apart in (90, 55, 0):  # RGB steps between any two, as far apart as the candidates allow
        for index in best:
            far = all(np.linalg.norm(colours[index].astype(float) - colours[k]) >= apart for k in picked)
            if far and int(index) not in picked and len(picked) < count:
                picked.append(int(index))
    return np.array(picked, np.int64)
