"""Tables from a short name to the thing that it names; nothing is imported before it is asked for.

Code outside this package needs no line here. A table also accepts ``"package.module:Object"``, and an installed package
adds names by entry points of the group ``neuropil.plugins``, each called "table.name"::

    [project.entry-points."neuropil.plugins"]
    "pretext.jigsaw" = "my_package.jigsaw:build"
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from typing import Any

from neuropil.errors import ConfigError

#: Group of entry points by which installed packages add names.
PLUGINS = "neuropil.plugins"


class Table(Mapping[str, str]):
    """An immutable name → ``"module:attribute"`` table; names of plugins come after our own.

    Parameters
    ----------
    what
        What its things are called, for messages and in the names of entry points ("tree metric": "tree_metric.name").
    entries
        Our own names.

    Examples
    --------
    >>> Table("numbers", {"pi": "math:pi"}).resolve("pi")
    3.141592653589793
    """

    def __init__(self, what: str, entries: Mapping[str, str]) -> None:
        self.what = what
        self.own = dict(entries)

    @property
    def _entries(self) -> dict[str, str]:
        return {**plugged(_word(self)), **self.own}

    def __getitem__(self, name: str) -> str:
        # what is our own needs no look at what is installed
        return self.own[name] if name in self.own else self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.own, **self._entries})

    def __len__(self) -> int:
        return len(self._entries)

    def resolve(self, name: str) -> Any:
        """The object behind a name.

        Raises
        ------
        ConfigError
            If the name is neither in the table nor an importable ``"module:attribute"``.
        """
        target = self.own.get(name) or self._entries.get(name, name)
        module, _, attribute = target.partition(":")
        if not attribute:
            raise ConfigError(f"unknown {self.what} '{name}'", self._known(), self._nearest(name))
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            if name in self.own:
                raise
            raise ConfigError(
                f"{self.what} '{name}' cannot be imported ({error})",
                self._known(),
                "install its package in this environment, or correct the name",
            ) from error

    def _known(self) -> str:
        return "one of " + ", ".join(sorted(self._entries)) + ", or package.module:Object"

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.5)
        return f"did you mean '{near[0]}'?" if near else "neuropil doctor lists what is installed"


@cache
def plugins() -> tuple[tuple[str, str, str, str], ...]:
    """What installed packages add: (table, name, "module:attribute", package), imported by nobody yet.

    Raises
    ------
    ConfigError
        If an entry point is not called "table.name", or adds a name that is taken.
    """
    known = {_word(table): table for table in globals().values() if isinstance(table, Table)}
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for entry in metadata.entry_points(group=PLUGINS):
        package = entry.dist.name if entry.dist is not None else "an unknown package"
        of, _, name = entry.name.partition(".")
        got, fix = f"plugin '{entry.name} = {entry.value}' of {package}", f"correct or uninstall {package}"
        if not name or ":" not in entry.value or of not in known:
            example = 'an entry point such as "pretext.jigsaw" = "my_package.jigsaw:build", for one of '
            raise ConfigError(got, example + ", ".join(sorted(known)), fix)
        taken = "neuropil" if name in known[of].own else found.setdefault((of, name), (entry.value, package))[1]
        if taken != package:
            raise ConfigError(f"{got}: this name is that of {taken}", "a name of its own", fix)
    return tuple((of, name, *rest) for (of, name), rest in found.items())


def plugged(table: str) -> dict[str, str]:
    """The names that plugins add to one table."""
    return {name: target for of, name, target, _ in plugins() if of == table}


def _word(table: Table) -> str:
    return table.what.replace(" ", "_")


#: url suffix or kind of folder → module with `open(url, ...)`; see `neuropil.volume.open_volume`.
FORMATS = Table(
    "format",
    {
        "zarr": "neuropil.io.zarr:FORMAT",
        "n5": "neuropil.io.n5:FORMAT",
        "precomputed": "neuropil.io.precomputed:FORMAT",
        "hdf5": "neuropil.io.hdf5:FORMAT",
        "tiff": "neuropil.io.tiff:FORMAT",
        "images": "neuropil.io.images:FORMAT",
        "vaa3d": "neuropil.io.vaa3d:FORMAT",
    },
)

#: name → function ``(model settings, voxel size, outputs) -> nn.Module``; see `neuropil.models`.
NETWORKS = Table(
    "network",
    {
        "resunet": "neuropil.models.resunet:build",
        "unetr": "neuropil.models.unetr:build",
        "convnext": "neuropil.models.convnext:build",
    },
)

#: name, or that of the network around it → function ``(model settings, voxel size) -> nn.Module``.
ENCODERS = Table(
    "encoder",
    {
        "resunet": "neuropil.models.resunet:build_encoder",
        "unetr": "neuropil.models.vit3d:build_encoder",
        "vit3d": "neuropil.models.vit3d:build_encoder",
        "convnext": "neuropil.models.convnext:build_encoder",
        "vit_inflated": "neuropil.models.vit_inflated:build_encoder",
    },
)

#: name → `neuropil.tasks.base.Task`: what is learned, and what is made of the answer.
TASKS = Table(
    "task",
    {
        "neurons": "neuropil.tasks.neurons:TASK",
        "mitochondria": "neuropil.tasks.mitochondria:TASK",
        "semantic": "neuropil.tasks.semantic:TASK",
        "trees": "neuropil.tasks.trees:TASK",
    },
)

SEGMENTERS = Table(
    "segmenter",
    {
        "agglomerate": "neuropil.post.agglomerate:segment",
        "mutex": "neuropil.post.mutex:segment",
    },
)

METRICS = Table(
    "metric",
    {
        "voi": "neuropil.metrics.partition:voi",
        "rand": "neuropil.metrics.partition:rand",
        "object_voi": "neuropil.metrics.partition:object_voi",
        "erl": "neuropil.metrics.skeletal:erl",
        "detection": "neuropil.metrics.detection:detection",
    },
)

#: name → function ``(pair of trees) -> scores``; see `neuropil.metrics.tree_pair.TreePair`.
TREE_METRICS = Table(
    "tree metric",
    {
        "structure": "neuropil.metrics.tree:structure_distances",
        "cable": "neuropil.metrics.tree:cable",
        "edges": "neuropil.metrics.tree_topology:matched_edges",
        "critical_nodes": "neuropil.metrics.tree_topology:critical_nodes",
        "diadem": "neuropil.metrics.tree_diadem:diadem",
        "netmets": "neuropil.metrics.tree_topology:netmets",
    },
)

#: name → function ``(config, rng, crop) -> change or None``; grey values change in this order.
AUGMENTATIONS = Table(
    "augmentation",
    {
        "orient": "neuropil.data.augment.geometry:orient",
        "rotate": "neuropil.data.augment.geometry:rotate",
        "rescale": "neuropil.data.augment.geometry:rescale",
        "elastic": "neuropil.data.augment.geometry:elastic",
        "slip": "neuropil.data.augment.geometry:slip",
        "shift": "neuropil.data.augment.geometry:shift",
        "intensity": "neuropil.data.augment.intensity:intensity",
        "section_intensity": "neuropil.data.augment.intensity:section_intensity",
        "low_contrast": "neuropil.data.augment.sections:low_contrast",
        "stain_gaps": "neuropil.data.augment.staining:stain_gaps",
        "blur": "neuropil.data.augment.intensity:blur",
        "defocus": "neuropil.data.augment.sections:defocus",
        "cut_blur": "neuropil.data.augment.intensity:cut_blur",
        "fold": "neuropil.data.augment.sections:fold",
        "shot_noise": "neuropil.data.augment.staining:shot_noise",
        "noise": "neuropil.data.augment.intensity:noise",
        "missing": "neuropil.data.augment.sections:missing",
        "cut_out": "neuropil.data.augment.cut_out:cut_out",
    },
)

#: name → function ``(settings, voxel size) -> Objective``; see `neuropil.training.objective`.
PRETEXTS = Table(
    "pretext",
    {
        "mae": "neuropil.pretrain.mae:build",
        "decision_mim": "neuropil.pretrain.decision_mim:build",
        "multiscale": "neuropil.pretrain.multiscale:build",
    },
)

#: name → function ``(context, count, generator, config) -> Mask``; see `neuropil.pretrain.masking`.
MASKS = Table(
    "mask policy",
    {
        "random": "neuropil.pretrain.masking:random",
        "block": "neuropil.pretrain.masking:block",
        "edge": "neuropil.pretrain.masking:edge",
        "mix": "neuropil.pretrain.masking:mix",
        "loss_ranked": "neuropil.pretrain.masking:loss_ranked",
        "learned": "neuropil.pretrain.masking:learned",
    },
)

#: name → function ``(run directory, settings, first step) -> Sink``; see `neuropil.training.sinks`.
SINKS = Table(
    "sink",
    {
        "tensorboard": "neuropil.training.sinks:TensorBoard",
        "wandb": "neuropil.training.sinks:WandB",
    },
)
