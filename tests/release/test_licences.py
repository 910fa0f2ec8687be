"""Inventory of the licences of everything that `pip install neuropil` brings: permissive, LGPL as a library, never GPL."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from tests.release.tree import everything

#: What a licence may be called, in the first of: expression, classifiers, the licence field.
ACCEPTED = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|0BSD|Unlicense|CC0|MPL|Mozilla Public License|LGPL|"
    r"Lesser General Public License|HPND)\b",
    re.IGNORECASE,
)
REFUSED = re.compile(r"(?<!L)\bA?GPL|(?<!Lesser )General Public License(?! v2 or later \(LGPL)", re.IGNORECASE)
#: Libraries under the LGPL are used as such: installed beside us, replaceable by their users, none of their code in ours.
LGPL = {"connected-components-3d", "edt", "fastremap", "zmesh"}


def licence(name: str) -> str:
    """What a package states about its licence, in one line."""
    about = metadata.metadata(name)
    classified = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or () if line.startswith("License")]
    stated = [about.get("License-Expression"), *classified, (about.get("License") or "").strip().split("\n")[0][:80]]
    return " / ".join(dict.fromkeys(text for text in stated if text))


@pytest.mark.parametrize("name", everything())
def test_every_dependency_has_a_licence_that_we_accept(name: str) -> None:
    stated = licence(name)
    assert ACCEPTED.search(stated), f"{name}: '{stated}'"
    assert not REFUSED.search(stated), f"{name}: '{stated}'"


def test_the_libraries_under_the_lgpl_are_the_known_ones() -> None:
    lgpl = {name for name in everything() if re.search("LGPL|Lesser", licence(name), re.IGNORECASE)}
    assert lgpl == LGPL, "a change is a decision: say so in CONTRIBUTING.md"


@pytest.mark.parametrize(
    "stated", ["GPL-3.0-or-later", "GNU General Public License v3 (GPLv3)", "AGPL-3.0", "proprietary"]
)
def test_what_must_be_refused_is(stated: str) -> None:
    assert REFUSED.search(stated) or not ACCEPTED.search(stated)


@pytest.mark.parametrize(
    "stated", ["LGPL-3.0", "GNU Lesser General Public License v3 (LGPLv3)", "BSD-3-Clause", "Apache 2.0"]
)
def test_what_may_be_is_accepted(stated: str) -> None:
    assert ACCEPTED.search(stated)
    assert not REFUSED.search(stated)
