import importlib
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from neuropil.errors import ConfigError, InputError
from neuropil.infer.workers import Processes, Serial, open_runner, queue_cluster

ITEMS = list(range(12))


@pytest.fixture
def mark(monkeypatch):
    """The function that marks an item as done, importable also in spawned processes."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("runnable").mark


def done(folder):
    return {p.name for p in folder.iterdir() if p.name.isdecimal()}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_run_once_and_failures_are_told(tmp_path, mark, workers):
    with open_runner(workers, None, 3) as runner:
        found = {
            item: (result, error) for item, result, error in runner.run(partial(mark, tmp_path, fail=(3, 7)), ITEMS)
        }
        assert {i for i, (_, error) in found.items() if error} == {3, 7}
        assert "cannot do 7" in str(found[7][1])
        assert all(found[i] == (i * i, None) for i in ITEMS if i not in (3, 7))
        # the same runner goes on to the next stage
        assert [r for _, r, _ in runner.run(partial(mark, tmp_path), [20])] == [400]
    assert done(tmp_path) == {str(i) for i in (*ITEMS, 20) if i not in (3, 7)}
    assert {(tmp_path / name).read_text() for name in done(tmp_path)} == {"once\n"}


def test_what_kills_its_worker_fails_alone(tmp_path, mark):
    with Processes(2, 2) as runner:
        found = {i: error for i, _, error in runner.run(partial(mark, tmp_path, die=(2,), die_once=(5,)), ITEMS)}
    assert [i for i, error in found.items() if error] == [2]
    assert "died 2 times (exit code" in str(found[2])
    assert done(tmp_path) == {str(i) for i in ITEMS if i != 2}


def test_what_cannot_be_sent_back_is_an_error_not_a_wait(tmp_path):
    with Processes(1, 1) as runner:
        [(_, _, error)] = runner.run(open, [os.devnull])
    assert "cannot be sent back" in str(error)


def test_an_interrupt_stops_at_once(tmp_path, mark):
    def interrupt(item):
        if item == 2:
            raise KeyboardInterrupt
        mark(tmp_path, item)

    with pytest.raises(KeyboardInterrupt):
        list(Serial().run(interrupt, ITEMS))
    assert done(tmp_path) == {"0", "1"}


ORPHANS = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from runnable import wait_for_ever
from neuropil.infer.workers import Processes
if __name__ == "__main__":
    with Processes(2, 1) as runner:
        list(runner.run(partial(wait_for_ever, Path(sys.argv[1])), [0, 1]))
"""


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    folder = tmp_path / "marks"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(folder), str(Path(__file__).parent)])
    while len(list(folder.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    pids = [int(p.name.split()[1]) for p in folder.iterdir()]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([psutil.Process(p) for p in pids if psutil.pid_exists(p)], timeout=10)
    assert not alive


def test_no_workers_and_unknown_clusters_are_refused():
    with pytest.raises(InputError, match="0 workers"):
        open_runner(0, None, 1)
    with pytest.raises(ConfigError, match="tcp://"):
        open_runner(1, "cloud", 1)
    with pytest.raises(ConfigError, match="slurm:name=value"):
        queue_cluster("slurm:short")
    with pytest.raises(ConfigError, match="SLURMCluster"):
        queue_cluster("slurm:colour=blue,memory=1GB")


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"neuropil\[cluster\]"):
        open_runner(2, "local", 1)


def test_a_batch_system_gets_its_options():
    cluster = queue_cluster("slurm:queue=short,cores=2,memory=4GB,walltime=01:00:00")
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    assert "#SBATCH -p short" in script
    assert "#SBATCH -t 01:00:00" in script
    assert "--nthreads" in script
