"""How commands show what they found: whole lines, names as they are, numbers that keep their digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from neuropil.cli.options import hint, readable, saved, show, voxel_size_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (3.2e-6, "3.2e-06"),
        (1234567.25, "1234567.25"),
        (True, "yes"),
        (None, "-"),
        (17, "17"),
        ([123456.0, 4.6, 0.0], "123456, 4.6, 0"),
        ([[-1, 0, 0], [0, -1, 0]], "(-1, 0, 0), (0, -1, 0)"),
        ({"min": 0, "mean": 2.5, "chunk": [4, 8]}, "min: 0, mean: 2.5, chunk: (4, 8)"),
        ({"test": [], "gold": ["a, cut"]}, "test: none, gold: (a, cut)"),
    ],
)
def test_values_are_readable(value: object, text: str) -> None:
    assert readable(value) == text


def test_names_are_no_markup_and_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    name = "stack [old] [/b] :smile: " + "x" * 120 + ".tif"
    show({"name": name, "attributes": {}, "objects": 3}, json=False)
    assert capsys.readouterr().out.splitlines() == [f"name     {name}", "objects  3"]


def test_parts_of_what_is_long_get_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    show({"ok": True, "missing": {"a": "x" * 60, "b": "y" * 60}}, json=False)
    said = ["ok       yes", "missing  a: " + "x" * 60, "         b: " + "y" * 60]
    assert capsys.readouterr().out.splitlines() == said
    show({"sweep": [{"threshold": at / 10, "score": 0.5} for at in range(20)]}, json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "       threshold: 0.1, score: 0.5"
    assert "and 8 more" in lines[-1]


def test_what_is_too_long_for_a_screen_is_cut_and_json_has_all(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"ids": list(range(1000))}
    show(found, json=False)
    assert "--json" in capsys.readouterr().out
    show(found, json=True)
    assert json.loads(capsys.readouterr().out) == found


def test_after_ctrl_c_a_run_goes_on_only_where_there_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), hint(lambda: saved(tmp_path, "train --resume")):
        raise KeyboardInterrupt
    assert "nothing was begun yet" in capsys.readouterr().err
    (tmp_path / "run.json").touch()
    with pytest.raises(typer.Exit), hint(lambda: saved(tmp_path, "train --resume")):
        raise KeyboardInterrupt
    assert "the run was saved; train --resume goes on with it" in capsys.readouterr().err


def test_a_voxel_size_that_looks_like_micrometres_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert voxel_size_of("1,0.2,0.2") == (1.0, 0.2, 0.2)
    assert "if micrometres were meant: 1000,200,200" in capsys.readouterr().err
    voxel_size_of("40,4,4")
    assert capsys.readouterr().err == ""


def test_one_word_after_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, hint("run the command again"), hint("--resume goes on"):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted: --resume goes on\n"
