"""The tutorial and the how-tos are true: what they say to type is typed in, in an empty folder beside small phantoms.

Blocks marked ``console`` are run as they stand, except that a training takes six steps of a small network
(`tests.docs.typed.small`). Blocks marked ``bash`` are not; each page with such blocks says below why.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import imageio.v3
import numpy as np
import pytest
import tensorstore
import tifffile
from tests.docs.typed import ROOT, SMALL, blocks, type_in

from neuropil import api, open_volume
from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.demo import lm_phantom_files
from neuropil.io import save_volume
from neuropil.io.hdf5 import write_hdf5
from neuropil.io.swc import read_swc
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume

DOCS = ROOT / "docs"
#: Pages whose commands are typed in by a test of their own.
ELSEWHERE = {
    "extend.md": "tests/e2e/test_extend.py",
    "lm_neurons.md": "tests/e2e/test_lm.py",
    "download.md": "tests/e2e/test_download.py",
    "notebooks.md": "tests/unit/test_notebook.py",
    "plan.md": "tests/e2e/test_plan.py",
    "share_models.md": "tests/e2e/test_zoo.py",
    "view.md": "tests/e2e/test_view.py",
}
#: Pages with blocks that cannot be run here, and why.
NOT_RUN = {
    "cluster.md": "batch systems and a scheduler; the shards of the page are run, Dask by tests/unit/jobs/test_run.py",
    "one_gpu.md": "installing; the commands of the page are run, on the CPU where there is no GPU",
    "view.md": "a page that stays open; tests/browser/test_view_page.py drives one",
    "remote.md": "a server with a sample; tests/unit/io/test_remote.py reads from one on this machine",
}
#: Pages with nothing to run.
WORDS_ONLY = {"notebooks.md", "one_budget.md"}


class Kit:
    """The files that the pages name, made where they are wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=5, shape=(48, 64, 64)))
        box = phantom.box
        self.volumes = {
            "raw": Volume(phantom.image(box), box.voxel_size, kind="image"),
            "labels": Volume(phantom.neurons(box).astype(np.uint64), box.voxel_size, kind="labels"),
            "mitochondria": Volume(phantom.mitochondria(box).astype(np.uint64), box.voxel_size, kind="labels"),
        }
        self.h5 = folder / "em.h5"
        write_hdf5(self.h5, self.volumes)
        self.run = folder / "run"
        api.train([f"{self.h5}:raw"], [f"{self.h5}:labels"], self.run, steps=6, set=SMALL)

    def file(self, name: str) -> None:
        """An HDF5 file with raw, labels and mitochondria, in the folder that we are in."""
        shutil.copy(self.h5, name)

    def zarr(self, name: str, what: str = "raw") -> None:
        save_volume(self.volumes[what], name)

    def trained(self) -> None:
        shutil.copytree(self.run, "runs/a")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.mktemp("kit"))


def few_labels(kit: Kit) -> None:
    kit.file("em.h5")
    kit.zarr("raw.zarr")


def mitochondria(kit: Kit) -> None:
    kit.file("raw.h5")
    kit.file("truth.h5")
    kit.zarr("volume.zarr")


def my_data(kit: Kit) -> None:
    kit.file("vol.h5")
    kit.zarr("x.zarr")
    kit.zarr("seg.zarr", "labels")
    raw, labels = (kit.volumes[name].numpy() for name in ("raw", "labels"))
    with h5py.File("sample_A.hdf", "w") as file:
        for name, array in (("volumes/raw", raw), ("volumes/labels/neuron_ids", labels)):
            file[name] = array
            file[name].attrs["resolution"] = (40.0, 4.0, 4.0)
    tifffile.imwrite("stack.tif", raw)
    um = {f"PhysicalSize{axis}": 0.008 for axis in "ZYX"}
    tifffile.imwrite("stack.ome.tif", np.stack([raw, raw]), metadata={"axes": "CZYX", **um})
    Path("sections").mkdir()
    for z, section in enumerate(raw[:12]):
        imageio.v3.imwrite(f"sections/s{z}.png", section)
    metadata = {"dimensions": raw.shape[::-1], "blockSize": [16, 16, 16], "dataType": "uint8"}
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": "x.n5/volumes/raw"}}
    spec["metadata"] = {**metadata, "compression": {"type": "gzip"}, "resolution": [8, 8, 8]}
    tensorstore.open(spec, create=True).result().write(raw.T).result()
    affinities, _ = affinities_from_labels(labels, NEAREST)
    with h5py.File("theirs.h5", "w") as file:
        file["aff"] = affinities.astype(np.float32)
        about = {"resolution": (8, 8, 8), "axes": "czyx", "kind": "affinities", "offsets": np.array(NEAREST)}
        file["aff"].attrs.update(about)
    nodes = np.array([[0, 100, 100, 8 * x + 4] for x in range(32)])
    np.savez("graph.npz", nodes=nodes, edges_0=np.stack([np.arange(31), np.arange(1, 32)], axis=1))


def large_volumes(kit: Kit) -> None:
    kit.trained()
    kit.zarr("raw.zarr")


def one_gpu(kit: Kit) -> None:
    kit.file("raw.h5")


def _neuron(kit: Kit) -> np.ndarray:
    small = LMPhantomConfig.confocal(shape=(24, 96, 96), cable_um=120.0, crossings=0.0)
    if not (kit.folder / "tree.swc").exists():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("neuropil.demo.NEURON", small)
            lm_phantom_files(kit.folder / "stack.h5", kit.folder / "tree.swc", 3)
    return open_volume(f"{kit.folder / 'stack.h5'}:raw").numpy()


def trace(kit: Kit) -> None:
    image = _neuron(kit)
    tifffile.imwrite("neuron.tif", image)
    bright = np.clip((image.astype(np.float32) - np.median(image)) * 8, 0, 255).astype(np.uint8)
    save_volume(Volume(bright, (500, 200, 200), kind="image"), "probability.zarr")
    kit.zarr("seg.zarr", "labels")


def swc(kit: Kit) -> None:
    image = _neuron(kit)
    shutil.copy(kit.folder / "tree.swc", "tree.swc")
    tifffile.imwrite(
        "vol.tif", image, imagej=True, resolution=(5, 5), metadata={"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    )


#: Page → what makes the files that it names.
MADE: dict[str, Callable[[Kit], None]] = {
    "few_labels.md": few_labels,
    "mitochondria.md": mitochondria,
    "my_data.md": my_data,
    "large_volumes.md": large_volumes,
    "cluster.md": large_volumes,
    "one_gpu.md": one_gpu,
    "trace.md": trace,
    "swc.md": swc,
}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and we are in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MADE)
def test_what_a_page_says_to_type_works(name: str, kit: Kit, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MADE[name](kit)
    texts = [text for _, text in blocks(DOCS / "howto" / name, "console")]
    assert texts, "a page without commands belongs to WORDS_ONLY"
    for text in texts:
        type_in(text, capsys)
    _then(name)


def _then(page: str) -> None:
    """What must be there after the page."""
    if page == "cluster.md":
        assert api.status("neurons.zarr")["missing"] == 0
    if page == "few_labels.md":
        assert {Run.open(f"runs/{name}").card["init"]["account"]["share"] for name in ("a", "b", "on")} == {1}
    if page == "my_data.md":
        assert open_volume("test.zarr").shape == (12, 64, 64)
    if page == "trace.md":
        assert read_swc("neuron.swc").length_nm() == pytest.approx(120_000, rel=0.3)
        assert len(list(Path("swc").glob("*.swc"))) > 3


def test_the_tutorial(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ""
    for language, text in blocks(DOCS / "tutorial.md", "python", "console"):
        if language == "python":
            exec(compile(text, "tutorial.md", "exec"), {})
        else:
            said += type_in(text, capsys)
    assert said.count("voxels_compared") == 2
    assert open_volume("merged_more.zarr").shape == open_volume("unseen.h5:raw").shape == (96, 160, 160)
    assert (empty / "report.html").stat().st_size > 50_000
    assert Run.open("runs/first").card["status"] == "complete"


def test_every_how_to_is_run_somewhere() -> None:
    pages = {page.name for page in (DOCS / "howto").glob("*.md")}
    runnable = {name for name in pages if blocks(DOCS / "howto" / name, "console")}
    assert runnable - set(MADE) - set(ELSEWHERE) == set(), "add the page to MADE, or to ELSEWHERE with its test"
    assert set(MADE) | set(NOT_RUN) | WORDS_ONLY <= pages
    assert {name for name in pages if blocks(DOCS / "howto" / name, "bash")} == set(NOT_RUN)
    assert not any(blocks(DOCS / "howto" / name, "console", "bash") for name in WORDS_ONLY)
    for name, test in ELSEWHERE.items():
        assert name in (ROOT / test).read_text() or name.removesuffix(".md") in Path(test).stem, test


def test_the_readme(empty: Path, kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands, and its six lines of Python with six steps instead of half an hour."""
    for name in ("a.h5", "b.h5", "volume.h5", "truth.h5"):
        kit.file(name)
    kit.zarr("raw.zarr")
    (_, at_once), (_, commands) = blocks(ROOT / "README.md", "console")
    # a view stays open; tests/browser/test_view_page.py drives one
    said = type_in("".join(line for line in at_once.splitlines(True) if " view " not in line), capsys)
    assert "zoo:em-neurons-fib25" in said
    assert open_volume("first.zarr").shape == (48, 64, 64)
    assert "voi_split" in type_in(commands, capsys)
    assert (empty / "report.html").stat().st_size > 50_000
    shutil.rmtree("runs/a")
    shutil.rmtree("neurons.zarr")
    ((_, python),) = blocks(ROOT / "README.md", "python")
    words = ", ".join(repr(setting) for setting in SMALL)
    exec(python.replace("budget=30 * 60", f"steps=6, set=[{words}]"), {})
    assert open_volume("neurons.zarr").shape == (48, 64, 64)
