from __future__ import annotations

import pytest

import neuropil.progress
from neuropil.progress import Progress


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
