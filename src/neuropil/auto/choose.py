"""From facts to a recipe and settings, each with its reason; what facts leave open is an error with the candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neuropil.auto.facts import ImageFacts, LabelFacts
from neuropil.auto.memory import StepMemory
from neuropil.errors import ConfigError
from neuropil.geometry import Int3
from neuropil.plan import CROP_VOXELS, default_extent, flat_extent

#: Median grey level up to which an image is one of dyes, and from which it is one of electrons (`ImageFacts.level`);
#: developer volumes: 0.00 to 0.05, and 0.45 to 0.58.
DYES, ELECTRONS = 0.2, 0.3
#: Share of labelled voxels from which objects are all of the tissue: organelles of one kind never fill half of it.
DENSE = 0.5
#: Share of labelled voxels in objects that run through what was seen: compact ones below, neurites above.
COMPACT, RUNNING = 0.55, 0.7
#: Crops that labels should hold, and the volumes (voxels) that a crop may have when they do not.
ENOUGH_CROPS, SMALLER = 16, (48**3, 32**3, 24**3)
#: Least voxels along its axis of what is held back, and the largest share that it may be for that.
SLAB, LARGEST_SLAB = 12, 0.3
#: Share of the free memory that crops may take, and that volumes in memory may.
_STEP_SHARE, _CACHE_SHARE = 0.5, 0.3
_LARGEST_BATCH = 4


@dataclass(frozen=True)
class Decision:
    """One setting and why it has its value. The key "recipe" is the recipe that all others change."""

    key: str
    value: Any
    reason: str


def microscope(image: ImageFacts) -> str:
    """ "em" or "lm".

    Raises
    ------
    ConfigError
        If grey values could be of either.
    """
    if image.level <= DYES:
        return "lm"
    if image.level >= ELECTRONS:
        return "em"
    raise _unclear(
        f"a median grey level of {image.level:.2f} of the range: neither dark but for neurites nor tissue everywhere",
        "--recipe lm_neuron (dyes) or --recipe em_neurons (electrons)",
    )


def recipe_for(image: ImageFacts, labels: LabelFacts) -> list[Decision]:
    """The recipe of labelled volumes, and what else belongs to what the labels are.

    Raises
    ------
    ConfigError
        If more than one recipe could be meant.
    """
    if labels.truth == "trees":
        return [Decision("recipe", "lm_neuron", "labels are trees (SWC), which this recipe learns from")]
    if microscope(image) == "lm":
        return _of_dyes(image, labels)
    seen = f"grey level {image.level:.2f}: an electron microscope"
    if labels.truth == "mask":
        why = f"{seen}; one id: a mask. For single organelles: em_mitochondria with organelles.components=true"
        return [Decision("recipe", "em_semantic", why)]
    if labels.truth == "classes":
        raise _unclear(
            f"{labels.ids} ids, each in many pieces: classes of voxels, not objects",
            "--recipe em_semantic (all of them as one), or --recipe em_mitochondria --set organelles.components=true "
            "(each piece an object)",
        )
    share = labels.labelled / max(labels.annotated, 1e-9)
    if share >= DENSE:
        why = f"{seen}; {labels.ids} objects fill {share:.0%} of the annotated voxels: dense neurons"
        return [Decision("recipe", "em_neurons", why)]
    if labels.crossing <= COMPACT:
        why = f"{seen}; {labels.ids} objects fill {share:.0%}, and most end inside of what was seen: organelles"
        return [Decision("recipe", "em_mitochondria", why)]
    if labels.crossing >= RUNNING:
        why = f"{seen}; {labels.ids} objects fill only {share:.0%} but run through what was seen: a few of many neurons"
        return [
            Decision("recipe", "em_neurons", why),
            Decision(
                "data.zero_label", "ignore", "where few neurons are labelled, label 0 is not membrane but unknown"
            ),
        ]
    raise _unclear(
        f"{labels.ids} objects that fill {share:.0%}, of which {labels.crossing:.0%} runs through what was seen: "
        "neurons or organelles",
        "--recipe em_neurons --set data.zero_label=ignore, or --recipe em_mitochondria",
    )


def _of_dyes(image: ImageFacts, labels: LabelFacts) -> list[Decision]:
    seen = f"grey level {image.level:.2f}: dyes on a dark background"
    if labels.truth == "instances":
        raise _unclear(
            f"{seen}, with {labels.ids} objects: one neuron in pieces, or several things",
            "--recipe lm_neuron (all of them as one foreground), or --recipe em_mitochondria (objects of their own)",
        )
    return [Decision("recipe", "lm_neuron", f"{seen}; labels are one foreground")]


def sizes(image: ImageFacts, labels: LabelFacts, multiple: Int3, *, min_labelled: float) -> list[Decision]:
    """How large crops are and how much is held back, by the amount of labels.

    Parameters
    ----------
    multiple
        Voxels that extents of crops must be multiples of, z, y, x.
    min_labelled
        As the recipe has it.
    """
    found = []
    annotated = sum(math.prod(region) for region in labels.regions) * labels.annotated
    wanted = next((v for v in (CROP_VOXELS, *SMALLER) if annotated >= ENOUGH_CROPS * v), SMALLER[-1])
    why = f"{annotated / 1e6:.3g} Mvoxel are annotated: crops of this size are {annotated / wanted:.0f} different ones"
    smallest = [min(shape[axis] for shape in image.shapes) for axis in range(3)]
    extent, usual = (_extent(image, voxels, multiple) for voxels in (wanted, CROP_VOXELS))
    z, y, x = (min(e, max(m, s // m * m)) for e, m, s in zip(extent, multiple, smallest, strict=True))
    if (z, y, x) != extent:
        why = f"the smallest volume has {smallest} voxels" + (f"; {why}" if wanted != CROP_VOXELS else "")
    if (z, y, x) != usual:
        found.append(Decision("data.crop", [z, y, x], why))
    longest = min(max(region) for region in labels.regions)
    if longest * 0.12 < SLAB:
        share = round(min(LARGEST_SLAB, SLAB / longest), 2)
        found.append(Decision("data.validation", share, f"12 % of {longest} sections would be too few to calibrate on"))
    if labels.truth != "trees" and labels.labelled < 2 * min_labelled:
        value = float(f"{labels.labelled / 5:.1g}")
        why = f"{labels.labelled:.2%} of the voxels are labelled: a crop is taken from this share on"
        found.append(Decision("data.min_labelled", value, why))
    return found


def memory(image: ImageFacts, labels: LabelFacts, step: StepMemory | None, free: int, *, batch: int) -> list[Decision]:
    """Batch and cache, by what is free (bytes); `step` is what a batch of one takes, where it could be counted.

    Raises
    ------
    ConfigError
        If not even one crop fits.
    """
    found = []
    if step is not None:
        room = _STEP_SHARE * free - step.weights
        one = max(1, step.total - step.weights)
        if one > 2 * room:
            raise ConfigError(
                f"one crop takes about {step.total / 2**30:.2g} GiB, and {free / 2**30:.2g} GiB are free",
                "a step of training that fits",
                "--set data.crop=[…] with fewer voxels, or fewer --set model.channels",
            )
        fits = max(1, min(_LARGEST_BATCH, int(room / one)))
        if fits < batch:
            why = f"{batch} crops would take {(step.weights + batch * one) / 2**30:.2g} of {free / 2**30:.2g} free GiB"
            found.append(Decision("train.batch", fits, why))
    need = image.bytes + 5 * sum(math.prod(region) for region in labels.regions)
    if 2 * 2**30 < need <= _CACHE_SHARE * free:
        gib = float(math.ceil(need / 2**30))
        found.append(Decision("data.cache_gb", gib, f"all volumes take {need / 2**30:.2g} GiB, and that is free"))
    elif need > _CACHE_SHARE * free and _CACHE_SHARE * free < 2 * 2**30:
        gib = round(_CACHE_SHARE * free / 2**30, 2)
        found.append(
            Decision("data.cache_gb", gib, f"{free / 2**30:.2g} GiB of memory are free: the rest is read by box")
        )
    return found


def pretext_for(image: ImageFacts) -> list[Decision]:
    """The recipe of volumes without labels."""
    kind = microscope(image)
    why = f"grey level {image.level:.2f}; its U-Net is that of "
    if kind == "em":
        taken = "em_neurons, em_mitochondria and em_semantic: train --init takes it as it is"
        return [Decision("recipe", "multiscale", why + taken)]
    found = [Decision("recipe", "multiscale", why + "lm_neuron, once it has its channels: train --init takes it so")]
    return [*found, Decision("model.channels", [16, 32, 64, 96], "as lm_neuron has them")]


def _extent(image: ImageFacts, voxels: int, multiple: Int3) -> Int3:
    return flat_extent(voxels, multiple) if image.flat else default_extent(image.voxel_size, voxels, multiple)


def _unclear(got: str, candidates: str) -> ConfigError:
    return ConfigError(f"--recipe auto cannot tell: {got}", "facts that fit one recipe", f"say which: {candidates}")


def without(decisions: Sequence[Decision], words: Sequence[str]) -> list[Decision]:
    """Decisions that the user has not made (`words` are "a.b=value")."""
    said = {word.partition("=")[0].strip() for word in words}
    return [decision for decision in decisions if decision.key not in said]
