"""The BigNeuron projections of NEUROPIL_DATA: gold trees, traces of seven programs and their consensus, images."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tifffile

from neuropil.io.swc import examine_swc
from neuropil.skeleton import Skeleton

TRACERS = ("app2", "neutube", "MOST", "snake", "Advantra", "NeuroGPSTree", "simple")
#: Their traces and the data set's own consensus → file, of each neuron.
PUBLISHED = {name: f"auto_{name}.swc" for name in TRACERS} | {"consensus": "consensus.swc"}


class Neurons:
    """The archive, its files taken out as they are asked for."""

    def __init__(self, archive: zipfile.ZipFile, folder: Path) -> None:
        self._archive, self._folder = archive, folder
        self._names = set(archive.namelist())
        self.index: list[dict[str, str]] = list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))

    @property
    def aligned(self) -> list[dict[str, str]]:
        """Rows of the index of those whose projection lies on the gold tree."""
        return [row for row in self.index if row["aligned"] == "True"]

    def has(self, neuron: str, name: str) -> bool:
        """Whether there is such a file of a neuron."""
        return f"{neuron}/{name}" in self._names

    def path(self, neuron: str, name: str) -> Path:
        """A file of a neuron."""
        return Path(self._archive.extract(f"{neuron}/{name}", self._folder))

    def gold(self, neuron: str) -> Skeleton:
        """The gold tree; see `read`."""
        return read(self.path(neuron, "gold.swc"))

    def image(self, neuron: str) -> Any:
        """(Y, X) the maximum projection."""
        return tifffile.imread(self.path(neuron, "mip.tif"))


@contextmanager
def opened() -> Iterator[Neurons]:
    """The archive in NEUROPIL_DATA."""
    with (
        zipfile.ZipFile(Path(os.environ["NEUROPIL_DATA"]) / "bigneuron/dev.zip") as archive,
        tempfile.TemporaryDirectory() as folder,
    ):
        yield Neurons(archive, Path(folder))


def read(path: Path) -> Skeleton:
    """A tree in voxels, one nm each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return examine_swc(path, units="voxel", voxel_size=(1.0, 1.0, 1.0))[0]
