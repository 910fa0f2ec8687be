"""What the project asks for, read from pyproject.toml, and all that comes with it in this environment."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def asked(lines: Iterable[str]) -> list[Requirement]:
    """Requirements of these lines that count here, without extras."""
    found = [Requirement(line) for line in lines]
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def everything() -> dict[str, list[Requirement]]:
    """Each package that `pip install neuropil` brings → what it asks for, in order of names."""
    found: dict[str, list[Requirement]] = {}
    todo = [one.name for one in asked(PROJECT["dependencies"])]
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in found:
            found[name] = asked(metadata.requires(name) or ())
            todo += [one.name for one in found[name]]
    return dict(sorted(found.items()))
