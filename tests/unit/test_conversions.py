"""Advice on files of formats that are not read: right where it can be tried, and there for every ending."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from neuropil.conversions import how_to_convert
from neuropil.volume import open_volume

RAW = np.random.default_rng(0).integers(0, 255, (3, 5, 7), dtype=np.uint8)
READERS = (".mrc", ".rec", ".st", ".nrrd", ".nii", ".nii.gz", ".dm3", ".dm4", ".npy", ".npz", ".mha", ".wkw", ".raw")


def code(advice: str) -> str:
    """The one-liner in a line of advice."""
    return advice[advice.index("import ") : advice.index(" with the voxel size")]


@pytest.mark.parametrize("suffix", READERS)
def test_a_line_of_python_for_what_python_reads(suffix) -> None:
    advice = how_to_convert(Path("my data") / f"a{suffix.upper()}")
    assert "\n" not in advice
    assert "in nm" in advice
    ast.parse(code(advice))
    assert "neuropil.io.save_volume(neuropil.Volume(" in advice
    assert suffix == ".wkw" or f"'my data/a{suffix.upper()}'" in advice


@pytest.mark.parametrize("suffix", [".czi", ".lif", ".nd2", ".am", ".ims"])
def test_bio_formats_for_the_rest(suffix) -> None:
    advice = how_to_convert(Path(f"my data/a{suffix}"))
    assert advice.endswith(f'bfconvert "my data/a{suffix}" "my data/a.ome.tif"')


@pytest.mark.parametrize("name", ["a", "a.txt", "mrc", "a.gz", "a.mrc.bak"])
def test_nothing_for_what_is_unknown(name) -> None:
    assert how_to_convert(Path(name)) == ""


def write(path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, RAW)
    elif path.suffix == ".npz":
        np.savez(path, NAME=RAW)
    else:
        RAW.tofile(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".raw"])
def test_the_advice_works(tmp_path, monkeypatch, suffix) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / f"a{suffix}")
    z, y, x = RAW.shape
    known = {"z": 40, "y": 5, "x": 4, "sections": z, "rows": y, "columns": x}
    exec(code(how_to_convert(tmp_path / f"a{suffix}")), known)
    volume = open_volume(tmp_path / "new.zarr")
    assert volume.voxel_size == (40, 5, 4)
    np.testing.assert_array_equal(volume.numpy(), RAW)


def test_what_readers_give_fastest_first_is_turned_round(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "nibabel", SimpleNamespace(load=lambda name: SimpleNamespace(dataobj=RAW.T)))
    exec(code(how_to_convert(Path("a.nii.gz"))), {"z": 40, "y": 5, "x": 4})
    np.testing.assert_array_equal(open_volume(tmp_path / "new.zarr").numpy(), RAW)
