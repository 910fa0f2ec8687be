"""A run as a bioimage.io model (spec 0.5): TorchScript, how its grey values are made, a tried example, our card.

What the specification has no word for (steps of affinities, tiles, calibrated decoding) stands under `config.neuropil`,
from where `neuropil predict bioimageio:…` reads it back.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from neuropil.data.normalise import CLIP, ZSCORE_REACH
from neuropil.exchange.described import FORMAT
from neuropil.exchange.portable import Graph, plan_of, save_script, traced
from neuropil.exchange.sample import grey, raw
from neuropil.geometry import Int3
from neuropil.tasks.base import task_named
from neuropil.training.checkpoint import Run
from neuropil.versions import versions
from neuropil.zoo.package import README, sha256, write_card

RDF, WEIGHTS, TEST_IN, TEST_OUT, LICENCE = "rdf.yaml", "network.pt", "test_input.npy", "test_output.npy", "LICENCE.txt"
#: Version of the specification.
SPECIFICATION = "0.5.12"
INPUT, OUTPUT = "raw", "prediction"
#: Added to the range of grey values, which may be small: floats of 0..1.
_EPS = 1e-9
#: Licences (names of SPDX) that the specification takes as a word; others go into a file.
_LICENCES = (
    *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0"),
    *("MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"),
)
_DOI = re.compile(r"10\.\d{4,9}/[^\s,;]+")
_URL = re.compile(r"https?://[^\s,;]+")


def fill(folder: Path, run: Run, facts: dict[str, Any]) -> bool:
    """Write a run into a folder as a bioimage.io model.

    Returns
    -------
    bool
        Whether the model takes all extents that the network takes, or those of one tile only.

    Raises
    ------
    RunError
        If its network cannot be traced.
    """
    graph = traced(run, lambda extent: grey(extent, run.config.data))
    save_script(graph.program, folder / WEIGHTS)
    z, y, x = graph.example_BCZYX.shape[2:]
    values = raw((z, y, x))[None, None]
    np.save(folder / TEST_IN, values.astype(np.float32))
    np.save(folder / TEST_OUT, graph.answer_BCZYX.numpy())
    (folder / LICENCE).write_text(
        f"Weights: {facts['licence'] or 'not stated; that of the data permitting'}\n"
        f"Data that they were trained on: {facts['data']['licence']}\n"
    )
    write_card(folder, facts, [f"neuropil predict bioimageio:{facts['name']}.zip VOLUME --out prediction.zarr"])
    described = _described(folder, run, facts, graph)
    (folder / RDF).write_text(yaml.safe_dump(described, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return graph.any_extent


def _described(folder: Path, run: Run, facts: dict[str, Any], graph: Graph) -> dict[str, Any]:
    """The content of rdf.yaml."""
    licence = re.sub(r"\s+", "-", facts["licence"] or "")
    affinities = bool(run.offsets)
    values: dict[str, Any] = {
        "format_version": SPECIFICATION,
        "type": "model",
        "name": "neuropil " + re.sub(r"[^\w+\- ()]", "-", facts["name"], flags=re.ASCII),
        "description": f"{'Affinities' if affinities else 'Channels'} of {run.task} in 3-D microscope volumes, with "
        "steps, tiles and decoding under config.neuropil; made with neuropil",
        "authors": [{"name": name.replace("/", "-")} for name in facts["authors"]],
        "license": licence if licence in _LICENCES else {"source": LICENCE},
        "documentation": {"source": README},
        "tags": ["3d", "pytorch", "neuropil", run.task, "affinities" if affinities else "segmentation"],
        "inputs": [_input(run, graph)],
        "outputs": [_output(run, graph)],
        "weights": {"torchscript": {"source": WEIGHTS, "pytorch_version": torch.__version__.partition("+")[0]}},
        "config": {
            "bioimageio": {
                "model_parameter_count": facts["parameters"],
                "architecture_type": facts["network"][:32],
                "inference_time": _speed(facts["speed"]),
            },
            "neuropil": _ours(run, facts, graph),
        },
    }
    if cited := _cited(facts["cite"]):
        values["cite"] = cited
    for entry in (*values["inputs"], *values["outputs"]):
        entry["test_tensor"]["sha256"] = sha256(folder / entry["test_tensor"]["source"])
    values["weights"]["torchscript"]["sha256"] = sha256(folder / WEIGHTS)
    return values


def _input(run: Run, graph: Graph) -> dict[str, Any]:
    plan, extent = plan_of(run), graph.example_BCZYX.shape[2:]
    space = [
        {**_space(run, axis), "size": {"min": int(n), "step": step} if graph.any_extent else int(n)}
        for axis, n, step in zip("zyx", extent, plan.stride, strict=True)
    ]
    return {
        "id": INPUT,
        "description": "one channel of grey values",
        "axes": [_batch(graph), {"type": "channel", "channel_names": ["grey"]}, *space],
        "test_tensor": {"source": TEST_IN},
        # what the graph is given when all is prepared
        "data": {"type": "float32"},
        "preprocessing": [
            {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
            *_grey(run),
            {"id": "clip", "kwargs": {"min": CLIP[0], "max": CLIP[1]}},
        ],
    }


def _grey(run: Run) -> list[dict[str, Any]]:
    """How the run makes its grey values (see `neuropil.data.normalise`), in words of the specification."""
    data, axes = run.config.data, ["channel", "z", "y", "x"]
    if data.normalise == "percentile":
        low, high = data.percentiles
        kwargs = {"axes": axes, "min_percentile": low, "max_percentile": high, "eps": _EPS}
        return [{"id": "scale_range", "kwargs": kwargs}]
    if data.normalise == "zscore":
        return [
            {"id": "zero_mean_unit_variance", "kwargs": {"axes": axes, "eps": _EPS}},
            {"id": "scale_linear", "kwargs": {"gain": 0.5 / ZSCORE_REACH, "offset": 0.5}},
        ]
    # the specification knows no range of a type: eight bits are what microscopes of sections write
    return [{"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0.0}}]


def _output(run: Run, graph: Graph) -> dict[str, Any]:
    plan = plan_of(run)
    space = []
    for axis, overlap in zip("zyx", plan.overlap, strict=True):
        entry = {**_space(run, axis), "size": {"tensor_id": INPUT, "axis_id": axis, "offset": 0}}
        space.append({**entry, "halo": overlap // 2} if overlap > 1 else entry)
    names = [channel.name for channel in run.channels]
    return {
        "id": OUTPUT,
        "description": "probability that a voxel and the one a step away are one object" if run.offsets else "",
        "axes": [_batch(graph), {"type": "channel", "channel_names": names}, *space],
        "test_tensor": {"source": TEST_OUT},
        "data": {"type": "float32", "range": [0.0, 1.0]},
    }


def _batch(graph: Graph) -> dict[str, Any]:
    return {"type": "batch"} if graph.any_batch else {"type": "batch", "size": 1}


def _space(run: Run, axis: str) -> dict[str, Any]:
    return {"type": "space", "id": axis, "unit": "nanometer", "scale": run.voxel_size["zyx".index(axis)]}


def _ours(run: Run, facts: dict[str, Any], graph: Graph) -> dict[str, Any]:
    plan, group = plan_of(run), task_named(run.task).group
    extent: Int3 = plan.tile if graph.any_extent else tuple(int(n) for n in graph.example_BCZYX.shape[2:])  # type: ignore[assignment]
    data = run.config.data
    return {
        "format": FORMAT,
        "task": run.task,
        "channels": [[channel.name, list(channel.step)] for channel in run.channels],
        "offsets": [list(step) for step in run.offsets],
        "convention": "channel c at voxel v: 1 = v and v + offsets[c] (voxels z, y, x) are one object",
        "boundaries": False,
        "voxel_size_nm": list(run.voxel_size),
        "stride": list(plan.stride if graph.any_extent else extent),
        "tile": list(extent),
        "overlap": list(plan.overlap),
        "normalise": data.normalise,
        "percentiles": list(data.percentiles),
        "decoding": {group: run.calibration},
        "data": facts["data"],
        "scores": facts["scores"],
        "versions": versions(),
    }


def _cited(text: str | None) -> list[dict[str, str]]:
    """A citation, where it names an address or a DOI: without one the specification takes none."""
    if text is None:
        return []
    if doi := _DOI.search(text):
        return [{"text": text, "doi": doi[0].rstrip(".)")}]
    url = _URL.search(text)
    return [{"text": text, "url": url[0].rstrip(".)")}] if url else []


def _speed(speed: dict[str, Any] | None) -> str | None:
    return None if speed is None else f"{speed['voxels_per_second']} voxels/s on {speed['device']}"
