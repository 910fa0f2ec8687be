"""Contacts summed and merged in boxes of blocks, a level after the other: stages ``contract_1``, ``contract_2``, ..

The number in the name is the blocks along a side of a box. A box reads what the boxes of the level before left
undecided (the first ones are blocks, and read contacts of pieces), merges what is certain, and stores three things:
what is left, for the next level; the contacts of fragments that are complete here, for the size filter; its merges.
The stage `graph` merges what the last level left, and puts all merges together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Box, Int3
from neuropil.jobs.cells import opened, read_table
from neuropil.jobs.job import CONTRACT, Job
from neuropil.post.contraction import (
    Left,
    complete_tree,
    contracted,
    join_small_streamed,
    of_block,
    packed,
    unpacked,
    unpacked_left,
)
from neuropil.post.decoders import Neurons, Parts, Tables, contracts, summed
from neuropil.post.graph import RegionGraph


def boxes(grid: Int3, side: int) -> Int3:
    """Boxes along z, y, x of `side` blocks."""
    z, y, x = (-(-n // side) for n in grid)
    return z, y, x


def merged_where(job: Job) -> str:
    """For a forecast: whether contacts are merged in boxes, if there are any to merge."""
    if job.sides:
        return f"; contacts are merged in boxes of {', '.join(map(str, job.sides))} blocks a side"
    if isinstance(job.decoder, Neurons) and not contracts(job.decoder):
        return "; one process merges all contacts: boxes cannot with segment.score=quantile or segment.contact"
    return ""


def file_of(side: int, number: int) -> str:
    """Where a box is kept."""
    return f"contract/{side}/{number}.npz"


def contract_box(job: Job, number: int, side: int) -> tuple[dict[str, npt.NDArray[Any]], dict[str, int]]:
    """All that is stored of a box, and facts of it."""
    made = contracted(list(_parts(job, number, side)), side.bit_length() - 1)
    facts = {
        "voxels": _box(job, number, side).size,
        "contacts": len(made.settled.edges),
        "merges": len(made.ages),
        "left": len(made.left.ages) + len(made.left.near.edges),
    }
    return packed(made), facts


def whole_graph(job: Job, parts: Parts, count: int) -> tuple[dict[str, npt.NDArray[Any]], dict[str, int]]:
    """Of `count` fragments: contacts that no box completed, sizes, and the tree of all merges; and facts of these."""
    last = job.sides[-1]
    made = contracted([_left(job, last, n) for n in range(math.prod(boxes(job.grid(), last)))], None)
    rows = [(side, math.prod(boxes(job.grid(), side))) for side in job.sides]

    def merges() -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        yield made.ages, made.scores
        for side, n in _numbered(np.array(rows)):
            with opened(job.folder / file_of(side, n)) as table:
                yield table["merged_ages"], table["merged_scores"]

    tree = complete_tree(merges(), count)
    records = [job.ledger.records(f"{CONTRACT}{side}", boxed) for side, boxed in rows]
    facts = {
        "contacts": len(made.settled.edges) + sum(r["contacts"] for level in records for r in level),
        "left": sum(r["left"] for r in records[-1]),
    }
    settled = replace(made.settled, sizes=summed(parts, "near_sizes", count))
    graph = {k: getattr(settled, k) for k in RegionGraph.__dataclass_fields__}
    graph |= {f"tree_{k}": getattr(tree, k) for k in ("pairs", "scores", "levels")}
    return graph | {"boxes": np.array(rows)}, facts


def objects_of(job: Job, graph: Tables) -> npt.NDArray[np.int64]:
    """What the decoder decides from a graph; where boxes hold its contacts, they are gone through one by one."""
    decoder = job.decoder
    if "boxes" not in graph or not isinstance(decoder, Neurons) or decoder.config.min_size <= 1:
        return decoder.objects(graph)
    plain = replace(decoder, config=decoder.config.model_copy(update={"min_size": 0}))

    def contacts() -> Iterator[RegionGraph]:
        yield unpacked(graph, "")
        for side, n in _numbered(graph["boxes"]):
            with opened(job.pieces / file_of(side, n)) as table:
                yield unpacked(table, "settled_")

    return join_small_streamed(plain.objects(graph), graph["sizes"], contacts(), decoder.config.min_size)


def _numbered(rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(side, number) of all boxes, from rows of (side, number of boxes)."""
    return ((side, n) for side, count in rows.tolist() for n in range(count))


def _left(job: Job, side: int, number: int) -> Left:
    with opened(job.folder / file_of(side, number)) as table:
        return unpacked_left(table)


def _parts(job: Job, number: int, side: int) -> Iterator[Left]:
    """What is known of the parts of a box: blocks, or boxes of half its side."""
    if side == 1:
        known = read_table(job.folder / f"numbers/{number}.npz")
        with opened(job.folder / f"parts/{number}.npz") as tables:
            yield of_block(tables, known["numbers"], known["levels"])
        return
    half = boxes(job.grid(), side // 2)
    place = np.unravel_index(number, boxes(job.grid(), side))
    along = (range(2 * int(i), min(2 * int(i) + 2, n)) for i, n in zip(place, half, strict=True))
    for index in itertools.product(*along):
        yield _left(job, side // 2, int(np.ravel_multi_index(index, half)))


def _box(job: Job, number: int, side: int) -> Box:
    """The voxels of a box."""
    z, y, x = (int(i) * side for i in np.unravel_index(number, boxes(job.grid(), side)))
    last = [min(i + side, n) - 1 for i, n in zip((z, y, x), job.grid(), strict=True)]
    low, high = job.block_at((z, y, x)).write, job.block_at((last[0], last[1], last[2])).write
    return Box(low.start, high.stop, low.voxel_size)
