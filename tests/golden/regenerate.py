"""Write goldens.json anew; the diff is to be reviewed: a refactor must not change it.

python tests/golden/regenerate.py
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.affinities import affinities_from_labels
from neuropil.config import SegmentConfig
from neuropil.plan import default_offsets
from neuropil.post import agglomerate, mutex
from neuropil.registry import PRETEXTS
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.volume import Volume

GOLDENS = Path(__file__).with_name("goldens.json")
SETTINGS = (
    "model.channels=[8,8,16]",
    "data.crop=[16,24,24]",
    "data.validation=0.25",
    "train.log_every=1",
    "train.validations=1",
    "train.warmup=0",
    "train.lr=0.01",
    "train.precision=fp32",
    "train.threads=1",
    "predict.tile=[24,32,32]",
    "predict.overlap=[12,18,18]",
)


def digest(array: np.ndarray) -> str:
    """A short hash of shape, type and content."""
    return hashlib.sha256(f"{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[
        :16
    ]


def losses(folder: Path) -> list[float]:
    """Training losses of ten steps of the neuron recipe on a phantom."""
    from neuropil import train

    image, labels = phantom()
    run = train([image], [labels], folder / "run", steps=10, set=SETTINGS)
    return [row["loss"] for row in run.rows("train")]


PRETRAIN = (
    "model.channels=[8,8,16]",
    "data.crop=[16,16,16]",
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "pretrain.decoder_dim=24",
    "pretrain.decoder_heads=2",
    "pretrain.crops=2",
    "pretrain.agents.width=16",
    "pretrain.agents.buffer=4",
    "pretrain.agents.rollout_every=2",
    "train.log_every=1",
    "train.validations=1",
    "train.precision=fp32",
    "train.threads=1",
)


def pretrain_losses(folder: Path, recipe: str) -> list[float]:
    """Training losses of ten steps of a pretraining recipe on a phantom."""
    from neuropil import api

    run = api.pretrain(phantom()[0], folder / recipe, recipe=recipe, steps=10, set=PRETRAIN)
    return [row["loss"] for row in run.rows("train")]


def phantom() -> tuple[Volume, Volume]:
    """A small FIB-SEM phantom in memory."""
    made = EMPhantom(EMPhantomConfig.fib_sem(seed=3, shape=(40, 48, 48)))
    size = made.box.voxel_size
    return Volume(made.image(made.box), size, kind="image"), Volume(made.neurons(made.box), size, kind="labels")


def segmentations() -> dict[str, str]:
    """Hashes of labels from blurred true affinities: integer arithmetic, so equal everywhere."""
    _, labels = phantom()
    found = {}
    for name, size in (("isotropic", (8.0, 8.0, 8.0)), ("sections", (40.0, 4.0, 4.0))):
        offsets = default_offsets(size)
        truth, _ = affinities_from_labels(labels.numpy(), offsets)
        noise = np.random.default_rng(0).integers(0, 100, truth.shape, dtype=np.uint8)
        affinities = np.where(truth > 0, 255 - noise, noise).astype(np.uint8)
        config = SegmentConfig(threshold=0.5)
        found[f"agglomerate, {name}"] = digest(agglomerate.segment(affinities, offsets, size, config))
        found[f"mutex, {name}"] = digest(mutex.segment(affinities, offsets, size, config))
    return found


def make() -> dict[str, Any]:
    """Everything that is compared."""
    image, labels = phantom()
    with tempfile.TemporaryDirectory() as folder:
        return {
            "losses": losses(Path(folder)),
            "pretrain losses": {r: pretrain_losses(Path(folder), r) for r in PRETEXTS},
            "phantom image": digest(image.numpy()),
            "phantom labels": digest(labels.numpy()),
            "segmentations": segmentations(),
        }


if __name__ == "__main__":
    GOLDENS.write_text(json.dumps(make(), indent=1) + "\n")
