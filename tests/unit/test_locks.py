import json
import os
import subprocess
import sys
import time

import pytest

from neuropil.errors import RunError, VolumeError
from neuropil.locks import alone_in, claimed, living, runs_here


def always(other):
    return True


def never(other):
    return False


def test_one_holder_at_a_time_and_the_next_after_it(tmp_path):
    with claimed(tmp_path, "run", always, 60):
        assert set(living(tmp_path, 60)) == {"run"}
        with (
            pytest.raises(VolumeError, match=rf"process {os.getpid()} on .* \(run\)"),
            claimed(tmp_path, "run", always, 60),
        ):
            pass
        assert set(living(tmp_path, 60)) == {"run"}, "the refused one must not let go of it"
    assert not living(tmp_path, 60)
    with claimed(tmp_path, "run", always, 60):
        pass


def test_names_that_do_not_exclude_each_other_live_side_by_side(tmp_path):
    with claimed(tmp_path, "a", never, 60), claimed(tmp_path, "b", never, 60):
        assert set(living(tmp_path, 60)) == {"a", "b"}


def test_an_error_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path, "run", always, 60):
        raise ZeroDivisionError
    assert not living(tmp_path, 60)


@pytest.mark.parametrize(
    "holder",
    [
        {"pid": 2**22 + 5},  # beyond the largest process number
        {"pid": os.getpid(), "born": 1.0},  # the number was given to another process
        {},
    ],
)
def test_locks_of_dead_processes_are_taken_over(tmp_path, holder):
    with claimed(tmp_path, "run", always, 60):
        host = json.loads((tmp_path / "run.json").read_text())["host"]
    (tmp_path / "run.json").write_text(json.dumps({"host": host, **holder}))
    with claimed(tmp_path, "run", always, 60):
        assert living(tmp_path, 60)["run"]["pid"] == os.getpid()


def test_locks_of_other_machines_live_while_they_are_touched(tmp_path):
    lock = tmp_path / "run.json"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert runs_here(json.loads(lock.read_text())) is None
    with pytest.raises(VolumeError, match="elsewhere"), claimed(tmp_path, "run", always, 60):
        pass
    old = time.time() - 61
    os.utime(lock, (old, old))
    with claimed(tmp_path, "run", always, 60):
        pass


def test_a_held_lock_is_touched(tmp_path):
    with claimed(tmp_path, "run", always, 0.2):
        os.utime(tmp_path / "run.json", (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / "run.json").stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_alone_in_a_folder_as_long_as_a_process_lives(tmp_path):
    code = f"""
import sys
from pathlib import Path
from neuropil.errors import RunError
from neuropil.locks import alone_in
with alone_in(Path({str(tmp_path)!r}), "training", RunError):
    print("in", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(RunError, match="another process is training in"), alone_in(tmp_path, "training", RunError):
            pass
        other.kill()
        other.wait()
        with alone_in(tmp_path, "training", RunError):
            pass
    assert not list(tmp_path.iterdir())
