"""The SWC files of other programs' test suites, and trees on their images."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import tifffile

from neuropil.errors import VolumeError
from neuropil.io.swc import examine_swc, write_swc
from neuropil.treedoctor import examine_tree
from neuropil.volume import Volume, open_volume

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def data() -> Path:
    folder = os.environ.get("NEUROPIL_DATA")
    if not folder or not (Path(folder) / "swc_corpora").is_dir():
        pytest.skip("NEUROPIL_DATA does not name the folder of real data")
    return Path(folder)


#: Archive → its SWC files, those refused (a link to another file, stored as its text), those with something changed.
CORPORA = {
    "morphio_swc": (17, 0, 0),
    "navis_fly": (5, 0, 0),
    "neurom_swc": (57, 1, 3),
    "pyneval_metric_cases": (38, 0, 0),
    "snt_mouselight": (9, 0, 0),
}


@pytest.mark.parametrize("name", CORPORA)
def test_every_file_is_read_or_refused_for_what_it_is(data, tmp_path, name) -> None:
    found: Counter[str] = Counter()
    with zipfile.ZipFile(data / f"swc_corpora/{name}.zip") as archive:
        for member in (m for m in archive.namelist() if m.endswith(".swc")):
            raw = archive.read(member)
            (tmp_path / "a.swc").write_bytes(raw)
            found["files"] += 1
            try:
                tree, report = examine_swc(tmp_path / "a.swc", units="um")
            except VolumeError:
                assert raw == b"../swc/Neuron.swc"
                found["refused"] += 1
                continue
            found["changed"] += bool(report.changes)
            lines = sum(bool(line.split(b"#")[0].strip()) for line in raw.splitlines())
            copies = sum(o.count for o in report.oddities if "copies" in o.what)
            assert len(tree.parent) + copies == lines, member
            write_swc(tree, tmp_path / "b.swc", units="um")
            again, strict = examine_swc(tmp_path / "b.swc")
            assert again.length_nm() == pytest.approx(tree.length_nm(), abs=1e-3 * len(tree.parent))
            assert not strict.changes
    assert (found["files"], found["refused"], found["changed"]) == CORPORA[name]


@pytest.fixture(scope="module")
def neurons(data):
    """The archive, and the names of its neurons with whether the README calls them aligned."""
    archive = zipfile.ZipFile(data / "bigneuron/dev.zip")
    rows = csv.DictReader(io.StringIO(archive.read("index.csv").decode()))
    there = set(archive.namelist())
    return archive, [(r["id"], r["aligned"] == "True") for r in rows if f"{r['id']}/mip.tif" in there]


def examined(neurons, tmp_path, name, change=lambda lines, height: lines):
    """What the doctor says of a gold tree on its projection, a stack of depth 1."""
    archive, _ = neurons
    image = tifffile.imread(io.BytesIO(archive.read(f"{name}/mip.tif")))
    lines = archive.read(f"{name}/gold.swc").decode().splitlines()
    (tmp_path / "a.swc").write_text("\n".join(change(lines, image.shape[0])) + "\n")
    volume = Volume(image[None], (400.0, 400.0, 400.0), kind="image", name=name)
    return examine_tree(tmp_path / "a.swc", volume, units="voxel", voxel_size=None, out=None)


def mirrored(lines, height):
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return [" ".join([*r[:3], str(height - 1 - float(r[3])), *r[4:]]) for r in rows]


def test_the_six_projections_that_do_not_align_are_found(neurons, tmp_path) -> None:
    strange = {name: examined(neurons, tmp_path, name)["verdict"] for name, aligned in neurons[1] if not aligned}
    assert set(strange) == {"9", "23", "76", "84", "85", "292"}
    assert all("nowhere" in verdict for verdict in strange.values())


def test_aligned_trees_fit_and_mirrored_ones_are_put_right(neurons, tmp_path) -> None:
    """Every eighth; a shift of one voxel is common among them, as some laboratories count from 1.

    A bushy neuron that fills its projection fits mirrored as well; the doctor says so.
    """
    told = 0
    for name, _ in [n for n in neurons[1] if n[1]][::8]:
        found = examined(neurons, tmp_path, name)
        assert found["best"].split(", shifted")[0] == "unit voxel", name
        assert found["best_score"] > 0.75, name
        if "other ways" in found["verdict"]:
            told += 1
            continue
        assert "unit voxel, y mirrored" in examined(neurons, tmp_path, name, mirrored)["best"], name
    assert told <= 2


def test_the_fly_neuron_and_the_spiny_dendrite(data) -> None:
    folder = data / "lm_small"
    fly = open_volume(folder / "fly_neuron_119x415x409.tif", voxel_size=(500.0, 500.0, 500.0))
    found = examine_tree(folder / "fly_neuron_rivulet2_auto.swc", fly, units=None, voxel_size=None, out=None)
    assert found["best"].startswith("unit voxel")
    assert "mirrored" not in found["best"]
    spine = open_volume(folder / "SpotSpine_ImageStack_Test.tif", voxel_size=(210.0, 60.0, 60.0))
    found = examine_tree(folder / "SpotSpine_ImageStack_Test.swc", spine, units=None, voxel_size=None, out=None)
    assert found["best"].startswith("unit um")
    assert "mirrored" not in found["best"]
