"""The tasks of a segmentation in blocks: each a pure function of the job and a number, which writes whole files.

predict     what a run says of a block, from the tiles of the whole volume that touch it
fragments   pieces of a block, what the decoder knows of them, and its faces
faces       which of a block's pieces are pieces of earlier blocks
numbers     which fragment of the whole every piece is part of
contract_1, contract_2, contract_4, ..
            contacts summed and merged in boxes of so many blocks a side (see `neuropil.jobs.contract`)
graph       what the decoder decides objects from: of neurons, contacts and the merge tree
objects     what the decoder decides: object of every piece
labels      objects of the voxels of a block
s1, s2, ..  coarser levels of the labels

and where skeletons or meshes were asked for, in cells of their own (see `neuropil.jobs.objects`):

skeleton_parts, mesh_parts   what the objects of a cell have in it
skeleton_index, mesh_index   which cell puts an object together
skeletons, meshes            the files of the objects that a cell puts together
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Block
from neuropil.infer.ledger import write_whole
from neuropil.jobs.cells import as_bytes, opened, owners, read_table, share
from neuropil.jobs.contract import contract_box, file_of, objects_of, whole_graph
from neuropil.jobs.job import CONTRACT, PIECES, FromRun, Job
from neuropil.jobs.labels import files, fill, open_labels
from neuropil.jobs.objects import Kind, cell_table, kinds, write_owned
from neuropil.lazy import Window
from neuropil.outputs import peak_memory
from neuropil.post.blocks import Slabs, margin_boxes, read_box, rim_boxes
from neuropil.post.contraction import box_levels
from neuropil.post.decoders import Tables
from neuropil.post.stitch import fragment_numbers, shared_pieces
from neuropil.volume import Volume

#: Names of what a task made, and facts for its record.
Made = tuple[list[str], dict[str, Any]]
_SIZES = "objects/sizes.npy"


def perform(job: Job, task: tuple[str, int]) -> dict[str, Any]:
    """Do a task, unless it is done and what it made is intact; returns its record's facts, and whether it was kept."""
    stage, number = task
    ledger, started, worked = job.ledger, time.monotonic(), time.process_time()
    if ledger.verified(stage, number):
        return {**(ledger.record(stage, number) or {}), "kept": True}
    try:
        ledger.begin(stage, number)
        outputs, facts = _done(job, number, stage)
        seconds, cores = time.monotonic() - started, time.process_time() - worked
        # a worker that waits keeps its core; one with several threads has more
        facts |= {"seconds": round(seconds, 4), "core_seconds": round(max(seconds, cores), 4)}
        facts["peak_bytes"] = peak_memory()
        ledger.finish(stage, number, outputs, facts)
    except Exception as error:
        ledger.fail(stage, number, error)
        raise
    return {**facts, "kept": False}


def _done(job: Job, number: int, stage: str) -> Made:
    if stage in _STAGES:
        return _STAGES[stage](job, number)
    if stage.startswith(CONTRACT):
        return _contract(job, number, int(stage.removeprefix(CONTRACT)))
    for kind in kinds(job.objects):
        if stage == f"{kind.stem}_parts":
            return _parts(job, number, kind)
        if stage == f"{kind.stem}_index":
            return _index(job, kind)
        if stage == kind.name:
            return _objects_of_a_cell(job, number, kind)
    return _level(job, number, stage)


def _predict(job: Job, number: int) -> Made:
    from neuropil.infer.boxes import predict_box

    assert job.predict is not None
    predictor, plan, prepared = _network(job.predict, job.threads)
    block = job.numbered_block(number)
    stored = predict_box(
        predictor,
        job.predict.image,
        plan,
        block.write,
        steps=job.predict.steps,
        normalise=prepared.normaliser,
        batch=prepared.settings.batch,
    )
    return _written(job, job.predict.place, block, stored)


@functools.lru_cache(maxsize=1)
def _network(source: FromRun, threads: int | None) -> tuple[Any, Any, Any]:
    """One network a process."""
    import torch

    from neuropil.decoding import prediction
    from neuropil.infer.predict import TilePredictor, volume_plan
    from neuropil.training.checkpoint import Run

    if threads is not None:
        torch.set_num_threads(threads)
    prepared = prediction(Run.open(source.run), source.image, source.words)
    predictor = TilePredictor(prepared.model.eval(), source.steps, source.image.voxel_size, prepared.settings)
    return predictor, volume_plan(source.image, prepared.settings), prepared


def _fragments(job: Job, number: int) -> Made:
    block, cut = job.numbered_block(number), job.cut
    source, read = job.source, read_box(cut, block.write, job.volume)
    whole = [slice(0, n) for n in source.shape[1:]]
    # channel by channel: long edges that no one uses are not even read
    stored_CZYX = np.concatenate(
        [_like(source, Window(source.array, (slice(c, c + 1), *whole))).read(read) for c in cut.channels]
    )
    found, known = job.decoder.part(stored_CZYX, write=block.write, volume=job.volume)
    names, facts = _written(job, PIECES, block, found.labels_ZYX.astype(np.uint32))
    names.append(_saved(job, f"parts/{number}.npz", {"first": found.first, **known}))
    slabs = {f"margin_{i}": a for i, a in enumerate(found.margins)} | {f"rim_{i}": a for i, a in enumerate(found.rims)}
    names.append(_saved(job, f"faces/{number}.npz", slabs, packed=True))
    return names, {**facts, "pieces": len(found.first)}


def _like(source: Volume, array: Any) -> Volume:
    return Volume(array, source.voxel_size, source.offset, "czyx", source.kind, name=source.name)


def _faces(job: Job, number: int) -> Made:
    block, cut = job.numbered_block(number), job.cut
    boxes = margin_boxes(cut, block.write, job.volume)
    margins = list(zip(boxes, _slabs(job, number, "margin"), strict=True))
    found = {}
    for index in _earlier_neighbours(job, block):
        other = job.number_of(index)
        rims = list(zip(rim_boxes(cut, job.block_at(index).write), _slabs(job, other, "rim"), strict=True))
        found[str(other)] = shared_pieces(margins, rims)
    return [_saved(job, f"pairs/{number}.npz", found)], {"voxels": block.write.size}


def _slabs(job: Job, number: int, side: str) -> Slabs:
    with opened(job.folder / f"faces/{number}.npz") as file:
        return file[f"{side}_0"], file[f"{side}_1"], file[f"{side}_2"]


def _earlier_neighbours(job: Job, block: Block) -> Iterator[tuple[int, int, int]]:
    """Places of the blocks before this one that its margin reaches."""
    z, y, x = (
        range(max(0, i - -(-m // b)), min(n, i + -(-m // b) + 1))
        for i, m, b, n in zip(block.index, job.cut.margin, job.block, job.grid(), strict=True)
    )
    return (index for index in itertools.product(z, y, x) if index < block.index)


def _numbers(job: Job, number: int) -> Made:
    count = math.prod(job.grid())
    first = [_array(job.folder / f"parts/{n}.npz", "first") for n in range(count)]
    base = np.concatenate([[0], np.cumsum([len(f) for f in first])]).astype(np.int64)
    pairs = [np.zeros((0, 2), np.int64)]
    for n in range(count):
        with opened(job.folder / f"pairs/{n}.npz") as file:
            pairs += [file[other] + (base[n], base[int(other)]) for other in file.files]
    numbers = fragment_numbers(np.concatenate(first), np.concatenate(pairs))
    places = np.indices(job.grid(), np.int32).reshape(3, -1).T
    levels = box_levels(numbers, places.repeat(np.diff(base), axis=0))
    # one small file a block: a worker reads what it needs of a table that may be larger than its memory
    names = [_saved(job, "numbers/count.npz", {"count": numbers.max(initial=0)})]
    for n in range(count):
        own = np.concatenate([[0], numbers[base[n] + 1 : base[n + 1] + 1]])
        names.append(_saved(job, f"numbers/{n}.npz", {"numbers": own, "levels": levels[own]}))
    return names, {"voxels": job.volume.size, "pieces": int(base[-1]), "fragments": int(numbers.max(initial=0))}


def _contract(job: Job, number: int, side: int) -> Made:
    table, facts = contract_box(job, number, side)
    return [_saved(job, file_of(side, number), table)], facts


def _graph(job: Job, number: int) -> Made:
    def known() -> Iterator[tuple[Tables, npt.NDArray[np.int64]]]:
        for n in range(math.prod(job.grid())):
            with opened(job.folder / f"parts/{n}.npz") as file:
                yield file, _array(job.folder / f"numbers/{n}.npz", "numbers")

    fragments = int(_array(job.folder / "numbers/count.npz", "count"))
    if job.sides:
        graph, facts = whole_graph(job, known, fragments)
    else:
        graph = job.decoder.graph(known, fragments)
        facts = {"contacts": len(graph["edges"]), "left": len(graph["edges"])}
    return [_saved(job, "graph/graph.npz", graph)], {"voxels": job.volume.size, "fragments": fragments, **facts}


def _objects(job: Job, number: int) -> Made:
    with opened(job.pieces / "graph/graph.npz") as graph:
        objects, voxels = objects_of(job, graph), graph["sizes"]
    sizes = np.zeros(int(objects.max(initial=0)) + 1, np.int64)
    np.add.at(sizes, objects, voxels)
    names = [_sizes_saved(job, sizes)]
    for n in range(math.prod(job.grid())):
        own = _array(job.pieces / f"numbers/{n}.npz", "numbers")
        names.append(_saved(job, f"objects/{n}.npz", {"objects": objects[own]}))
    return names, {"voxels": job.volume.size, "objects": int(objects.max(initial=0))}


def _sizes_saved(job: Job, sizes: npt.NDArray[np.int64]) -> str:
    """Voxels of every object, as an array that can be looked into without being read."""
    buffer = io.BytesIO()
    np.save(buffer, sizes)
    write_whole(job.folder / _SIZES, buffer.getvalue(), sync=False)
    return _SIZES


def _labels(job: Job, number: int) -> Made:
    from neuropil.io.zarr import open_level

    block, path = job.numbered_block(number), job.ledger.path(job.labels)
    pieces = open_level(job.pieces / PIECES).read(block.write)
    objects = _array(job.folder / f"objects/{number}.npz", "objects").astype(np.uint64)
    open_labels(path, writable=True).write(block.write, np.take(objects, pieces))
    return _of_labels(job, files(path, "s0", block)), {"voxels": block.write.size}


def _level(job: Job, number: int, level: str) -> Made:
    path = job.ledger.path(job.labels)
    block = fill(path, level, number)
    return _of_labels(job, files(path, level, block)), {"voxels": block.write.size}


def _of_labels(job: Job, names: list[str]) -> list[str]:
    return [f"{job.labels}/{name}" for name in names]


def _parts(job: Job, number: int, kind: Kind) -> Made:
    cells = job.cells()
    labels = open_labels(job.ledger.path(job.labels), cells.level.name)
    sizes = np.load(job.folder / _SIZES, mmap_mode="r")
    table = cell_table(kind, labels, cells, number, sizes, job.objects)
    name = f"{kind.name}/parts/{number}.npz"
    write_whole(job.folder / name, as_bytes(table), sync=False)
    return [name], {"voxels": share(cells, number, job.volume.voxel_size), "objects": len(table["ids"])}


def _index(job: Job, kind: Kind) -> Made:
    ids = [_array(job.folder / f"{kind.name}/parts/{n}.npz", "ids") for n in range(len(job.cells()))]
    names = []
    for number, table in enumerate(owners(ids)):
        names.append(f"{kind.name}/index/{number}.npz")
        write_whole(job.folder / names[-1], as_bytes(table), sync=False)
    return names, {"voxels": job.volume.size}


def _objects_of_a_cell(job: Job, number: int, kind: Kind) -> Made:
    cells, folder = job.cells(), job.folder / kind.name
    owned = read_table(folder / f"index/{number}.npz")
    path = job.ledger.path(job.labels)
    corner_nm = open_labels(path, cells.level.name).offset
    names = write_owned(
        kind, path, owned, lambda n: read_table(folder / f"parts/{n}.npz"), cells, corner_nm, job.objects
    )
    facts = {"voxels": share(cells, number, job.volume.voxel_size), "objects": len(owned["ids"])}
    return _of_labels(job, names), facts


def _written(job: Job, name: str, block: Block, data: npt.NDArray[Any]) -> Made:
    """Write one block of an array, which is one shard."""
    from neuropil.io.zarr import open_level

    open_level(job.ledger.path(name), writable=True).write(block.write, data)
    return [_shard(name, "s0", block, data.ndim - 3)], {"voxels": block.write.size}


def _shard(name: str, level: str, block: Block, lead: int) -> str:
    return "/".join((name, level, "c", *("0",) * lead, *map(str, block.index)))


def _saved(job: Job, name: str, arrays: Mapping[str, npt.NDArray[Any]], *, packed: bool = False) -> str:
    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    # a power cut may lose what is not synced: its digest in the record, which is, then tells
    write_whole(job.folder / name, buffer.getvalue(), sync=False)
    return name


def _array(path: Path, name: str) -> npt.NDArray[Any]:
    with opened(path) as file:
        array: npt.NDArray[Any] = file[name]
        return array


_STAGES: dict[str, Callable[[Job, int], Made]] = {
    "predict": _predict,
    "fragments": _fragments,
    "faces": _faces,
    "numbers": _numbers,
    "graph": _graph,
    "objects": _objects,
    "labels": _labels,
}
