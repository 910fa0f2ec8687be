from __future__ import annotations

import sys

import numpy as np
import pytest

import neuropil.progress
from neuropil.io import save_volume
from neuropil.progress import Progress
from neuropil.volume import Volume, open_volume


def test_plain_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neuropil.progress, "LINE_EVERY", -1.0)
    with Progress("train", 10, unit="step", done=2) as progress:
        progress.note("loss 0.5")
        progress(6, 10)
    captured = capsys.readouterr()
    assert captured.out == ""
    first = captured.err.splitlines()[0]
    assert "train 6/10 steps" in first
    assert "step/s" in first
    assert "s left" in first
    assert "loss 0.5" in first


def test_silent_when_disabled(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", None, unit="step", enabled=False) as progress:
        progress.update(1, None)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress("predict", 4, unit="tile") as progress:
        progress.update(3, 4)
        assert progress._bar is not None
        assert progress._bar.tasks[0].completed == 3


class _Notebook:
    """IPython as a kernel of a notebook has it."""

    def __init__(self, kernel: object) -> None:
        self.kernel = kernel
        self.shown: list[str] = []

    def get_ipython(self) -> _Notebook:
        return self

    def HTML(self, text: str) -> str:
        return text

    def display(self, text: str, *, display_id: bool) -> _Notebook:
        assert display_id
        return self.update(text)

    def update(self, text: str) -> _Notebook:
        self.shown.append(text)
        return self


def _as_kernel(monkeypatch: pytest.MonkeyPatch, notebook: _Notebook) -> None:
    for name in ("ipykernel", "IPython", "IPython.display"):
        monkeypatch.setitem(sys.modules, name, notebook)  # type: ignore[arg-type]


def test_a_bar_in_a_notebook_is_one_that_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = _Notebook(kernel=object())
    _as_kernel(monkeypatch, notebook)
    monkeypatch.setattr(neuropil.progress, "CELL_EVERY", -1.0)
    with Progress("train", None, unit="step") as progress:
        progress.note("loss <0.5>")
        progress.update(3, 12)
    first, middle, last = notebook.shown
    assert "max=" not in first
    assert '<progress value="3" max="12"' in middle
    assert "loss &lt;0.5&gt;" in middle
    assert last.startswith("<div>")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_notebook_is_not_flooded(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = _Notebook(kernel=object())
    _as_kernel(monkeypatch, notebook)
    monkeypatch.setattr(neuropil.progress, "CELL_EVERY", 3600.0)
    with Progress("predict", 500, unit="tile") as progress:
        for done in range(500):
            progress(done, 500)
    assert len(notebook.shown) == 2
    assert '<progress value="499" max="500"' in notebook.shown[-1]


def test_a_terminal_with_ipython_is_no_notebook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = _Notebook(kernel=None)
    _as_kernel(monkeypatch, notebook)
    with Progress("train", 2, unit="step") as progress:
        progress.update(2, 2)
    assert notebook.shown == []
    assert "train 2/2 steps" in capsys.readouterr().err


def test_writing_is_shown_where_it_takes_long(tmp_path, capsys, monkeypatch) -> None:
    image = Volume(np.zeros((64, 64, 64), np.uint8), (8, 8, 8), kind="image")
    save_volume(image, tmp_path / "quiet.zarr")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(neuropil.progress, "LARGE", image.box.size)
    for name in ("said.zarr", "said.precomputed"):
        save_volume(image, tmp_path / name)
        assert "writing 1/1 blocks" in capsys.readouterr().err
        np.testing.assert_array_equal(open_volume(tmp_path / name).numpy(), image.numpy())
