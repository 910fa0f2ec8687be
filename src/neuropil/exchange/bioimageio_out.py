"""A run as a bioimage.io model (spec 0.5): TorchScript, how its grey values are made, a tried example, our card.

What the specification has no word for (steps of affinities, tiles, calibrated decoding) stands under `config.neuropil`,
from where `neuropil predict bioimageio:…` reads it back.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuropil.data.normalise import CLIP, ZSCORE_REACH
from neuropil.errors import RunError
from neuropil.exchange.library import spec
from neuropil.exchange.portable import Graph, plan_of, save_script, traced
from neuropil.exchange.sample import grey, raw
from neuropil.geometry import Int3
from neuropil.tasks.base import task_named
from neuropil.training.checkpoint import Run
from neuropil.versions import versions
from neuropil.zoo.clean import named_only
from neuropil.zoo.package import README, write_card

RDF, WEIGHTS, TEST_IN, TEST_OUT = "rdf.yaml", "network.pt", "test_input.npy", "test_output.npy"
#: Version of what stands under config.neuropil.
FORMAT = 1
#: Added to the range of grey values, which may be small: floats of 0..1.
_EPS = 1e-9
_DOI = re.compile(r"10\.\d{4,9}/[^\s,;]+")


def fill(folder: Path, run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    """Write a run into a folder as a bioimage.io model.

    Returns
    -------
    dict
        `any_extent`: whether it takes all extents that the network takes, or those of one tile only.

    Raises
    ------
    RunError
        If its network cannot be traced, or what was made is not what the specification asks for.
    """
    library = spec()
    graph = traced(run, lambda extent: grey(extent, run.config.data))
    save_script(graph.program, folder / WEIGHTS)
    extent: Int3 = tuple(graph.example_BCZYX.shape[2:])  # type: ignore[assignment]
    values = raw(extent)[None, None]
    np.save(folder / TEST_IN, values if _dtype(run) == "uint8" else values.astype(np.float32))
    np.save(folder / TEST_OUT, graph.answer_BCZYX.numpy())
    use = [f"neuropil predict bioimageio:{facts['name']}.zip VOLUME --out prediction.zarr"]
    write_card(folder, facts, use)
    described = _described(run, facts, graph, folder)
    with _in(folder):
        model = library.load_description(described, perform_io_checks=True) if False else _built(library, described)
        library.save_bioimageio_package_as_folder(model, output_path=folder)
    return {"any_extent": graph.any_extent}
