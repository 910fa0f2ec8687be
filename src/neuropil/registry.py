"""Tables from a short name to the thing that it names; nothing is imported before it is asked for.

A table also accepts ``"package.module:Object"``, so code outside this package needs no line here.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from neuropil.errors import ConfigError


class Table(Mapping[str, str]):
    """An immutable name → ``"module:attribute"`` table.

    Examples
    --------
    >>> Table("numbers", {"pi": "math:pi"}).resolve("pi")
    3.141592653589793
    """

    def __init__(self, what: str, entries: Mapping[str, str]) -> None:
        self.what = what
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> str:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def resolve(self, name: str) -> Any:
        """The object behind a name.

        Raises
        ------
        ConfigError
            If the name is neither in the table nor an importable ``"module:attribute"``.
        """
        target = self._entries.get(name, name)
        module, _, attribute = target.partition(":")
        if not attribute:
            raise ConfigError(f"unknown {self.what} '{name}'", self._known(), self._nearest(name))
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            if name in self._entries:
                raise
            raise ConfigError(f"{self.what} '{name}' cannot be imported ({error})", self._known()) from error

    def _known(self) -> str:
        return "one of " + ", ".join(sorted(self._entries)) + ", or package.module:Object"

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.5)
        return f"did you mean '{near[0]}'?" if near else ""


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
    },
)

#: name, or that of the network around it → function ``(model settings, voxel size) -> nn.Module``.
ENCODERS = Table(
    "encoder",
    {
        "resunet": "neuropil.models.resunet:build_encoder",
        "unetr": "neuropil.models.vit3d:build_encoder",
        "vit3d": "neuropil.models.vit3d:build_encoder",
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
