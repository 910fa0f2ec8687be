"""The text of an SWC file → a table of numbers, whatever program wrote it: what was odd about it is told, not hidden.

Lines of plain numbers are read all at once, those with comments behind the numbers or commas too (see
`neuropil.io.swc_lines`); only odder ones (`1d3`, other columns than most, ...) are read one by one, so that a
file of 10⁶ nodes takes about as long as its size says.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from neuropil.errors import VolumeError
from neuropil.io.swc_lines import BETWEEN, COLUMNS, COMMENT, DECIMAL, Bytes, Flags, Ints, blanked, surveyed, with_nan

Floats = npt.NDArray[np.float64]

#: Lines that a message names.
_NAMED = 5
#: Whole numbers beyond are not exact in a float.
_EXACT = 2.0**53
_UNIT = re.compile(r"^#\s*units?\s*[:=]\s*(\S+)\s*$|^#\s*All positions and radii in (\S+)\s*$", re.I)
#: A comment's begin; some programs print NaN as 1.#IND.
_COMMENT = re.compile(r"(?<!\.)#|#(?!ind|qnan|snan|inf)", re.I)
_TRIPLE = re.compile(r"^#\s*(voxel_size_nm|origin_nm)\s*[:=]\s*(\S+)\s+(\S+)\s+(\S+)\s*$", re.I)


@dataclass(frozen=True)
class Oddity:
    """One kind of oddity of a file.

    `lines` are the first lines where it was met, from 1; `changed` says that what was read is not what is written
    there, as opposed to what is merely unusual.
    """

    what: str
    count: int
    lines: tuple[int, ...] = ()
    changed: bool = False

    def __str__(self) -> str:
        named = f", line {', '.join(map(str, self.lines))}" if self.lines else ""
        return f"{self.what} ({self.count}{named}{', ...' if self.count > len(self.lines) > 0 else ''})"


def oddity(what: str, lines: npt.ArrayLike, *, changed: bool) -> list[Oddity]:
    """The oddity met on these lines; none without any."""
    where = np.sort(np.asarray(lines, np.int64).ravel())
    first = tuple(int(n) for n in where[:_NAMED])
    return [Oddity(what, len(where), first, changed)] if len(where) else []


@dataclass
class Table:
    """The rows of a file: numbers as they are written, the line of each row (from 1), and what its head states.

    `number`, `kind`, `parent` are (N,) integers; `xyz` is (N, 3) and `radius` (N,) in the unit of the file.
    """

    number: Ints
    kind: Ints
    xyz: Floats
    radius: Floats
    parent: Ints
    line: Ints
    unit: str | None = None
    triples: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    odd: list[Oddity] = field(default_factory=list)

    def rows(self, keep: Flags) -> Table:
        """Some of the rows."""
        number, kind, parent, line = (c[keep] for c in (self.number, self.kind, self.parent, self.line))
        xyz, radius = self.xyz[keep], self.radius[keep]
        return Table(number, kind, xyz, radius, parent, line, self.unit, self.triples, self.odd)


def parse(raw: bytes, name: str) -> Table:
    """Read the text of a file.

    Raises
    ------
    VolumeError
        If it holds no node, or a line that is neither a comment nor seven numbers; the lines are named.
    """
    text, odd = _as_ascii(raw, name)
    data: Bytes = np.frombuffer(with_nan(text), np.uint8)
    ends = np.append(np.flatnonzero(data == ord("\n")), len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    written = surveyed(data, starts)
    data, told = blanked(data, starts, ends, written.comment)
    seen = surveyed(data, starts) if told else written
    for what, mark in (("lines that end as on Windows", b"\r\n"), ("tabs", b"\t")):
        odd += [Oddity(what, text.count(mark))] if mark in text else []
    quick, values = _all_at_once(data, starts, ends, seen.plain & (seen.words >= COLUMNS), seen.words)
    slow = np.flatnonzero(~quick & ~written.comment & (written.words > 0))
    if len(slow) and not quick[: slow[0]].any() and _is_head(text[starts[slow[0]] : ends[slow[0]]]):
        odd += oddity("names of columns without a #", slow[:1] + 1, changed=False)
        slow = slow[1:]
    rows = _one_by_one([text[starts[i] : ends[i]] for i in slow], slow + 1, name)
    where = np.concatenate([np.flatnonzero(quick) + 1, slow + 1])
    order = np.argsort(where, kind="stable")
    table = _table(np.concatenate([values[:, :COLUMNS], rows.floats])[order], where[order])
    if len(slow) and rows.large:
        table.number[order >= len(values)] = [rows.ids[i - len(values)] for i in order if i >= len(values)]
        table.parent[order >= len(values)] = [rows.parents[i - len(values)] for i in order if i >= len(values)]
    if not len(where):
        raise VolumeError(f"'{name}' holds no node", "lines of id, type, x, y, z, radius, parent", "check the file")
    wide = np.flatnonzero(quick & (values.shape[1] > COLUMNS)) + 1
    odd += oddity("columns beyond the seven, not kept", np.append(wide, rows.wide), changed=True)
    for what in (COMMENT, DECIMAL, BETWEEN):
        at = told.get(what, np.empty(0, np.int64))
        odd += oddity(what, np.append(at[quick[at]] + 1, rows.met.get(what, [])), changed=False)
    table.odd = odd + _radii(table)
    _stated(text, starts, ends, written.comment, table)
    return table


@dataclass
class _Rows:
    """What was read one by one; `large` says that whole numbers beyond 2⁵³ are among it."""

    floats: Floats
    ids: list[int]
    parents: list[int]
    wide: list[int]
    met: dict[str, list[int]]
    large: bool


def _as_ascii(raw: bytes, name: str) -> tuple[bytes, list[Oddity]]:
    """The text with line feeds, without a byte order mark, one byte a letter."""
    odd: list[Oddity] = []
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            raw = raw.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise VolumeError(f"'{name}' is not text ({error})", "an SWC file", "copy it again") from error
        odd.append(Oddity("text in UTF-16", 1))
    if raw.startswith(b"\xef\xbb\xbf"):
        raw = raw[3:]
        odd.append(Oddity("a byte order mark", 1))
    if b"\0" in raw:
        raise VolumeError(f"'{name}' is not text", "an SWC file", "check what the file is")
    if b"\r" in raw and b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")
        odd.append(Oddity("lines that end in a carriage return only", raw.count(b"\n")))
    return raw, odd


def _all_at_once(data: Bytes, starts: Ints, ends: Ints, plain: Flags, words: Ints) -> tuple[Flags, Floats]:
    """Which of the plain lines are read (those of the commonest width), and their numbers, (N, width).

    None are, if one of them is no row of numbers after all.
    """
    width = int(np.bincount(words[plain]).argmax()) if plain.any() else COLUMNS
    quick = plain & (words == width)
    values = _numbers(data, starts, ends, quick, width)
    return (np.zeros_like(quick), np.empty((0, width))) if values is None else (quick, values)


def _numbers(data: Bytes, starts: Ints, ends: Ints, quick: Flags, width: int) -> Floats | None:
    """The numbers of these lines, (N, width); None if one of them is none after all."""
    if quick.all():
        chosen = data
    else:
        marks = np.zeros(len(data) + 1, np.int8)
        marks[starts[quick]] += 1
        marks[np.minimum(ends[quick] + 1, len(data))] -= 1
        chosen = data[np.cumsum(marks[:-1], dtype=np.int8) > 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            # a malformed number either stops the reading, or counts as two: nothing odd can come out in order
            values = np.fromstring(chosen.tobytes().decode("ascii"), sep=" ")  # type: ignore[call-overload]
        except (DeprecationWarning, ValueError):
            return None
    if len(values) != width * int(quick.sum()):
        return None
    rows = np.asarray(values.reshape(-1, width))
    whole = rows[:, [0, 1, 6]]
    fine = (np.abs(whole) < _EXACT).all() and (whole == np.floor(whole)).all() and np.isfinite(rows[:, 2:5]).all()
    return rows if fine else None


def _one_by_one(lines: Sequence[bytes], numbers: Ints, name: str) -> _Rows:
    """Read odd lines; every one of them is a node, or the error names it."""
    rows = _Rows(np.empty((len(lines), COLUMNS)), [], [], [], {}, large=False)
    bad: list[tuple[int, str]] = []
    for i, (line, number) in enumerate(zip(lines, numbers.tolist(), strict=True)):
        words, notes = _words(line.decode("utf-8", "replace"))
        values = [_number(w) for w in words[:COLUMNS]]
        ids = [_whole(w) for w in (words[0], words[1], words[6])] if len(words) >= COLUMNS else [None]
        if None in ids or not all(v is not None and math.isfinite(v) for v in values[:5]):
            bad.append((number, line.decode("utf-8", "replace").strip()))
            continue
        rows.floats[i] = [math.nan if v is None else v for v in values]
        rows.ids.append(int(ids[0] or 0))
        rows.parents.append(int(ids[2] or 0))
        rows.large |= abs(rows.ids[-1]) >= _EXACT or abs(rows.parents[-1]) >= _EXACT
        if len(words) > COLUMNS:
            rows.wide.append(number)
        for note in notes:
            rows.met.setdefault(note, []).append(number)
    if bad:
        where, text = bad[0]
        more = f", and {len(bad) - 1} more such lines" if len(bad) > 1 else ""
        raise VolumeError(
            f"'{name}' line {where}: '{text[:80]}' is not seven numbers with a finite place{more}",
            "id type x y z radius parent on every line",
            "correct the line, or begin it with # to leave it out; if it is the last one, the file was cut short",
        )
    return rows


def _words(line: str) -> tuple[list[str], list[str]]:
    """The words of a line without what follows #, and what was odd about them."""
    body, *more = _COMMENT.split(line, maxsplit=1)
    notes = [COMMENT] if more else []
    words = body.split()
    if "," in body:
        inside = all(not w.startswith(",") and not w.endswith(",") and w.count(",") <= 1 for w in words)
        if len(words) >= COLUMNS and inside:
            return [w.replace(",", ".") for w in words], [*notes, DECIMAL]
        return body.replace(",", " ").split(), [*notes, BETWEEN]
    return words, notes


def _is_head(line: bytes) -> bool:
    """Whether a line names the columns: at least seven words, and none of them is a number."""
    words = line.decode("utf-8", "replace").replace(",", " ").split()
    return len(words) >= COLUMNS and all(_number(w) is None for w in words)


def _number(word: str) -> float | None:
    """A number in any of the ways that programs print one; None for what is none."""
    if "_" in word:  # Python reads 1_000, no other program does
        return None
    try:
        return float(word)
    except ValueError:
        pass
    if re.fullmatch(r"[+-]?\d*\.?\d*[dD][+-]?\d+", word):
        return _number(re.sub("[dD]", "e", word))
    if re.fullmatch(r"[+-]?(nan\(.*\)|1\.#(ind|qnan|snan|inf)\w*)", word, re.I):
        return math.inf if "inf" in word.lower() else math.nan
    return None


def _whole(word: str) -> int | None:
    """A whole number, also one with a point (`3.0`)."""
    if re.fullmatch(r"[+-]?\d+", word):
        value = int(word)
        return value if abs(value) < 2**62 else None
    found = _number(word)
    return int(found) if found is not None and math.isfinite(found) and found == int(found) else None


def _table(values: Floats, line: Ints) -> Table:
    number, kind, parent = (np.where(np.isfinite(c), c, 0).astype(np.int64) for c in (values[:, i] for i in (0, 1, 6)))
    return Table(number, kind, np.ascontiguousarray(values[:, 2:5]), values[:, 5].copy(), parent, line)


def _radii(table: Table) -> list[Oddity]:
    """What is odd about the radii; those that say nothing become 0."""
    none = ~np.isfinite(table.radius)
    below = ~none & (table.radius < 0)
    odd = oddity("a radius that is no finite number, read as 0", table.line[none], changed=True)
    odd += oddity("a negative radius, read as 0", table.line[below], changed=True)
    odd += oddity("a radius of 0", table.line[table.radius == 0], changed=False)
    table.radius[none | below] = 0.0
    return odd


def _stated(text: bytes, starts: Ints, ends: Ints, comment: Flags, table: Table) -> None:
    """What the comments say of the unit, the voxel size and the origin (z, y, x) goes into the table."""
    for i in np.flatnonzero(comment):
        line = text[starts[i] : ends[i]].decode("utf-8", "replace").strip()
        if found := _UNIT.match(line):
            table.unit = (found[1] or found[2]).lower()
        elif found := _TRIPLE.match(line):
            values = [_number(w) for w in found.groups()[1:]]
            if all(v is not None and math.isfinite(v) for v in values):
                z, y, x = (float(v or 0) for v in values)
                table.triples[found[1].lower()] = (z, y, x)
