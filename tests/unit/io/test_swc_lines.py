"""Lines of an SWC file that are read all at once mean what they mean when they are read one by one."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.errors import VolumeError
from neuropil.io import swc_text
from neuropil.io.swc_text import parse

ODD_NUMBERS = ["nan", "-NaN", "1.#IND", "-1.#QNAN0", "1.#INF", "inf", "1,5", "3d2", "-0.0", "+2.", "x", "1_0"]
BETWEEN = ["\t", ",", ", ", " ,", ",,", "  "]
BEHIND = [" # c", " #c", "#", "# a, b #c", " #soma", " 1.#IND", " ,", ",", "\t", " 7 8", " 1.#IND,5 -1"]
BETWEEN_LINES = ["# unit: um", " # x,y # z", "", "   ", "\t#q", " ,", "1 2"]


def a_line(rng: np.random.Generator, i: int, odd: float) -> str:
    """A node, each part of which is odd with this chance."""
    if rng.random() < odd / 4:
        return str(rng.choice(BETWEEN_LINES))
    numbers = [str(rng.choice(ODD_NUMBERS)) if rng.random() < odd / 4 else f"{rng.normal():.3f}" for _ in range(4)]
    text = " ".join([str(i), "3", *numbers, str(i - 1 or -1)])
    text = text.replace(" ", str(rng.choice(BETWEEN))) if rng.random() < odd else text
    return text + (str(rng.choice(BEHIND)) if rng.random() < odd else "")


def read(text: str) -> tuple[object, ...]:
    """Everything that is read of a text, or the error."""
    try:
        found = parse(text.encode(), "a.swc")
    except VolumeError as error:
        return (str(error),)
    columns = (found.number, found.kind, found.xyz, found.radius, found.parent, found.line)
    return *(repr(c.tolist()) for c in columns), found.unit, sorted(map(str, found.odd))


@pytest.mark.parametrize("odd", [0.01, 0.1, 0.4])
def test_read_at_once_or_one_by_one_it_is_the_same(monkeypatch, odd) -> None:
    rng = np.random.default_rng(0)
    ends = rng.choice(["\n", "\r\n", "\r"], 400)
    texts = [str(end).join(a_line(rng, i, odd) for i in range(1, 12)) for end in ends]
    at_once = [read(text) for text in texts]
    monkeypatch.setattr(
        swc_text, "_all_at_once", lambda data, starts, ends, plain, words: (plain & False, np.empty((0, 7)))
    )
    assert at_once == [read(text) for text in texts]
    whole = sum(len(found) > 1 for found in at_once)
    assert whole > 20, "too few of the files are without an error"


@pytest.mark.parametrize(
    "changed",
    [
        lambda line: line + " # odd",
        lambda line: line.replace(" ", ","),
        lambda line: line.replace(".", ","),
        lambda line: line.replace(" ", "\t"),
        lambda line: line.replace(" 5.5 ", " NaN "),
        lambda line: line.replace(" 5.5 ", " -1.#IND "),
    ],
    ids=["comments", "commas", "decimal commas", "tabs", "nan", "ind"],
)
def test_what_programs_add_to_every_line_is_not_read_line_by_line(monkeypatch, changed) -> None:
    lines = [f"{i} 3 {i}.25 0.5 1.5 5.5 {i - 1 or -1}" for i in range(1, 50)]
    met: list[int] = []
    slowly = swc_text._one_by_one
    monkeypatch.setattr(
        swc_text, "_one_by_one", lambda lines, numbers, name: met.append(len(lines)) or slowly(lines, numbers, name)
    )
    found, plain = (parse("\n".join(text).encode(), "a.swc") for text in ([changed(line) for line in lines], lines))
    assert met == [0, 0]
    np.testing.assert_array_equal(found.xyz, plain.xyz)
    np.testing.assert_array_equal(found.parent, plain.parent)
