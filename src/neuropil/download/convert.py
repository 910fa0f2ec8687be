"""From a source's own files to volumes that the recipes read: HDF5 with `raw` and `labels`, OME-Zarr, image and SWC.

A layout is a function of a `Work`; it writes into `out` and says what it made. Voxel sizes are those of the table: the
files state none, but for CREMI's, which are read as they are and compared with it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.download.archive import unpack
from neuropil.download.catalogue import DataSet, Source
from neuropil.errors import VolumeError
from neuropil.geometry import Float3, same_voxel_size
from neuropil.io.base import file_errors
from neuropil.io.hdf5 import write_hdf5
from neuropil.io.zarr import build_pyramid, create_zarr, finish
from neuropil.volume import Volume, open_volume, require_same_grid

#: One volume (or tree) that was made: name, split, image and, where there are any, labels, as addresses below `out`.
Entry = dict[str, str]


@dataclass(frozen=True)
class Work:
    """What a layout works on: the set, the folder of its files, one for what it makes, and one to unpack into."""

    set: DataSet
    source: Path
    out: Path
    scratch: Path

    @property
    def voxel_size(self) -> Float3:
        """nm, z, y, x."""
        assert self.set.voxel_size is not None
        return self.set.voxel_size

    def kept(self, source: Source) -> Path:
        """A file of the source, taken over as it is (without a copy, where the disk can)."""
        place = self.out / source.file
        with file_errors(str(place), "writing"):
            try:
                os.link(self.source / source.file, place)
            except OSError:
                shutil.copyfile(self.source / source.file, place)
        return place

    def opened(self, url: str | Path, kind: str) -> Volume:
        """A volume at the table's voxel size."""
        return open_volume(url, voxel_size=self.voxel_size, kind=kind)


def convert(work: Work) -> list[Entry]:
    """Make the volumes of a set.

    Raises
    ------
    VolumeError
        If a file is damaged, or is not laid out as the set's files are.
    """
    return _LAYOUTS[work.set.layout](work)


def cremi(work: Work) -> list[Entry]:
    """CREMI's files are read as they are: they state voxel size and place themselves."""
    entries = []
    for source in work.set.files:
        place = work.kept(source)
        image = open_volume(f"{place}:volumes/raw")
        if not same_voxel_size(image.voxel_size, work.voxel_size):
            raise VolumeError(f"'{image.name}' has voxels of {image.voxel_size} nm", f"{work.voxel_size} nm")
        entry = _entry(source.name, source.split, f"{source.file}:volumes/raw")
        if source.split == "train":
            labels = open_volume(f"{place}:volumes/labels/neuron_ids", kind="labels")
            require_same_grid(image, labels)
            entry["labels"] = f"{source.file}:volumes/labels/neuron_ids"
        entries.append(entry)
    return entries


def snemi3d(work: Work) -> list[Entry]:
    """Three TIFF stacks in a zip → train.h5 (raw, labels) and test.h5 (raw)."""
    wanted = ("train-input.tif", "train-labels.tif", "test-input.tif")
    found = _unpacked(work, work.set.files[0], lambda name: _base(name) if _base(name) in wanted else None)
    _require_names(found, wanted, work.set.files[0].file)
    raw, labels, test = (
        work.opened(work.scratch / n, k) for n, k in zip(wanted, ("image", "labels", "image"), strict=True)
    )
    return [_pair(work, "train", "train", raw, labels), _pair(work, "test", "test", test, None)]


def fib25(work: Work) -> list[Entry]:
    """Grey values, supervoxels (`stack`) and which body each belongs to (`transforms`) → NAME.h5 (raw, labels).

    A supervoxel that the table does not name becomes 0, as NeuroProof reads it.
    """
    by_name: dict[str, dict[str, Source]] = {}
    for source in work.set.files:
        by_name.setdefault(source.name, {})[source.role] = source
    entries = []
    for name, pair in by_name.items():
        raw = work.opened(f"{work.source / pair['image'].file}:raw", "image")
        truth = work.source / pair["labels"].file
        stack = work.opened(f"{truth}:stack", "labels")
        bodies = Volume(_Mapped(stack, *_transforms(truth)), work.voxel_size, kind="labels", name=stack.name)
        entries.append(_pair(work, name, pair["image"].split, raw, bodies))
    return entries


def isbi2012(work: Work) -> list[Entry]:
    """`raw` and the 3-D ids of `labels/gt_segmentation` → train.h5 (raw, labels)."""
    place = work.source / work.set.files[0].file
    raw, ids = work.opened(f"{place}:raw", "image"), work.opened(f"{place}:labels/gt_segmentation", "labels")
    return [_pair(work, "train", "train", raw, ids)]


def mitoem(work: Work) -> list[Entry]:
    """Sections in two zips (`im/im0000.png`; `mito-train-v2/` and `mito-val-v2/seg0000.tif`) → two OME-Zarrs.

    The splits are parts of these: where the sections of `mito-val-v2` begin, training ends, and where they end, the
    test sections begin.
    """
    folders = ("im", "mito-train-v2", "mito-val-v2")

    def place(name: str) -> str | None:
        folder = PurePosixPath(name).parent.name
        wanted = folder in folders and re.fullmatch(r"(im|seg)\d+\.(png|tif)", _base(name))
        return f"{folder}/{_base(name)}" if wanted else None

    found = [path for source in work.set.files for path in _unpacked(work, source, place)]
    _require_names([p.parent for p in found], folders, work.set.files[-1].file)
    image, train, val = (work.scratch / f for f in folders)
    counts = [len(list(f.iterdir())) for f in (image, train, val)]
    for path in val.iterdir():
        os.replace(path, train / path.name)
    for folder, kind, sections in ((image, "image", counts[0]), (train, "labels", counts[1] + counts[2])):
        _require_consecutive(folder, sections)
        _write_slabs(work.opened(folder, kind), work.out / f"{kind}.zarr")
    a, b, c = counts[1], counts[1] + counts[2], counts[0]
    return [
        _entry("train", "train", f"image.zarr[0:{a}]", f"labels.zarr[0:{a}]"),
        _entry("val", "val", f"image.zarr[{a}:{b}]", f"labels.zarr[{a}:{b}]"),
        _entry("test", "test", f"image.zarr[{b}:{c}]"),
    ]


def lucchi(work: Work) -> list[Entry]:
    """Folders of PNG sections in a zip (`Train_In`, `Train_Out`, `Test_In`, `Test_Out`) → train.h5, test.h5."""
    folders = ("Train_In", "Train_Out", "Test_In", "Test_Out")

    def place(name: str) -> str | None:
        folder = PurePosixPath(name).parent.name
        # archives made on a Mac have a hidden file beside each
        wanted = folder in folders and name.lower().endswith(".png") and not _base(name).startswith(".")
        return f"{folder}/{_base(name)}" if wanted else None

    found = _unpacked(work, work.set.files[0], place)
    _require_names([p.parent for p in found], folders, work.set.files[0].file)
    entries = []
    for split in ("train", "test"):
        raw = work.opened(work.scratch / f"{split.capitalize()}_In", "image")
        mask = _white(work.scratch / f"{split.capitalize()}_Out")
        truth = Volume(mask, work.voxel_size, kind="labels", name=f"{split}: masks")
        entries.append(_pair(work, split, split, raw, truth))
    return entries


def bigneuron(work: Work) -> list[Entry]:
    """Folders of one image and its SWC → NAME/image.EXT and NAME/gold.swc, as they are.

    Where a folder has several SWC files, the one named after the image is its gold standard; folders without one image
    and one such tree are left out.
    """

    def place(name: str) -> str | None:
        wanted = PurePosixPath(name).suffix.lower() in (*_IMAGES, ".swc") and not _base(name).startswith(".")
        return name if wanted else None

    by_folder: dict[Path, list[Path]] = {}
    for path in _unpacked(work, work.set.files[0], place):
        by_folder.setdefault(path.parent, []).append(path)
    entries: list[Entry] = []
    for folder, files in sorted(by_folder.items()):
        pair = _image_and_tree(files)
        if pair is None:
            continue
        parts = folder.relative_to(work.scratch).parts or (work.set.name,)
        name = "/".join(parts[-2:])
        if any(name == entry["name"] for entry in entries):
            name = "/".join(parts)  # folders of one name that lie in others
        image, tree = f"{name}/image{pair[0].suffix.lower()}", f"{name}/gold.swc"
        for origin, target in zip(pair, (image, tree), strict=True):
            (work.out / target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(origin, work.out / target)
        entries.append(_entry(name, work.set.files[0].split, image, tree))
    if not entries:
        raise _strange(work.set.files[0].file, "folders of one image (v3dpbd, v3draw, tif) and one .swc")
    return entries


def checkpoint(work: Work) -> list[Entry]:
    """A file of weights, as it is."""
    return [{"name": source.name, "weights": work.kept(source).name} for source in work.set.files]


_LAYOUTS: Mapping[str, Callable[[Work], list[Entry]]] = {
    f.__name__: f for f in (cremi, snemi3d, fib25, isbi2012, mitoem, lucchi, bigneuron, checkpoint)
}
_IMAGES = (".v3dpbd", ".v3draw", ".tif", ".tiff")


class _Mapped:
    """Labels whose ids are looked up in a table when they are read."""

    def __init__(self, labels: Volume, ids: npt.NDArray[Any], bodies: npt.NDArray[Any]) -> None:
        order = np.argsort(ids)
        self._labels, self._ids, self._bodies = labels, ids[order], bodies[order]
        self.shape = labels.shape
        self.dtype = np.min_scalar_type(int(bodies.max(initial=0)))

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        read = self._labels.array[key]
        at = np.minimum(np.searchsorted(self._ids, read), len(self._ids) - 1)
        return np.where(self._ids[at] == read, self._bodies[at], 0).astype(self.dtype)


def _transforms(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Ids of supervoxels, and the body of each."""
    import h5py

    with file_errors(f"{path}:transforms", "reading"), h5py.File(path, "r") as file:
        table = file["transforms"][...]
    if table.ndim != 2 or table.shape[1] != 2 or not len(table):
        raise _strange(path.name, "transforms with rows of supervoxel, body")
    return table[:, 0], table[:, 1]


def _pair(work: Work, name: str, split: str, raw: Volume, labels: Volume | None) -> Entry:
    """Write NAME.h5 with raw and, where there are any, labels."""
    named = {"raw": raw}
    if labels is not None:
        require_same_grid(raw, labels)
        named["labels"] = labels
    write_hdf5(work.out / f"{name}.h5", named)
    return _entry(name, split, f"{name}.h5:raw", f"{name}.h5:labels" if labels is not None else None)


def _entry(name: str, split: str, image: str, labels: str | None = None) -> Entry:
    return {"name": name, "split": split, "image": image} | ({} if labels is None else {"labels": labels})


def _write_slabs(volume: Volume, path: Path) -> None:
    """Write sections as OME-Zarr, each read once: a slab as thick as a shard is in memory."""
    target = create_zarr(path, volume.shape, volume.dtype, volume.voxel_size, kind=volume.kind)
    for slab in target.blocks((target.write_unit[0], *volume.shape[1:])):  # type: ignore[arg-type]
        target.write(slab.write, volume.read(slab.write))
    build_pyramid(path)
    finish(path)


def _white(folder: Path) -> npt.NDArray[np.uint8]:
    """(Z, Y, X) masks, 1 where a section is white; sections are grey, or colours that may have transparency."""
    import imagecodecs

    files = sorted(folder.iterdir(), key=lambda p: _number(p.stem))
    sections = []
    for path in files:
        with file_errors(str(path), "reading"):
            pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        sections.append((pixels if pixels.ndim == 2 else pixels.min(axis=-1)) > 127)
    return np.stack(sections).astype(np.uint8)


def _unpacked(work: Work, source: Source, place: Callable[[str], str | None]) -> list[Path]:
    return unpack(work.source / source.file, work.scratch, place)


def _image_and_tree(files: list[Path]) -> tuple[Path, Path] | None:
    images = [p for p in files if p.suffix.lower() in _IMAGES]
    trees = [p for p in files if p.suffix.lower() == ".swc"]
    if len(images) == 1 and len(trees) > 1:
        trees = [p for p in trees if p.stem in (images[0].stem, images[0].name)]
    return (images[0], trees[0]) if len(images) == len(trees) == 1 else None


def _require_names(found: list[Path], wanted: tuple[str, ...], archive: str) -> None:
    missing = sorted(set(wanted) - {p.name for p in found})
    if missing:
        raise _strange(archive, ", ".join(wanted), "no " + ", ".join(missing))


def _require_consecutive(folder: Path, sections: int) -> None:
    """Check that so many sections are numbered from 0 without a gap."""
    if sorted(_number(p.stem) for p in folder.iterdir()) != list(range(sections)):
        raise _strange(folder.name, f"{sections} sections numbered 0, 1, 2 ... without a gap")


def _number(stem: str) -> int:
    found = re.search(r"(\d+)$", stem)
    return -1 if found is None else int(found[1])


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _strange(file: str, expected: str, got: str = "") -> VolumeError:
    return VolumeError(
        f"'{file}' is not laid out as expected" + (f": {got}" if got else ""),
        expected,
        "look at the file: its source has changed it",
    )
