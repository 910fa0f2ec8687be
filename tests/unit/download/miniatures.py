"""The public sets in miniature: files laid out as the real ones are, with arrays that are known."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from neuropil.download.catalogue import DataSet, data_set

Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class Miniature:
    """The files of a set, and the arrays that are in them."""

    set: DataSet
    files: dict[str, bytes]
    arrays: Arrays

    def served(self) -> dict[str, bytes]:
        """The files by their path on a mirror."""
        name = self.set.name.replace("+", "%2B")
        return {f"/{name}/{file.replace('+', '%2B')}": body for file, body in self.files.items()}


def grey(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def ids(seed: int, dtype: str, *shape: int) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 9, shape).astype(dtype)


def hdf5(datasets: Mapping[str, tuple[npt.NDArray[Any], dict[str, Any]]]) -> bytes:
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        for name, (array, attrs) in datasets.items():
            file.create_dataset(name, data=array, compression="gzip").attrs.update(attrs)
    return held.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in members.items():
            packed.writestr(name, body)
    return held.getvalue()


def tarred(members: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as tar:  # type: ignore[call-overload]
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return held.getvalue()


def tif(array: npt.NDArray[Any]) -> bytes:
    held = io.BytesIO()
    # one page a section, as ImageJ writes stacks
    with tifffile.TiffWriter(held) as writer:
        for page in array:
            writer.write(page, contiguous=True, photometric="minisblack")
    return held.getvalue()


def png(array: npt.NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(array))


def unhashed(name: str) -> DataSet:
    """A set whose files may be any: miniatures do not have the hashes of the real ones, nor their size."""
    real = data_set(name)
    files = tuple(f.model_copy(update={"hash": None, "bytes": None}) for f in real.files)
    return real.model_copy(update={"files": files})


def cremi() -> Miniature:
    said, files, arrays = {"resolution": (40.0, 4.0, 4.0)}, {}, {}
    for seed, letter in enumerate("ABC"):
        raw, labels = grey(seed, 4, 10, 12), ids(seed, "uint64", 4, 10, 12)
        clefts = np.full((4, 10, 12), 2**64 - 1, np.uint64)
        files[f"sample_{letter}.hdf"] = hdf5(
            {
                "volumes/raw": (raw, said),
                "volumes/labels/neuron_ids": (labels, said),
                "volumes/labels/clefts": (clefts, said),
            }
        )
        arrays |= {f"{letter}/image": raw, f"{letter}/labels": labels}
    return Miniature(unhashed("cremi"), files, arrays)


def cremi_test() -> Miniature:
    said = {"resolution": (40.0, 4.0, 4.0)}
    arrays = {f"{letter}+/image": grey(seed, 4, 10, 12) for seed, letter in enumerate("ABC")}
    files = {f"sample_{k[:2]}_padded.hdf": hdf5({"volumes/raw": (a, said)}) for k, a in arrays.items()}
    return Miniature(unhashed("cremi-test"), files, dict(arrays))


def snemi3d() -> Miniature:
    raw, test, labels = grey(0, 5, 16, 18), grey(1, 5, 16, 18), ids(0, "uint16", 5, 16, 18)
    members = {
        "image/train-input.tif": tif(raw),
        "image/test-input.tif": tif(test),
        "seg/train-labels.tif": tif(labels),
    }
    arrays = {"train/image": raw, "train/labels": labels, "test/image": test}
    return Miniature(unhashed("snemi3d"), {"snemi.zip": zipped(members)}, arrays)


def fib25() -> Miniature:
    files, arrays = {}, {}
    names = ("training_sample2", "validation_sample", "tstvol-520-1")
    # 7 and 3 are one body; 8 is not named and becomes 0
    table = np.array([[7, 70_000], [3, 70_000], [1, 2], [2, 1], [4, 4], [5, 5], [6, 6], [0, 0]], np.uint64)
    body = {int(a): int(b) for a, b in table}
    for seed, name in enumerate(names):
        raw, stack = grey(seed, 6, 7, 8), ids(seed, "uint64", 6, 7, 8)
        files[f"{name}-raw.h5"] = hdf5({"raw": (raw, {})})
        files[f"{name}-groundtruth.h5"] = hdf5({"stack": (stack, {}), "transforms": (table, {})})
        arrays[f"{name}/image"] = raw
        arrays[f"{name}/labels"] = np.vectorize(lambda i: body.get(int(i), 0))(stack)
    return Miniature(unhashed("fib25"), files, arrays)


def isbi2012() -> Miniature:
    raw, labels = grey(0, 5, 16, 16), ids(0, "uint64", 5, 16, 16)
    held = hdf5(
        {"raw": (raw, {}), "labels/membranes": (grey(1, 5, 16, 16), {}), "labels/gt_segmentation": (labels, {})}
    )
    return Miniature(unhashed("isbi2012"), {"isbi.h5": held}, {"train/image": raw, "train/labels": labels})


def mitoem() -> Miniature:
    raw, labels = grey(0, 10, 20, 24), ids(0, "uint16", 5, 20, 24)
    images = {f"im/im{z:04d}.png": png(raw[z]) for z in range(10)}
    folders = ["mito-train-v2"] * 3 + ["mito-val-v2"] * 2
    truth = {f"{folders[z]}/seg{z:04d}.tif": tif(labels[z : z + 1]) for z in range(5)}
    # what archives made on a Mac hold besides
    images["__MACOSX/im/._im0000.png"] = b"no image"
    files = {"EM30-R-im.zip": zipped(images), "EM30-R-mito-train-val-v2.zip": zipped(truth)}
    arrays = {"train/image": raw[:3], "train/labels": labels[:3], "val/image": raw[3:5], "val/labels": labels[3:5]}
    return Miniature(unhashed("mitoem-r"), files, arrays | {"test/image": raw[5:]})


def lucchi() -> Miniature:
    members, arrays = {}, {}
    for seed, split in enumerate(("Train", "Test")):
        raw, mask = grey(seed, 12, 16, 18), ids(seed, "uint8", 12, 16, 18) > 4
        # one of them has colours with transparency, the other is grey
        shown = np.where(mask, 255, 0).astype(np.uint8)
        colour = np.stack([shown] * 3 + [np.full_like(shown, 255)], axis=-1) if split == "Train" else shown
        for z in range(12):
            members[f"Lucchi++/{split}_In/mask{z:04d}.png"] = png(raw[z])
            members[f"__MACOSX/Lucchi++/{split}_Out/._{z}.png"] = b"no image"
            members[f"Lucchi++/{split}_Out/{z}.png"] = png(np.ascontiguousarray(colour[z]))
        arrays |= {f"{split.lower()}/image": raw, f"{split.lower()}/labels": mask.astype(np.uint8)}
    return Miniature(unhashed("lucchi++"), {"lucchi_pp.zip": zipped(members)}, arrays)


def bigneuron(folder: Path) -> Miniature:
    from neuropil.io import save_volume
    from neuropil.volume import Volume

    raw = grey(0, 4, 9, 11)
    save_volume(Volume(raw, (1.0, 1.0, 1.0), kind="image"), folder / "a.v3dpbd")
    image, swc = (folder / "a.v3dpbd").read_bytes(), b"1 2 3 4 1 1 -1\n2 2 4 4 1 1 1\n"
    members = {
        "gold166/p_fly/one.tif/one.tif.v3dpbd": image,
        "gold166/p_fly/one.tif/one.tif.v3dpbd.swc": swc,
        "gold166/p_fly/one.tif/other.swc": b"1 2 0 0 0 1 -1\n",
        "gold166/p_fly/two/image.tif": tif(raw),
        "gold166/p_fly/two/by_hand.swc": swc,
        "gold166/p_fly/nothing/only.swc": swc,
        "gold166/p_fly/two/notes.ano": b"",
    }
    return Miniature(unhashed("bigneuron"), {"gold166.zip": zipped(members)}, {"raw": raw})


MAKERS = {f.__name__: f for f in (cremi, cremi_test, snemi3d, fib25, isbi2012, mitoem, lucchi)}
