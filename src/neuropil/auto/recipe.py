"""`choose_recipe`: look at volumes, decide, and write the recipe down with one reason for each decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from neuropil.auto.choose import Decision, memory, pretext_for, recipe_for, sizes, without
from neuropil.auto.facts import ImageFacts, LabelFacts, image_facts, label_facts
from neuropil.auto.memory import available_bytes, step_memory
from neuropil.config import Config, load_config
from neuropil.config.load import config_of, recipe_values
from neuropil.geometry import Int3
from neuropil.io.swc import SUFFIXES
from neuropil.models import network_stride
from neuropil.plan import resolved
from neuropil.registry import TASKS
from neuropil.volume import Volume, VolumeLike, as_volume, require_kind

#: What `--recipe` is called to let the data choose, and the file that is written.
AUTO, FILE = "auto", "recipe.yaml"


@dataclass(frozen=True)
class Choice:
    """A recipe that was chosen.

    Parameters
    ----------
    facts
        What was measured, for people.
    decisions
        The first is the recipe.
    """

    facts: dict[str, str]
    decisions: tuple[Decision, ...]

    @property
    def base(self) -> str:
        """The shipped recipe that the others change."""
        return str(self.decisions[0].value)

    def config(self, words: Sequence[str] = ()) -> Config:
        """The settings, under those of the user ("a.b=value")."""
        return config_of(f"{AUTO} ({self.base})", self._values(), words)

    def _values(self) -> dict[str, Any]:
        values = recipe_values(self.base)
        for decision in self.decisions[1:]:
            *parents, last = decision.key.split(".")
            group = values
            for parent in parents:
                group = group.setdefault(parent, {})
            group[last] = decision.value
        return values

    def yaml(self) -> str:
        """The recipe as a file that `--recipe` takes: facts, then settings, each decision under its reason."""
        head = [f"# Chosen from the data (--recipe {AUTO}); give this file to --recipe to use it again.", "#"]
        head += [f"# {name}: {value}" for name, value in self.facts.items()]
        head += ["#", f"# begins as {self.base}: {self.decisions[0].reason}"]
        reasons = {decision.key: decision.reason for decision in self.decisions[1:]}
        return "\n".join([*head, *_lines(self._values(), (), reasons)]) + "\n"

    def show(self) -> None:
        """Say on stderr what was seen and what was decided."""
        from rich.console import Console
        from rich.table import Table

        console = Console(stderr=True)
        seen = Table("seen", "", box=None, pad_edge=False)
        for name, value in self.facts.items():
            seen.add_row(name, value)
        decided = Table("setting", "chosen", "because", box=None, pad_edge=False)
        for decision in self.decisions:
            decided.add_row(decision.key, str(decision.value), decision.reason)
        console.print(seen)
        console.print(decided)


def _lines(values: Mapping[str, Any], parents: tuple[str, ...], reasons: Mapping[str, str]) -> list[str]:
    found, pad = [], "  " * len(parents)
    for name, value in values.items():
        path = (*parents, name)
        if isinstance(value, Mapping):
            found += [f"{pad}{name}:", *_lines(value, path, reasons)]
            continue
        if reason := reasons.get(".".join(path)):
            found.append(f"{pad}# {reason}")
        # a scalar alone ends in "...", which is no part of it
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").rstrip("\n")
        found.append(f"{pad}{name}: {text}")
    return found


def choose_recipe(images: Sequence[Volume], labels: Sequence[VolumeLike], words: Sequence[str]) -> Choice:
    """Choose how to train on labelled volumes.

    Parameters
    ----------
    images, labels
        In pairs; labels may be anything that some task takes as its truth (SWC files too).
    words
        Settings of the user, "a.b=value", about which nothing is decided.

    Raises
    ------
    ConfigError
        If the data leave open what is meant, or nothing fits into memory; the candidates are named.
    InputError
        If there is nothing to look at.
    """
    image = image_facts(images)
    seen = label_facts([_truth(given, one, words) for given, one in zip(labels, images, strict=True)])
    begun = without(recipe_for(image, seen), words)
    draft = Choice({}, tuple(begun)).config(words)
    multiple = _multiple(draft, image)
    decided = [*begun, *sizes(image, seen, multiple, min_labelled=draft.data.min_labelled)]
    config = Choice({}, tuple(without(decided, words))).config([*words, "train.batch=1"])
    one = step_memory(resolved(_seen(config, image), image.voxel_size, multiple), image.voxel_size)
    free = available_bytes()
    decided += memory(image, seen, one, free, batch=draft.train.batch)
    return Choice(_told(image, seen, free), tuple(without(decided, words)))


def choose_pretext(images: Sequence[Volume], words: Sequence[str]) -> Choice:
    """Choose how to learn from volumes without labels; see `choose_recipe`."""
    image = image_facts(images)
    return Choice(_told(image, None, available_bytes()), tuple(without(pretext_for(image), words)))


def _truth(given: VolumeLike, image: Volume, words: Sequence[str]) -> Volume:
    """Labels as they are stored, or trees on the image's grid."""
    if _is_tree(given):
        trees: Volume = TASKS.resolve("trees").truth(given, image, None, load_config("lm_neuron", words))
        return trees
    volume = as_volume(given, voxel_size=image.voxel_size)
    return volume.with_kind("labels") if volume.kind == "mask" else require_kind(volume, "labels")


def _is_tree(given: VolumeLike) -> bool:
    if isinstance(given, Volume):
        return False
    path = Path(given)
    files = path.iterdir() if path.is_dir() else [path]
    return any(file.suffix.lower() in SUFFIXES for file in files)


def _seen(config: Config, image: ImageFacts) -> Config:
    model = config.model.model_copy(update={"flat": image.flat})
    return config.model_copy(update={"model": model})


def _multiple(config: Config, image: ImageFacts) -> Int3:
    """What extents of crops are multiples of; see `neuropil.plan.resolved`."""
    stride = network_stride(_seen(config, image).model, image.voxel_size)
    return (1 if image.flat else max(2, stride[0])), max(8, stride[1]), max(8, stride[2])


def _told(image: ImageFacts, labels: LabelFacts | None, free: int) -> dict[str, str]:
    z, y, x = image.voxel_size
    told = {
        "voxel size": f"{z:g} x {y:g} x {x:g} nm, sections {image.anisotropy:.3g} times as thick as pixels are wide",
        "images": ", ".join(" x ".join(str(n) for n in shape) for shape in image.shapes[:4])
        + (f" and {len(image.shapes) - 4} more" if len(image.shapes) > 4 else ""),
        "median grey level": f"{image.level:.2f} of the range",
    }
    if labels is not None:
        told |= {
            "labels": f"{labels.truth}, {labels.ids} seen",
            "labelled": f"{labels.labelled:.2%} of the voxels, {labels.voxels / 1e6:.3g} Mvoxel",
            "annotated": f"{labels.annotated:.0%}",
            "running through": f"{labels.crossing:.0%} of what is labelled",
        }
    return {**told, "free memory": f"{free / 2**30:.3g} GiB"}
