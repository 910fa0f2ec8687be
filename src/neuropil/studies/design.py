"""What a study of label efficiency compares: arms, label budgets and seeds, from one YAML file."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from neuropil.config import load_config
from neuropil.config.base import Settings
from neuropil.errors import ConfigError
from neuropil.geometry import Box, Int3

#: Tasks whose scores a study knows.
TASKS = ("neurons", "mitochondria", "semantic")


class Pair(Settings):
    """An image and its labels, "file.h5:dataset"; $NAME stands for a variable of the environment."""

    image: str
    labels: str

    @field_validator("image", "labels")
    @classmethod
    def _expanded(cls, text: str) -> str:
        return os.path.expandvars(text)


class Arm(Settings):
    """One way to get a network.

    Attributes
    ----------
    pretrain
        Recipe of pretraining; from scratch when empty.
    init
        A run, or weights, made elsewhere (an inflated encoder, say) to begin with instead; $NAME is expanded.
    pretrain_set, train_set
        Settings of either part beside those of the study.
    """

    pretrain: str | None = None
    init: str | None = None
    pretrain_set: tuple[str, ...] = ()
    train_set: tuple[str, ...] = ()

    @field_validator("init")
    @classmethod
    def _expanded(cls, text: str | None) -> str | None:
        return None if text is None else os.path.expandvars(text)

    @model_validator(mode="after")
    def _one_origin(self) -> Arm:
        if self.pretrain is not None and self.init is not None:
            raise ValueError("an arm pretrains or begins with weights made elsewhere, not both")
        return self


class Design(Settings):
    """A study.

    Attributes
    ----------
    train
        Labelled volumes; a budget is a part of each.
    test
        Never trained on, never calibrated on.
    unlabelled
        What is pretrained on.
    budgets
        Shares of the labels, 0..1; calibration slabs are taken from within them.
    budget_of
        Whether a share is a part of every volume ("voxels"), or some of the volumes whole ("volumes").
    seeds
        Each seeds pretraining, training, and the place of the labelled part.
    pretrain_steps, train_steps
        The same for all arms.
    train_budget
        Wall time of each training ("10m") instead of a number of steps, to compare networks that differ in cost.
    reference
        The arm that others are compared with.
    """

    name: str
    train: tuple[Pair, ...] = Field(min_length=1)
    test: tuple[Pair, ...] = Field(min_length=1)
    unlabelled: tuple[str, ...] = ()
    budgets: tuple[float, ...] = (0.05, 0.25, 1.0)
    budget_of: Literal["voxels", "volumes"] = "voxels"
    seeds: tuple[int, ...] = (0, 1, 2)
    pretrain_steps: PositiveInt = 5000
    train_steps: PositiveInt = 1000
    train_budget: str | None = None
    pretrain_set: tuple[str, ...] = ()
    train_set: tuple[str, ...] = ()
    recipe: str = "em_neurons"
    reference: str = "scratch"
    arms: dict[str, Arm] = Field(min_length=2)

    @field_validator("unlabelled")
    @classmethod
    def _expanded(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(os.path.expandvars(name) for name in names)

    @field_validator("budgets")
    @classmethod
    def _shares(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        if not budgets or not all(0 < b <= 1 for b in budgets):
            raise ValueError("shares of the labels above 0 and up to 1")
        return tuple(sorted(set(budgets)))

    @model_validator(mode="after")
    def _fits(self) -> Design:
        if self.reference not in self.arms:
            raise ValueError(f"reference '{self.reference}' is none of the arms: {', '.join(self.arms)}")
        if any(arm.pretrain for arm in self.arms.values()) and not self.unlabelled:
            raise ValueError("arms that pretrain need volumes under 'unlabelled'")
        if self.task not in TASKS:
            raise ValueError(f"recipe '{self.recipe}' is of {self.task}; studies score {', '.join(TASKS)}")
        return self

    @property
    def task(self) -> str:
        """What the networks learn, from the recipe."""
        return load_config(self.recipe, self.train_set).task

    @property
    def fingerprint(self) -> str:
        """Changes whenever the numbers could: all but which budgets and seeds there are, and the arms themselves."""
        shared = self.model_dump(mode="json", exclude={"arms", "budgets", "seeds", "reference"})
        for name, only in (("budget_of", "voxels"), ("train_budget", None)):
            if shared[name] == only:
                del shared[name]  # studies that were begun before there was a choice go on
        return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]

    def cells(self) -> Iterator[Cell]:
        """All that is to be run, seeds outermost: every arm has a first result early."""
        for seed, budget, arm in itertools.product(self.seeds, self.budgets, self.arms):
            yield Cell(arm, budget, seed)


@dataclass(frozen=True)
class Cell:
    """One training: an arm, a label budget and a seed."""

    arm: str
    budget: float
    seed: int

    @property
    def name(self) -> str:
        """A name for files."""
        return f"{self.arm}_{self.budget:g}_s{self.seed}"


def read_design(path: str | os.PathLike[str]) -> Design:
    """Read a study.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or does not say what it must.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"study '{file}' does not exist",
            "a YAML file; bench/experiments/ holds examples",
            "correct the path, or copy one of them",
        )
    try:
        values: Any = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"study '{file}' is not YAML: {error}", "YAML", "mend the line that is named") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"study '{file}' holds a {type(values).__name__}",
            "keys such as name, train, test, arms",
            "see bench/experiments/ for examples",
        )
    try:
        return Design.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "study"
        raise ConfigError(
            f"'{file}': {where} = {problem.get('input')!r}"[:300], str(problem["msg"]), "correct that line of the study"
        ) from None


def labelled_part(box: Box, share: float, seed: int, least: Int3) -> Box:
    """A part of a volume with about this share of its voxels, its shape that of the whole, somewhere by the seed.

    Parameters
    ----------
    least
        Voxels along each axis below which no part goes: room for a training crop and a slab to calibrate on.
    """
    if share >= 1:
        return box
    low, high = 0.0, 1.0
    for _ in range(60):
        # where an axis is whole or as short as it may be, the others make up for it
        middle = (low + high) / 2
        low, high = (middle, high) if math.prod(_sides(box, middle, least)) < share * box.size else (low, middle)
    shape = [round(side) for side in _sides(box, high, least)]
    # a number for every axis from the seed alone, the same for all arms
    digest = hashlib.sha256(f"{seed} {share:g}".encode()).digest()
    start = [
        a + round((n - s) * digest[i] / 255)
        for i, (a, n, s) in enumerate(zip(box.start, box.shape, shape, strict=True))
    ]
    stop = [a + s for a, s in zip(start, shape, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), box.voxel_size)


def labelled_few(count: int, share: float, seed: int) -> list[int]:
    """Which of some volumes are labelled: at least one, larger shares hold those of smaller ones."""
    order = sorted(range(count), key=lambda i: hashlib.sha256(f"{seed} {i}".encode()).digest())
    return sorted(order[: max(1, round(share * count))])


def _sides(box: Box, scale: float, least: Int3) -> list[float]:
    return [min(n, max(m, n * scale)) for n, m in zip(box.shape, least, strict=True)]
