import importlib
from functools import partial
from pathlib import Path

import pytest

from neuropil.errors import IncompleteError, InputError
from neuropil.geometry import Box
from neuropil.infer.blockwise import run_blocks

BLOCKS = list(Box((0, 0, 0), (4, 4, 6), (8.0, 8.0, 8.0)).blocks((2, 2, 2)))


@pytest.fixture
def mark(monkeypatch):
    """The function that marks a block as done, importable also in spawned processes."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("blockwork").mark


def done(folder):
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_block_is_run_once_and_told_of(tmp_path, mark, workers):
    calls = []
    run_blocks(partial(mark, tmp_path), BLOCKS, workers=workers, progress=lambda d, n: calls.append((d, n)))
    assert done(tmp_path) == {"_".join(map(str, b.index)) for b in BLOCKS}
    assert calls == [(i + 1, len(BLOCKS)) for i in range(len(BLOCKS))]


@pytest.mark.parametrize("workers", [1, 2])
def test_failed_blocks_are_named_and_the_others_done(tmp_path, mark, workers):
    fail = ((0, 1, 2), (1, 0, 0))
    with pytest.raises(IncompleteError, match="2 of 12 blocks failed") as caught:
        run_blocks(partial(mark, tmp_path, fail=fail), BLOCKS, workers=workers)
    assert "block (0, 1, 2)" in str(caught.value)
    assert "ValueError: cannot do (1, 0, 0)" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(done(tmp_path)) == len(BLOCKS) - 2


def test_a_long_list_of_failures_is_cut(tmp_path, mark):
    with pytest.raises(IncompleteError, match="and 4 more"):
        run_blocks(partial(mark, tmp_path, fail=[b.index for b in BLOCKS]), BLOCKS, workers=1)


def test_a_killed_worker_is_never_a_success(tmp_path, mark):
    with pytest.raises(IncompleteError, match="BrokenProcessPool"):
        run_blocks(partial(mark, tmp_path, die=((0, 0, 1),)), BLOCKS, workers=2)


def test_an_interrupt_stops_at_once(tmp_path, mark):
    def interrupt(block):
        if block.index == (0, 0, 2):
            raise KeyboardInterrupt
        mark(tmp_path, block)

    with pytest.raises(KeyboardInterrupt):
        run_blocks(interrupt, BLOCKS, workers=1)
    assert len(done(tmp_path)) == 2


def test_no_blocks_is_nothing_to_do(tmp_path, mark):
    run_blocks(partial(mark, tmp_path), [], workers=2)
    assert not done(tmp_path)


def test_no_workers_are_refused(tmp_path, mark):
    with pytest.raises(InputError, match="0 workers"):
        run_blocks(partial(mark, tmp_path), BLOCKS, workers=0)
