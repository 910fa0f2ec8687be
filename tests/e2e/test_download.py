"""From a name to a trained run, as a user types it, against a server on this machine."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.download import miniatures
from tests.unit.download.server import Server, serving

from neuropil.cli import main
from neuropil.download import catalogue as table
from neuropil.volume import open_volume


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[miniatures.Miniature]:
    """Miniatures in the place of the real table."""
    made = [miniatures.snemi3d(), miniatures.lucchi(), miniatures.bigneuron(tmp_path)]
    known = {m.set.name: m.set for m in made} | {"dinov3": table.data_set("dinov3")}
    monkeypatch.setattr(table, "catalogue", lambda: known)
    monkeypatch.delenv("NEUROPIL_MIRROR", raising=False)
    return made


@pytest.fixture
def server(sets: list[miniatures.Miniature]) -> Iterator[Server]:
    with serving({path: body for mini in sets for path, body in mini.served().items()}) as told:
        yield told


def test_without_a_name_all_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "download")
    assert code == 0
    assert all(name in out for name in ("cremi-test", "mitoem-h", "lucchi++", "dinov3", "checked"))
    code, out, _ = run(capsys, "download", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)["sets"]}
    assert code == 0
    assert listed["dinov3"]["account"] is True
    assert listed["cremi"]["hash"] == "stated"
    assert listed["bigneuron"]["hash"] == "pinned on first use"
    assert not any(entry["checked"] for entry in listed.values())


def test_a_set_is_had_and_had_again(capsys: pytest.CaptureFixture[str], server: Server, tmp_path: Path) -> None:
    out = tmp_path / "lucchi"
    words = ("download", "lucchi++", "--out", out, "--accept-licence", "--mirror", server.url, "--json")
    code, stdout, stderr = run(capsys, *words)
    assert code == 0, stderr
    found = json.loads(stdout)
    assert (found["volumes"], found["splits"]) == (2, "1 train, 1 test")
    assert "--recipe em_mitochondria" in found["next"]
    assert "--set organelles.components=true" in found["next"]
    assert open_volume(out / "data/test.h5:labels").voxel_size == (5.0, 5.0, 5.0)
    code, stdout, _ = run(capsys, *words)
    assert (code, json.loads(stdout)) == (0, found)
    assert len(server.asked) == 1


@pytest.mark.parametrize("name", ["snemi3d", "lucchi++"])
def test_the_command_that_is_proposed_is_one_that_trains(
    capsys: pytest.CaptureFixture[str], server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROPIL_MIRROR", server.url)
    code, stdout, stderr = run(capsys, "download", name, "--out", "data/set", "--accept-licence", "--json")
    assert code == 0, stderr
    proposed = shlex.split(json.loads(stdout)["next"])
    assert proposed[:2] == ["neuropil", "train"]
    # as far as a command goes before it trains: words, recipe, settings, volumes and their grids
    monkeypatch.setattr("neuropil.training.fit.fit", _reached)
    with pytest.raises(_ReachedError) as reached:
        main(proposed[1:])
    pairs, config = reached.value.args
    assert [(image.kind, labels.kind) for image, labels in pairs] == [("image", "labels")]
    assert config.organelles.components == (name == "lucchi++")


class _ReachedError(Exception):
    """Training would begin, with these pairs and settings."""


def _reached(pairs: Any, config: Any, *_: Any, **__: Any) -> None:
    raise _ReachedError(pairs, config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("snemi3d", "--out", "s"), "CC BY 4.0. Creative Commons"),
        (("snemi3d", "--out", "s"), "fix: --accept-licence"),
        (("snemi3d", "--accept-licence"), "--out data/snemi3d"),
        (("snemi", "--out", "s"), "did you mean 'snemi3d'"),
        (("dinov3", "--out", "s"), "ask for access at https://"),
        (("dinov3",), "ask for access at https://"),
        (("--out", "s"), "neuropil download NAME"),
        (("snemi3d", "--out", "s", "--accept-licence", "--mirror", "ftp://x"), "begins with http"),
    ],
)
def test_what_cannot_be_is_one_clear_error(
    capsys: pytest.CaptureFixture[str],
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = run(capsys, "download", *words)
    assert (code, stdout) == (2, "")
    assert message in " ".join(stderr.split())
    assert "Traceback" not in stderr
    assert server.asked == []
    assert not (tmp_path / "s" / "data").exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_on_a_terminal_the_terms_are_shown_and_asked(
    capsys: pytest.CaptureFixture[str],
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", shown)
    found, *_ = run(capsys, "download", "lucchi++", "--out", tmp_path / "s", "--mirror", server.url)
    assert found == code
    assert "no licence was found" in shown.getvalue()
    assert "Do you accept these terms?" in shown.getvalue()
    assert (tmp_path / "s" / "dataset.yaml").exists() == (code == 0)


def test_neurons_come_ready_to_trace(capsys: pytest.CaptureFixture[str], server: Server, tmp_path: Path) -> None:
    words = ("download", "bigneuron", "--out", tmp_path / "b", "--accept-licence", "--mirror", server.url, "--json")
    code, stdout, stderr = run(capsys, *words)
    assert code == 0, stderr
    proposed = shlex.split(json.loads(stdout)["next"])
    assert proposed[-4:-2] == ["--voxel-size", "Z,Y,X"]
    tree = proposed[proposed.index("--labels") + 1]
    code, stdout, stderr = run(capsys, "info", tree, "--units", "voxel", "--voxel-size", "1,1,1", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["nodes"] == 2
