"""How large the study of inflation is, by scale: on one CPU core within an hour, or on one GPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from inflation_mae import Masked
from neuropil.geometry import Int3
from neuropil.models.vit2d import Planar


@dataclass(frozen=True)
class Track:
    """What is learned in which geometry.

    Parameters
    ----------
    name, source
        Its name; "projections", "phantoms" or "stack".
    arms
        What is compared, the reference first.
    labelled
        Label budgets: numbers of items.
    patch, mode
        Voxels of a patch, z, y, x; mode of `neuropil inflate`.
    steps
        Of training.
    words
        Settings.
    window
        Largest side of a test image of projections; None for whole images.
    tested, shapes, cable_um
        Number of test phantoms, shapes of those to learn from and of the test, cable of each.
    """

    name: str
    source: str
    arms: tuple[str, ...]
    labelled: tuple[int, ...]
    patch: Int3
    mode: str
    steps: int
    words: tuple[str, ...]
    window: int | None = None
    tested: int = 0
    shapes: tuple[Int3, Int3] = ((1, 1, 1), (1, 1, 1))
    cable_um: float = 0.0

    def facts(self) -> dict[str, Any]:
        """All that results depend on; budgets may be added."""
        return {key: value for key, value in asdict(self).items() if key not in ("arms", "labelled")}


@dataclass(frozen=True)
class Scale:
    """Sizes of a study: pretraining, tracks, and settings that all trainings share."""

    masked: Masked
    tracks: tuple[Track, ...]
    words: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """All that results depend on beside the tracks."""
        return {"masked": asdict(self.masked), "words": self.words}


FLAT_ARMS = ("scratch", "center", "random")
DEEP_ARMS = ("scratch", "center", "average", "random")
#: Held back of the labels, and validated on once, at the end.
SHARED = ("data.validation=0.2", "train.validations=1", "model.norm=standardised")
CPU_WORDS = (*SHARED, "model.vit.decoder=[8,16,32]", "train.lr=0.001", "train.ema=0.98", "train.threads=1")
GPU_WORDS = (*SHARED, "model.vit.decoder=[16,32,64]", "train.lr=0.0005", "train.ema=0.999")

CPU = Scale(
    Masked(
        Planar(dim=128, depth=4, heads=2, hidden=512, patch=(8, 8), grid=(16, 16)),
        dim=64,
        depth=1,
        batch=32,
        steps=2000,
        lr=1.5e-3,
    ),
    (
        Track(
            *("flat", "projections", FLAT_ARMS, (1, 4, 32)),
            patch=(1, 8, 8),
            mode="slab",
            steps=200,
            words=("data.crop=[1,128,128]", "predict.tile=[1,256,256]", "train.batch=2", "data.workers=0"),
            window=256,
        ),
        Track(
            *("slab", "phantoms", DEEP_ARMS, (1, 8)),
            patch=(5, 8, 8),
            mode="slab",
            steps=150,
            words=("data.crop=[5,128,128]", "predict.tile=[5,128,128]", "train.batch=1", "data.workers=0"),
            tested=8,
            shapes=((20, 160, 160), (20, 128, 128)),
            cable_um=400.0,
        ),
    ),
    CPU_WORDS,
)
GPU = Scale(
    Masked(
        Planar(dim=256, depth=8, heads=4, hidden=1024, patch=(8, 8), grid=(16, 16)),
        dim=128,
        depth=4,
        batch=256,
        steps=10_000,
        lr=1.2e-3,
    ),
    (
        Track(
            *("flat", "projections", FLAT_ARMS, (1, 2, 4, 8, 32)),
            patch=(1, 8, 8),
            mode="slab",
            steps=3000,
            words=("data.crop=[1,128,128]", "predict.tile=[1,512,512]", "train.batch=16"),
        ),
        Track(
            *("slab", "phantoms", DEEP_ARMS, (1, 2, 4, 16)),
            patch=(5, 8, 8),
            mode="slab",
            steps=3000,
            words=("data.crop=[5,128,128]", "predict.tile=[5,256,256]", "train.batch=8"),
            tested=16,
            shapes=((30, 256, 256), (30, 256, 256)),
            cable_um=900.0,
        ),
        Track(
            *("cube", "phantoms", DEEP_ARMS, (1, 2, 4, 16)),
            patch=(4, 8, 8),
            mode="cube",
            steps=3000,
            words=("data.crop=[16,128,128]", "predict.tile=[16,256,256]", "train.batch=4"),
            tested=16,
            shapes=((30, 256, 256), (30, 256, 256)),
            cable_um=900.0,
        ),
    ),
    GPU_WORDS,
)
FLY = Scale(
    CPU.masked,
    (
        Track(
            *("fly", "stack", DEEP_ARMS, (1, 3)),
            patch=(5, 8, 8),
            mode="slab",
            steps=150,
            # its first and last sections hold no cable
            words=(
                *("data.crop=[5,80,80]", "predict.tile=[5,128,128]", "train.batch=1", "data.workers=0"),
                "data.validation_axis=x",
            ),
        ),
    ),
    CPU_WORDS,
)
SCALES = {"cpu": CPU, "fly": FLY, "gpu": GPU}
