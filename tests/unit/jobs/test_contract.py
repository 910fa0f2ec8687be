"""Contacts merged in boxes or by one process: the same labels, trees and cuts, to the bit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.unit.jobs.conftest import SETTINGS
from tests.unit.jobs.test_run import records, told

from neuropil import api
from neuropil.affinities import as_offsets
from neuropil.config import Config, override
from neuropil.jobs.begin import from_prediction
from neuropil.jobs.contract import boxes, merged_where
from neuropil.post.agglomerate import Hierarchy, hierarchy
from neuropil.volume import Volume, open_volume

#: So few voxel edges that no mean changes, and yet too many for boxes.
AT_ONCE = (*SETTINGS, "segment.contact=1e-300")


@pytest.fixture(scope="module")
def in_memory(aff: Path) -> Hierarchy:
    """Fragments and merge tree of the volume as one."""
    held = open_volume(aff)
    config = override(Config(), SETTINGS).segment
    return hierarchy(held.numpy(), as_offsets(held.attrs["offsets"]), held.voxel_size, config)


def stages(out: Path) -> list[str]:
    return [name for name, _ in json.loads((out.with_suffix(".blocks") / "plan.json").read_text())["stages"]]


@pytest.mark.parametrize("block", [(7, 13, 16), (20, 9, 10)])
def test_boxes_and_one_process_give_the_same(
    aff: Path, whole: Volume, in_memory, tmp_path: Path, block, capsys
) -> None:
    outs = tmp_path / "boxes.zarr", tmp_path / "once.zarr"
    for out, words in zip(outs, (SETTINGS, AT_ONCE), strict=True):
        assert told(api.segment(aff, out=out, set=words, block=block)) == told(whole)
    assert "contacts are merged in boxes of 1, 2 blocks a side" in capsys.readouterr().err
    boxed, once = (np.load(out.with_suffix(".blocks") / "graph/graph.npz") for out in outs)
    for part in ("pairs", "scores", "levels"):
        np.testing.assert_array_equal(boxed[f"tree_{part}"], once[f"tree_{part}"])
        np.testing.assert_array_equal(boxed[f"tree_{part}"], getattr(in_memory.tree, part))
    # the last process held fewer contacts than there are, and boxes completed the others
    facts = json.loads((outs[0].with_suffix(".blocks") / "done/graph/0.json").read_text())
    assert facts["contacts"] == len(once["edges"])
    assert len(boxed["edges"]) < len(once["edges"])
    assert "contract_1" in stages(outs[0])
    assert "contract_1" not in stages(outs[1])


def test_a_graph_in_boxes_is_cut_at_any_threshold_with_any_size_filter(aff: Path, in_memory, tmp_path: Path) -> None:
    api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS, block=(7, 13, 16))
    for n, (threshold, least) in enumerate([(0.3, 0), (0.6, 15), (0.6, 90), (0.95, 40)]):
        out = tmp_path / f"{n}.zarr"
        found = api.segment(
            from_graph=tmp_path / "x.zarr", out=out, threshold=threshold, set=[f"segment.min_size={least}"]
        )
        true = Hierarchy(in_memory.fragments_ZYX, in_memory.graph, in_memory.tree, least).labels(threshold)
        np.testing.assert_array_equal(found.numpy(), true)


@pytest.mark.parametrize(
    ("words", "block", "match"),
    [
        ((), (7, 13, 16), "merged in boxes of 1, 2 blocks a side"),
        (("segment.contact=1e-300",), (7, 13, 16), "one process merges all contacts"),
        (("segment.score=quantile",), (7, 13, 16), "one process merges all contacts"),
        ((), (20, 26, 30), "^$"),  # one block: there are no boxes
    ],
)
def test_the_forecast_says_where_contacts_are_merged(aff: Path, tmp_path: Path, words, block, match) -> None:
    held = open_volume(aff)
    config = override(Config(), [*SETTINGS, *words, f"jobs.block={list(block)}"])
    job, _ = from_prediction(held, as_offsets(held.attrs["offsets"]), config, tmp_path / "x.zarr")
    assert re.search(match, merged_where(job))


def test_what_a_box_wrote_is_mended_and_nothing_else(aff: Path, whole: Volume, tmp_path: Path) -> None:
    out, ask = tmp_path / "x.zarr", {"set": SETTINGS, "block": (7, 13, 16)}
    api.segment(aff, out=out, **ask)
    before, box = records(out), out.with_suffix(".blocks") / "contract/2/1.npz"
    kept = box.read_bytes()
    box.write_bytes(kept[:-30])
    assert told(api.segment(aff, out=out, **ask)) == told(whole)
    assert box.read_bytes() == kept
    assert {name for name, at in records(out).items() if at != before[name]} == {"contract_2/1.json"}


def test_boxes_cover_the_grid() -> None:
    assert boxes((5, 1, 8), 1) == (5, 1, 8)
    assert boxes((5, 1, 8), 2) == (3, 1, 4)
    assert boxes((5, 1, 8), 4) == (2, 1, 2)
