"""`neuropil view` as people run it: volumes, a run, an exported folder, and what is said when it cannot."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("neuroglancer")

from neuropil import api
from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.api.viewing import beside
from neuropil.cli import main
from neuropil.errors import InputError, RunError
from neuropil.geometry import Box
from neuropil.io import save_volume
from neuropil.io.swc import write_swc
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume, open_volume

ROOT = Path(__file__).parents[2]


@pytest.fixture
def started():
    """Commands that go on until they are told to end."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: object) -> tuple[subprocess.Popen[str], dict]:
        program = Path(sys.executable).with_name("neuropil")
        command = [str(program), "view", *map(str, words), "--no-browser", "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        line = process.stdout.readline()
        assert line, process.stderr.read()
        return process, json.loads(line)

    yield start
    for process in running:
        process.kill()
        process.communicate()


def fetched(url: str) -> bytes:
    return urllib.request.urlopen(url, timeout=30).read()


@pytest.fixture
def swc(tmp_path) -> Path:
    tree = Skeleton(np.array([[0.0, 0, 0], [80, 80, 80]]), np.ones(2), np.array([-1, 0]), np.zeros(2, int))
    write_swc(tree, tmp_path / "tree.swc")
    return tmp_path / "tree.swc"


def test_volumes_are_served_until_ctrl_c(started, phantom_h5, swc):
    words = (f"{phantom_h5}:raw", "--labels", f"{phantom_h5}:labels", "--truth", f"{phantom_h5}:labels")
    process, said = started(*words, "--skeletons", swc)
    assert said["layers"] == "image, truth, labels, mistakes, skeletons"
    state = json.loads(fetched(said["link"].split("#!")[1]))
    assert fetched(state["layers"][0]["source"].removeprefix("precomputed://") + "/info")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""


def test_an_export_is_served_and_its_link_stays(started, phantom_h5, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["view", f"{phantom_h5}:raw", "--export", str(tmp_path / "seen"), "--port", "8123", "--json"])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["link"] == "http://127.0.0.1:8123/v/view/#!http://127.0.0.1:8123/data/state.json"
    _, again = started(tmp_path / "seen", "--port", "0")
    base = again["link"].split("#!")[1].rpartition("/")[0]
    assert json.loads(fetched(f"{base}/image/info"))["scales"][0]["size"] == [64, 64, 48]


def test_a_run_shows_what_it_predicts(tiny_run):
    viewing = api.view(tiny_run, browser=False)
    try:
        assert viewing.layers == (
            "image",
            "truth",
            *(f"{name} held back" for name in ("affinities", "truth", "labels", "mistakes")),
            *(f"{name} learned from" for name in ("affinities", "truth", "labels", "mistakes")),
        )
        base = viewing.url.split("#!")[1].rpartition("/")[0]
        held = json.loads(fetched(f"{base}/labels_held_back/info"))["scales"][0]
        slab = json.loads((Path(tiny_run) / "run.json").read_text())["sources"][0]["held_back"]
        assert held["voxel_offset"] == slab["start"][::-1]
    finally:
        viewing.close()


def test_the_link_is_opened_in_the_browser(phantom_h5, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    viewing = api.view(f"{phantom_h5}:raw")
    viewing.close()
    assert opened == [viewing.url]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to view"),
        (["RUN", "--labels", "LABELS"], "--labels with a run"),
        (["SEEN", "--export", "x"], "--export with an exported view"),
        (["IMAGE", "--units", "um"], "--units um without SWC files"),
        (["LABELS"], "image"),
        (["IMAGE", "--napari"], "pip install 'neuropil[napari]'"),
        (["IMAGE", "--meshes", "nothing"], "no folder of precomputed meshes"),
        (["nothing.zarr"], "does not exist"),
        (["IMAGE", "--port", "99999"], "--port 99999"),
    ],
)
def test_one_clear_message(words, said, phantom_h5, tiny_run, tmp_path, capsys):
    seen = tmp_path / "seen"
    seen.mkdir()
    (seen / "view.json").write_text("{}")
    named = {"RUN": tiny_run, "SEEN": seen, "IMAGE": f"{phantom_h5}:raw", "LABELS": f"{phantom_h5}:labels"}
    with pytest.raises(SystemExit) as ended:
        main(["view", *(str(named.get(word, word)) for word in words), "--no-browser"])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err


def test_an_encoder_segments_nothing(tiny_run, tmp_path):
    copy = tmp_path / "encoder"
    shutil.copytree(tiny_run, copy)
    card = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**card, "kind": "encoder"}))
    with pytest.raises(RunError, match="is an encoder, which segments nothing"):
        api.view(copy, browser=False)


def test_words_that_would_be_ignored_are_refused(phantom_h5):
    with pytest.raises(InputError, match="--port with napari"):
        api.view(f"{phantom_h5}:raw", napari=True, port=80)


def test_the_larger_side_of_a_slab():
    whole = Box((0, 0, 0), (10, 8, 8), (1, 1, 1))
    assert beside(whole, Box((0, 0, 5), (10, 8, 8), (1, 1, 1))) == Box((0, 0, 0), (10, 8, 5), (1, 1, 1))
    assert beside(whole, whole).size == 0


def test_what_the_page_says_to_type(started, phantom_h5, tiny_run, swc, tmp_path, monkeypatch):
    """Every command of docs/howto/view.md, in a folder with what it names."""
    volumes = {name: open_volume(f"{phantom_h5}:{name}") for name in ("raw", "labels")}
    monkeypatch.chdir(tmp_path)
    for name, volume in (("vol", volumes["raw"]), ("seg", volumes["labels"]), ("truth", volumes["labels"])):
        save_volume(volume, f"{name}.zarr")
    made = affinities_from_labels(volumes["labels"].numpy(), NEAREST)[0]
    attrs = {"offsets": [list(step) for step in NEAREST]}
    save_volume(Volume(made, volumes["raw"].voxel_size, axes="czyx", kind="affinities", attrs=attrs), "aff.zarr")
    shutil.copytree(tiny_run, "runs/a")
    Path("trees").mkdir()
    shutil.copy(swc, "trees/a.swc")
    text = (ROOT / "docs" / "howto" / "view.md").read_text()
    lines = [line.split("#")[0].split()[1:] for line in text.splitlines() if line.startswith("neuropil view")]
    assert len(lines) == 6
    # what is exported in one block is served in the next
    for words in sorted(lines, key=lambda words: "--export" not in words):
        if "--export" in words:
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert ended.value.code == 0
            continue
        process, said = started(*words[1:], "--port", "0")
        assert "image" in said["layers"]
        process.kill()
