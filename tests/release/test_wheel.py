"""The wheel is whole: built from a copy of the sources, laid out alone, its verbs run with no checkout on the path."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.release.tree import ROOT

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.zoo.package import FILES

#: Python that looks into the wheel and at the libraries beside us, and follows no .pth to the checkout.
ALONE = "import sys; sys.path = [{wheel!r}, *[p for p in sys.path if p != ''], *{libraries!r}]; "
COMMAND = ALONE + "from neuropil.cli import main; main()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sources as they are now."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*pip, "-w", copy / "dist", copy], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (made,) = (copy / "dist").glob("neuropil-*.whl")
    return made


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel laid out, as pip does it."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    _compiled(folder)
    return folder


def _compiled(site: Path) -> None:
    """Lend what numba has compiled of the same sources, which it knows by their time: to compile it again takes long."""
    for source in (ROOT / "src" / "neuropil").rglob("*.py"):
        there = site / source.relative_to(ROOT / "src")
        stat = source.stat()
        os.utime(there, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for made in (ROOT / "src" / "neuropil").rglob("__pycache__/*.nb[ci]"):
        there = site / made.relative_to(ROOT / "src")
        there.parent.mkdir(exist_ok=True)
        shutil.copy2(made, there)


def run(site: Path, folder: Path, *words: object, code: str = COMMAND) -> str:
    """One command with only the wheel; its stdout."""
    libraries = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    script = code.format(wheel=str(site), libraries=libraries)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, *map(str, words)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_of_the_package_is_in_it(wheel: Path) -> None:
    sources = (path for path in (ROOT / "src" / "neuropil").rglob("*") if path.is_file())
    wanted = {str(p.relative_to(ROOT / "src")) for p in sources if "__pycache__" not in p.parts and p.suffix != ".pyc"}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert wanted - held == set(), "a folder without __init__.py, or files that package-data does not name"
    assert held - wanted == set()


def test_the_licence_travels_with_it(wheel: Path) -> None:
    assert any(name.endswith("LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_it_is_small_but_for_the_models(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).infolist()
    models = [member for member in held if member.filename.startswith("neuropil/zoo/models/")]
    assert wheel.stat().st_size - sum(member.compress_size for member in models) < 2e6
    assert {member.filename.split("/")[4] for member in models} == set(FILES)
    assert max(member.file_size for member in models) < 16e6


def test_a_model_that_comes_with_it_segments(site: Path, tmp_path: Path) -> None:
    listed = json.loads(run(site, tmp_path, "zoo", "--json"))["models"]
    assert "em-neurons-fib25" in {row["name"] for row in listed if row["zoo"] == "neuropil"}
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["raw"] = np.random.default_rng(0).integers(0, 255, (16, 24, 24), dtype=np.uint8)
        file["raw"].attrs["resolution"] = (8, 8, 8)
    words = ("segment", "zoo:em-neurons-fib25", "raw.h5:raw", "--out", "s.zarr", "--json")
    assert json.loads(run(site, tmp_path, *words))["objects"] >= 1


def test_verbs_run_with_only_the_wheel(site: Path, tmp_path: Path) -> None:
    place = run(site, tmp_path, code=ALONE + "import neuropil; print(neuropil.__file__)")
    assert Path(place.strip()) == site / "neuropil" / "__init__.py"
    assert "--budget" in run(site, tmp_path, "demo", "--help")
    assert json.loads(run(site, tmp_path, "doctor", "--json"))["healthy"] is True
    assert "snemi3d" in run(site, tmp_path, "download", "--json")
    labels = np.ones((8, 12, 12), np.uint32)
    labels[:, :, 6:] = 2
    affinities, _ = affinities_from_labels(labels, NEAREST)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["aff"] = affinities.astype(np.float32)
        about = {"resolution": (8, 8, 8), "axes": "czyx", "kind": "affinities", "offsets": np.array(NEAREST)}
        file["aff"].attrs.update(about)
    words = ("segment", "theirs.h5:aff", "--out", "s.zarr", "--report", "page.html", "--json")
    assert json.loads(run(site, tmp_path, *words))["objects"] == 2
    assert "<html" in (tmp_path / "page.html").read_text()


def test_recipes_are_in_it_and_valid(site: Path, tmp_path: Path) -> None:
    code = "from neuropil.config.load import load_config, recipes; print(*[load_config(r).recipe for r in recipes()])"
    assert {"em_neurons", "mae", "lm_neuron"} <= set(run(site, tmp_path, code=ALONE + code).split())
