"""What the study of inflation learns from and is judged on: which neurons, cut to a part, with their trees as files.

Projections of BigNeuron are one section deep, so their trees are laid into its middle. Who is held out follows from
names alone: all organisms but the fruit fly, and every fourth fly neuron in the order of a hash of its number.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from bigneuron import Neurons, opened
from neuropil.geometry import Float3
from neuropil.io.swc import read_swc, write_swc
from neuropil.skeleton import Skeleton
from neuropil.synth.lm import LMPhantom
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.volume import Volume, open_volume

LEARNED_ORGANISM = "Fruitfly"
#: The pixels of projections have no stated size; one for all.
PIXEL_NM = 300.0
#: Nor have the voxels of the fly neuron.
STACK_NM: Float3 = (1000.0, 1000.0, 1000.0)
#: Pixels around the tree of a neuron that is learned from, and the least side of its image.
MARGIN, LEAST = 16, 160
#: Seeds of phantoms: those to learn from begin at one, those of the test at the other.
LEARNED_SEEDS, TEST_SEEDS = 100, 900
#: Knobs of the test's harder half.
HARDER = 0.5


@dataclass(frozen=True)
class Item:
    """An image, its tree's file, and the group in which it is scored."""

    name: str
    image: Path
    tree: Path
    voxel_size: Float3
    group: str

    @property
    def volume(self) -> Volume:
        """The image."""
        return open_volume(self.image, voxel_size=self.voxel_size, kind="image")


@dataclass(frozen=True)
class Items:
    """What a track learns from, in a fixed order, and its test."""

    learned: Sequence[Item]
    test: Sequence[Item]

    def account(self) -> dict[str, list[str]]:
        """Who is in which part, for the record."""
        groups = dict.fromkeys(item.group for item in self.test)
        parts = {group: [i.name for i in self.test if i.group == group] for group in groups}
        return {"learned": [i.name for i in self.learned], **parts}


def parts(rows: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Numbers of neurons: "learned", "neurons" (held out, of the same organism) and "organisms" (of all others)."""
    ours = [row["id"] for row in rows if row["organism"] == LEARNED_ORGANISM]
    ours.sort(key=lambda neuron: hashlib.sha256(neuron.encode()).digest())
    others = [row["id"] for row in rows if row["organism"] != LEARNED_ORGANISM]
    return {"learned": [n for i, n in enumerate(ours) if i % 4], "neurons": ours[::4], "organisms": others}


def projections(folder: Path, window: int | None) -> Items:
    """BigNeuron, cut and written to a folder: what is learned from to its tree, the test to the middle of the cable.

    Parameters
    ----------
    window
        Largest side of a test image, pixels; None for whole images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with opened() as neurons:
        found = {
            part: [_projection(neurons, n, folder, part, window) for n in names]
            for part, names in parts(neurons.aligned).items()
        }
    return Items(found["learned"], [*found["neurons"], *found["organisms"]])


def _projection(neurons: Neurons, neuron: str, folder: Path, part: str, window: int | None) -> Item:
    image, tree = folder / f"{neuron}.tif", folder / f"{neuron}.swc"
    item = Item(neuron, image, tree, (PIXEL_NM,) * 3, part)
    if not tree.is_file():
        pixels, gold = neurons.image(neuron), neurons.gold(neuron).projected()
        nodes_yx = gold.nodes_nm[:, 1:]  # in pixels: `bigneuron.read` makes a voxel one nm
        cut = _around(nodes_yx, pixels.shape) if part == "learned" else _middle(gold, pixels.shape, window)
        (y, end_y), (x, end_x) = cut
        tifffile.imwrite(image, pixels[None, y:end_y, x:end_x])
        placed = (gold.nodes_nm - [0.0, y, x] + [0.5, 0.0, 0.0]) * PIXEL_NM
        write_swc(replace(gold, nodes_nm=placed, radius_nm=gold.radius_nm * PIXEL_NM), tree, units="um")
    return item


Cut = list[tuple[int, int]]


def _around(nodes_yx: NDArray[np.float64], shape: tuple[int, ...]) -> Cut:
    """The part of an image that holds a tree; what is missing to the least side is added before it.

    The far end, which training holds back to calibrate on, is always near the tree.
    """
    cuts = []
    for low, high, n in zip(nodes_yx.min(axis=0), nodes_yx.max(axis=0), shape, strict=True):
        stop = min(n, max(LEAST, int(high) + MARGIN + 1))
        cuts.append((max(0, min(int(low) - MARGIN, stop - LEAST)), stop))
    return cuts


def _middle(tree: Skeleton, shape: tuple[int, ...], window: int | None) -> Cut:
    """The part of an image about the middle of the cable."""
    centre = np.median(tree.resampled(1.0).nodes_nm[:, 1:], axis=0)
    cuts = []
    for middle, n in zip(centre, shape, strict=True):
        side = n if window is None else min(n, window)
        start = min(max(0, round(middle) - side // 2), n - side)
        cuts.append((start, start + side))
    return cuts


def fly_stack(folder: Path) -> Items:
    """The 3-D fly neuron cut into pieces that are learned from, and the rest, 16 voxels away, with rivulet2's trace."""
    folder.mkdir(parents=True, exist_ok=True)
    where = Path(os.environ["NEUROPIL_DATA"]) / "lm_small"
    stack = tifffile.imread(where / "fly_neuron_119x415x409.tif")
    tree = read_swc(where / "fly_neuron_rivulet2_auto.swc", units="voxel", voxel_size=STACK_NM)

    def piece(name: str, group: str, y: slice, x: slice) -> Item:
        item = Item(name, folder / f"{name}.tif", folder / f"{name}.swc", STACK_NM, group)
        if not item.tree.is_file():
            tifffile.imwrite(item.image, stack[:, y, x])
            moved = tree.nodes_nm - np.multiply([0, y.start, x.start], STACK_NM)
            write_swc(replace(tree, nodes_nm=moved), item.tree, units="um")
        return item

    learned = [piece(f"fly x{x}", "learned", slice(96, 208), slice(x, x + 100)) for x in (50, 150, 250)]
    return Items(learned, [piece("fly y224", "rest of the stack", slice(224, 415), slice(0, 409))])


def phantoms(folder: Path, learned: int, tested: int, shapes: tuple[Any, Any], cable_um: float) -> Items:
    """Confocal phantoms written to a folder; the second half of the test is harder than what is learned from.

    Parameters
    ----------
    learned, tested
        How many.
    shapes
        Voxels z, y, x of those to learn from, and of the test.
    cable_um
        Of each neuron.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain, hard = "phantoms", "harder phantoms"
    return Items(
        [_phantom(folder, LEARNED_SEEDS + i, shapes[0], cable_um, "learned") for i in range(learned)],
        [
            _phantom(folder, TEST_SEEDS + i, shapes[1], cable_um, plain if 2 * i < tested else hard)
            for i in range(tested)
        ],
    )


def _phantom(folder: Path, seed: int, shape: tuple[int, int, int], cable_um: float, group: str) -> Item:
    config = LMPhantomConfig.confocal(seed=seed, shape=shape, cable_um=cable_um)
    made = LMPhantom(config.graded(HARDER) if group.startswith("harder") else config)
    name = f"phantom {seed}"
    item = Item(name, folder / f"{seed}.tif", folder / f"{seed}.swc", config.voxel_size, group)
    if not item.tree.is_file():
        tifffile.imwrite(item.image, made.image(made.box))
        write_swc(made.skeletons()[0], item.tree, units="um")
    return item
