import json
import os
import subprocess
import sys

import pytest

from neuropil.errors import VolumeError
from neuropil.infer.ledger import Ledger, digest_of, key_of, read_plan, write_whole


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "x.blocks", "k1", (("labels.zarr", tmp_path / "x.zarr"),))


def make(ledger, name, text=b"abc"):
    write_whole(ledger.path(name), text)
    return name


def test_a_task_is_done_when_its_record_and_its_outputs_are_there(ledger):
    assert not ledger.verified("a", 3)
    ledger.begin("a", 3)
    assert ledger.state("a", 5)["running"] == 1
    ledger.finish("a", 3, [make(ledger, "parts/3.npz"), make(ledger, "parts/3b.npz", b"")], {"seconds": 1})
    assert ledger.verified("a", 3)
    assert ledger.record("a", 3)["seconds"] == 1
    assert ledger.missing("a", 5) == [0, 1, 2, 4]


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"abd"), lambda p: p.write_bytes(b"")]
)
def test_damaged_outputs_are_found(ledger, damage):
    ledger.finish("a", 0, [make(ledger, "parts/0.npz")], {})
    damage(ledger.path("parts/0.npz"))
    assert not ledger.verified("a", 0)


def test_records_of_another_plan_or_half_records_do_not_count(ledger):
    ledger.finish("a", 0, [make(ledger, "p")], {})
    assert not Ledger(ledger.folder, "k2").verified("a", 0)
    record = ledger.folder / "done/a/0.json"
    record.write_bytes(record.read_bytes()[:-9])
    assert not ledger.verified("a", 0)


def test_beginning_again_withdraws_the_record(ledger):
    ledger.finish("a", 0, [make(ledger, "p")], {})
    ledger.begin("a", 0)
    assert ledger.missing("a", 1) == [0]


def test_failures_are_told_until_the_task_is_done(ledger):
    ledger.begin("a", 1)
    ledger.fail("a", 1, VolumeError("the disk is full"))
    state = ledger.state("a", 3)
    assert (state["done"], state["running"], state["failed"], state["missing"]) == (0, 0, 1, 2)
    assert state["errors"] == {1: "the disk is full"}
    ledger.finish("a", 1, [], {})
    assert ledger.state("a", 3)["failed"] == 0


def test_where_an_unexpected_error_arose_is_kept(ledger):
    for number, error in enumerate((VolumeError("the disk is full"), TypeError("unhashable"))):
        ledger.begin("a", number)
        try:
            raise error
        except type(error) as raised:
            ledger.fail("a", number, raised)
    said = [json.loads((ledger.folder / f"failed/a/{number}.json").read_text()) for number in (0, 1)]
    assert said[0] == {"error": "the disk is full"}
    assert said[1]["error"] == "TypeError: unhashable"
    assert "test_ledger.py" in said[1]["traceback"]


def test_a_task_of_a_dead_process_is_not_running(ledger):
    code = "import sys; from neuropil.infer.ledger import Ledger; from pathlib import Path;"
    code += "Ledger(Path(sys.argv[1]), 'k1').begin('a', 0)"
    subprocess.run([sys.executable, "-c", code, str(ledger.folder)], check=True)
    assert ledger.state("a", 2) == {
        "stage": "a", "tasks": 2, "done": 0, "running": 0, "failed": 0, "missing": 2, "errors": {},
    }  # fmt: skip


def test_outputs_may_move_when_they_are_whole(ledger, tmp_path):
    name = make(ledger, "labels.zarr/s0/c/0")
    ledger.finish("a", 0, [name], {})
    os.rename(ledger.folder / "labels.zarr", tmp_path / "x.zarr")
    assert ledger.path(name) == tmp_path / "x.zarr/s0/c/0"
    assert ledger.verified("a", 0)


def test_files_are_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(VolumeError, match="writing failed"):
        write_whole(target, b"x")  # a folder cannot be replaced by a file
    assert list(tmp_path.iterdir()) == [target]


def test_digests_tell_contents_apart(tmp_path):
    for name, text in (("a", b"x" * 3_000_000), ("b", b"x" * 2_999_999 + b"y")):
        (tmp_path / name).write_bytes(text)
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})


def test_a_damaged_plan_is_an_error_and_none_is_none(tmp_path):
    assert read_plan(tmp_path) is None
    (tmp_path / "plan.json").write_text('{"ke')
    with pytest.raises(VolumeError, match="damaged"):
        read_plan(tmp_path)


def test_a_process_with_the_number_of_a_dead_one_is_not_at_its_task(ledger):
    ledger.begin("a", 0)
    path = ledger.folder / "running/a/0.json"
    who = json.loads(path.read_text())
    path.write_text(json.dumps(who | {"born": who["born"] - 3600}))
    assert ledger.state("a", 1)["running"] == 0
