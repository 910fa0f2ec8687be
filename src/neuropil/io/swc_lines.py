"""What programs write between the numbers of an SWC file, blanked in all lines at once: comments and commas.

It works on bytes and keeps their places, so that lines stay where they are; whatever is not sure here stays as it is,
and is read line by line (`neuropil.io.swc_text`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Columns that the format names: id, type, x, y, z, radius, parent.
COLUMNS = 7
#: What is said of a line.
COMMENT, DECIMAL, BETWEEN = "a comment behind the numbers", "decimal commas", "commas between the numbers"

# of plain numbers; the letters are those of nan and inf
_PLAIN = np.zeros(256, bool)
_PLAIN[list(b"0123456789+-.eE \t\r\nnNaAiIfF")] = True
_SPACE = np.zeros(256, bool)
_SPACE[list(b" \t\r\n")] = True
#: Letters behind the # of 1.#IND, 1.#QNAN, 1.#SNAN and 1.#INF, which are numbers.
_NUMBER_GOES_ON = np.zeros(256, bool)
_NUMBER_GOES_ON[list(b"iqsIQS")] = True
#: No number, as some programs print it.
_NO_NUMBER = re.compile(rb"(?<!\S)[+-]?1\.#(?:ind|qnan|snan)\w*(?!\S)", re.I)


@dataclass(frozen=True)
class Survey:
    """Of each line, the number of its words, whether it has plain numbers only, and whether it is a comment."""

    words: Ints
    plain: Flags
    comment: Flags


def surveyed(data: Bytes, starts: Ints) -> Survey:
    """Look over the lines that begin at `starts`."""
    if not len(data):
        return Survey(np.zeros(1, np.int64), np.ones(1, bool), np.zeros(1, bool))
    word_at = _word_starts(data)
    edges = np.append(starts, len(data) + 1)
    first = np.searchsorted(word_at, edges)
    words = np.diff(first)
    odd_at = np.searchsorted(np.flatnonzero(~_PLAIN[data]), edges)
    comment = np.zeros(len(starts), bool)
    has = words > 0
    comment[has] = data[word_at[first[:-1][has]]] == ord("#")
    return Survey(words, np.diff(odd_at) == 0, comment)


def with_nan(text: bytes) -> bytes:
    """The text with every 1.#IND and the like as a nan of the same length."""
    return _NO_NUMBER.sub(lambda found: b"nan".ljust(len(found[0])), text) if b"1.#" in text else text


def blanked(data: Bytes, starts: Ints, ends: Ints, comment: Flags) -> tuple[Bytes, dict[str, Ints]]:
    """The bytes with comments behind numbers blanked and commas made spaces or points, and the lines of each (from 0).

    `data` itself where there is nothing to do; else a copy.
    """
    told: dict[str, Ints] = {}
    hashes = np.flatnonzero(data == ord("#"))
    if len(hashes) > int(comment.sum()):
        data = data.copy()
        told[COMMENT] = _without_comments(data, hashes, starts, ends, comment)
    commas = np.flatnonzero(data == ord(","))
    if len(commas):
        data = data.copy() if not told else data
        told[DECIMAL], told[BETWEEN] = _without_commas(data, commas, starts, comment)
    return data, told


def _without_comments(data: Bytes, hashes: Ints, starts: Ints, ends: Ints, comment: Flags) -> Ints:
    """Blank, in place, what follows a # in lines that begin with something else; these lines."""
    line = np.searchsorted(starts, hashes, side="right") - 1
    behind = data[np.minimum(hashes + 1, len(data) - 1)]
    unsure = np.zeros(len(starts), bool)
    unsure[line[_NUMBER_GOES_ON[behind] | (data[np.maximum(hashes - 1, 0)] == ord("."))]] = True
    ours = _first(line) & ~comment[line] & ~unsure[line]
    lines, begins = line[ours], hashes[ours]
    step = np.zeros(len(data) + 1, np.int8)
    step[begins] = 1
    step[ends[lines]] -= 1
    data[np.cumsum(step[:-1], dtype=np.int8) > 0] = ord(" ")
    return lines


def _without_commas(data: Bytes, commas: Ints, starts: Ints, comment: Flags) -> tuple[Ints, Ints]:
    """Make, in place, commas into points where they stand in numbers, else into spaces; the lines of both."""
    line = np.searchsorted(starts, commas, side="right") - 1
    commas, line = commas[~comment[line]], line[~comment[line]]
    word_at = _word_starts(data)
    word = np.searchsorted(word_at, commas, side="right")
    before, behind = data[np.maximum(commas - 1, 0)], data[np.minimum(commas + 1, len(data) - 1)]
    apart = _SPACE[before] | _SPACE[behind] | (commas == 0) | (commas == len(data) - 1)
    apart[1:] |= word[1:] == word[:-1]
    decimal = np.diff(np.searchsorted(word_at, np.append(starts, len(data) + 1))) >= COLUMNS
    decimal[line[apart]] = False
    data[commas] = np.where(decimal[line], ord("."), ord(" "))
    lines = line[_first(line)]
    return lines[decimal[lines]], lines[~decimal[lines]]


def _first(line: Ints) -> Flags:
    """Where each line is met first, of lines in rising order."""
    return np.diff(line, prepend=-1) > 0


def _word_starts(data: Bytes) -> Ints:
    space = _SPACE[data]
    begins = ~space
    begins[1:] &= space[:-1]
    return np.flatnonzero(begins)
