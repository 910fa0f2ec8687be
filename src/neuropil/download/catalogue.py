"""What can be downloaded: the table `sets.yaml`, typed and checked."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator, model_validator

from neuropil.config.base import Settings
from neuropil.errors import InputError

Layout = Literal["cremi", "snemi3d", "fib25", "isbi2012", "mitoem", "lucchi", "bigneuron", "checkpoint"]


class Licence(Settings):
    """Under which terms a set may be used."""

    name: str
    url: str = Field(description="where the terms stand")
    text: str = Field(description="what they come to, in a sentence or two")


class Source(Settings):
    """One file to fetch."""

    file: str = Field(description="the name under which it is kept, on disk and on mirrors")
    name: str = Field(description="the volume that it belongs to")
    url: str
    role: Literal["all", "image", "labels"] = "all"
    split: str = "train"
    hash: str | None = Field(None, description="ALGORITHM:HEX as pooch reads it; without one, pinned on first use")
    bytes: NonNegativeInt | None = Field(None, description="about")

    @field_validator("file")
    @classmethod
    def _plain(cls, value: str) -> str:
        if PurePosixPath(value).name != value:
            raise ValueError("a plain file name")
        return value


class DataSet(Settings):
    """A data set or checkpoint: what it is, whence it comes, under which terms, how it is laid out."""

    name: str
    what: str
    layout: Layout
    recipe: str | None = None
    settings: tuple[str, ...] = Field((), description="what training needs besides the recipe, as --set takes it")
    voxel_size: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(None, description="nm, z, y, x")
    room: float = Field(1.0, ge=1, description="disk needed while it is made, over the size of the download")
    splits: str
    licence: Licence
    citation: str
    account: bool = False
    how: str = Field("", description="how to get it, where a program cannot")
    checked: bool = Field(description="whether somebody here has fetched it from this address")
    told_by: str = Field(description="who states address, layout and hash")
    files: tuple[Source, ...]

    @model_validator(mode="after")
    def _obtainable(self) -> DataSet:
        if not self.files and not self.how:
            raise ValueError("files, or how to get them")
        return self

    @property
    def bytes(self) -> int | None:
        """About how large the download is, where that is known of the largest part."""
        known = [source.bytes for source in self.files if source.bytes is not None]
        return sum(known) if known else None


@cache
def catalogue() -> dict[str, DataSet]:
    """All sets, by name."""
    text = (resources.files("neuropil") / "download" / "sets.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return {name: DataSet.model_validate({**entry, "name": name}) for name, entry in table.items()}


def data_set(name: str) -> DataSet:
    """The set of a name.

    Raises
    ------
    InputError
        If there is none (the nearest name is given).
    """
    known = catalogue()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        fix = f"did you mean '{near[0]}'?" if near else "neuropil download lists them"
        raise InputError(f"no data set is called '{name}'", "one of " + ", ".join(known), fix)
    return known[name]
