"""What the project says about itself is one thing, wherever it says it."""

from __future__ import annotations

import re

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.release.tree import EXTRAS, PROJECT, ROOT

import neuropil


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {PROJECT["version"], citation["version"]} == {neuropil.__version__}
    assert citation["license"] == PROJECT["license"]
    assert f"({neuropil.__version__})" in (ROOT / "CHANGELOG.md").read_text() or re.search(
        rf"(?m)^## {re.escape(neuropil.__version__)}", (ROOT / "CHANGELOG.md").read_text()
    )


def test_a_citation_has_what_its_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert all("name" in author or "family-names" in author for author in citation["authors"])


def test_requirements_are_named_once_and_have_a_lowest_version() -> None:
    for group in (PROJECT["dependencies"], *EXTRAS.values()):
        names = [canonicalize_name(Requirement(line).name) for line in group]
        assert names == sorted(set(names))
    for line in (line for name, group in EXTRAS.items() for line in group if name != "dev"):
        assert [clause.operator for clause in Requirement(line).specifier] == [">="], line
    for line in PROJECT["dependencies"]:
        assert [clause.operator for clause in Requirement(line).specifier] == [">="], line


def test_what_an_extra_asks_for_in_two_places_is_the_same() -> None:
    asked: dict[str, set[str]] = {}
    for line in [*PROJECT["dependencies"], *(line for group in EXTRAS.values() for line in group)]:
        found = Requirement(line)
        asked.setdefault(canonicalize_name(found.name), set()).add(str(found.specifier))
    assert {name: bounds for name, bounds in asked.items() if len(bounds) > 1} == {}


def test_everything_asked_for_is_pinned_within_its_bounds() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] not in "#-"]
    pinned = {canonicalize_name(Requirement(line).name): str(Requirement(line).specifier)[2:] for line in lines}
    absent = {"napari", "wandb"}  # extras that are not part of the environment for tests
    for line in [*PROJECT["dependencies"], *(line for group in EXTRAS.values() for line in group)]:
        found = Requirement(line)
        name = canonicalize_name(found.name)
        if name not in absent:
            assert found.specifier.contains(pinned[name], prereleases=True), line


def test_lowest_versions_are_those_of_the_bounds() -> None:
    lines = (ROOT / "constraints-min.txt").read_text().splitlines()
    lowest = {line.split("==")[0]: line.split("==")[1] for line in lines if line and not line.startswith("#")}
    asked = [Requirement(line) for line in PROJECT["dependencies"]]
    assert set(lowest) == {canonicalize_name(found.name) for found in asked}
    for found in asked:
        (bound,) = found.specifier
        assert bound.version == lowest[canonicalize_name(found.name)], "run: python bench/install.py min"
