"""N5, for reading, through tensorstore: `x.n5:path/to/dataset`.

N5 lists its axes fastest first, and so do its attributes: `resolution`, `offset` and `pixelResolution` are x, y, z.
The `downsamplingFactors` of a coarser level multiply its voxel size, which is stated as that of the finest one.
Programs in Python write the very same files with attributes in their own order; they are told apart by `axes`: where it
ends in x ("zyx"), `resolution` and `offset` are z, y, x. `offsets` of affinities are z, y, x steps, as everywhere.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.errors import VolumeError
from neuropil.io.base import listing, our_attributes, read_json, unit_nm
from neuropil.io.zarr_array import ZarrArray
from neuropil.lazy import Stored
from neuropil.remote import Place
from neuropil.volume import Volume

_METADATA = "attributes.json"
_FACTORS = "downsamplingFactors"
_BOOKKEEPING = ("dimensions", "blockSize", "dataType", "compression", "compressionType", "n5", "pixelResolution")


class N5Array(ZarrArray):
    """A dataset, with its axes slowest first; blocks that are not there are zero, as N5 says."""

    def __init__(self, path: Place, meta: dict[str, Any]) -> None:
        self.path, self.writable, self.name = path, False, str(path)
        try:
            shape, chunk = ([int(n) for n in meta[key]] for key in ("dimensions", "blockSize"))
            self.shape, self.dtype = tuple(shape[::-1]), np.dtype(meta["dataType"])
            packed = dict(meta.get("compression") or {"type": meta.get("compressionType", "raw")})
        except (KeyError, TypeError, ValueError) as error:
            raise VolumeError(f"'{path}' has unusable metadata ({error})", "N5 metadata", "copy it again") from error
        self.layout = {"format": "n5", "chunk": tuple(chunk[::-1]), "codec": packed.get("type")}
        # tensorstore would refuse the whole file for attributes such as axes="zyx", which it need not see
        known = {"dimensions": shape, "blockSize": chunk, "dataType": meta["dataType"], "compression": packed}
        self._more = {"assume_metadata": True, "metadata": known}
        self._driver, self._dense, self._handle = "n5", False, None

    def _opened(self) -> Any:
        if self._handle is None and not (self.path / _METADATA).is_file():
            raise VolumeError(f"'{self.path}' has lost its {_METADATA}", "an N5 dataset", "copy it again")
        return super()._opened().T


class N5Format:
    """Reads ``x.n5:dataset``."""

    name = "n5"
    suffixes: tuple[str, ...] = (".n5",)
    remote = True

    def matches(self, path: Place) -> bool:
        """Whether the folder holds N5 metadata, or is called so."""
        return path.is_dir() and (path.suffix == ".n5" or (path / _METADATA).is_file())

    def open(self, path: Place, inner: str) -> Stored:
        """Open a dataset; without a name, the only one.

        Raises
        ------
        VolumeError
            If it is damaged, or the dataset is not there (those present are listed).
        """
        found = _datasets(path / inner)
        if len(found) != 1:
            got = f"'{path}' has no dataset '{inner}'" if inner else f"'{path}' holds {len(found)} datasets"
            rows = [
                (n, m["dimensions"][::-1], m.get("dataType"), _attributes(m, n)) for n, m in _datasets(path).items()
            ]
            raise VolumeError(got, listing(rows), f"give one of them as {path}:NAME")
        below, meta = next(iter(found.items()))
        name = "/".join(part for part in (inner, below) if part)
        title = f"{path}:{name}".rstrip(":")
        return Stored(N5Array(path / name, meta), _attributes(meta, title), title)

    def save(self, path: Path, inner: str, volume: Volume) -> None:
        """Raise a VolumeError: N5 is read only."""
        raise VolumeError(f"'{path}' would be N5", "x.zarr to write", f"write to '{path.with_suffix('.zarr')}'")


FORMAT = N5Format()


def _datasets(folder: Place) -> dict[str, dict[str, Any]]:
    """Metadata of the datasets in and below a folder by their path in it."""
    meta = read_json(folder / _METADATA, "N5") if (folder / _METADATA).is_file() else {}
    if isinstance(meta.get("dimensions"), list):
        return {"": meta}
    found: dict[str, dict[str, Any]] = {}
    for inner in sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.name) if folder.is_dir() else []:
        found |= {f"{inner.name}/{name}".rstrip("/"): below for name, below in _datasets(inner).items()}
    return found


def _attributes(meta: dict[str, Any], name: str) -> dict[str, Any]:
    """The attributes under our names, slowest axis first, in nm."""
    raw, units = {k: v for k, v in meta.items() if k not in (*_BOOKKEEPING, _FACTORS)}, meta.get("units")
    if isinstance(units, list) and len(set(map(str, units))) == 1:
        raw.setdefault("resolution_unit", units[0])
    attrs = our_attributes(raw, name)
    pixel = meta.get("pixelResolution")
    if isinstance(pixel, dict) and unit_nm(pixel.get("unit")):
        stated = our_attributes({"resolution": pixel.get("dimensions"), "resolution_unit": pixel["unit"]}, name)
        attrs.setdefault("resolution", stated["resolution"])
    axes = "".join(map(str, attrs.get("axes") or "xyzct"[: len(meta["dimensions"])])).lower()
    for key in ("resolution", "offset"):
        attrs |= {key: values} if (values := _of_space(attrs.get(key) or [], axes)) else {}
    factors, size = _of_space(_factors(meta.get(_FACTORS)), axes), attrs.get("resolution") or []
    if len(factors) == len(size) == 3:
        attrs["resolution"] = [v * f for v, f in zip(size, factors, strict=True)]
    return {**attrs, "axes": axes if axes.endswith("x") else axes[::-1]}


def _of_space(values: list[float], axes: str) -> list[float]:
    """Those of z, y and x among values of all axes, or of the axes of space only; none where they fit neither."""
    names = axes if len(values) == len(axes) else "".join(a for a in axes if a in "xyz")
    if len(values) != len(names) or not {"x", "y", "z"} <= set(names):
        return []
    return [values[names.index(a)] for a in "zyx"]


def _factors(stated: Any) -> list[float]:
    """How much coarser each axis of an array is than the finest level; none where that is not what is stated."""
    whole = isinstance(stated, list) and all(isinstance(f, int | float) and 0 < f < math.inf for f in stated)
    return [float(f) for f in stated] if whole else []
