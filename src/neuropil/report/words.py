"""Numbers as words: scores with their meaning, durations, memory, speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuropil.metrics import directions
from neuropil.report.meanings import GROUPS, MAIN, MEANING
from neuropil.report.model import Timing
from neuropil.report.wording import WORDINGS, Wording


@dataclass(frozen=True)
class Tile:
    """A score on the page; `better` is "lower", "higher" or empty; `group` whether it is of a part of the objects."""

    key: str
    title: str
    value: str
    meaning: str
    better: str
    main: bool
    group: bool = False


@dataclass(frozen=True)
class TimingRow:
    """A stage in the table of timings; `share` of the total time in percent."""

    stage: str
    time: str
    share: float
    memory: str
    speed: str


@dataclass(frozen=True)
class Comparison:
    """One score across runs; `best` are the columns that nobody beats."""

    title: str
    better: str
    values: tuple[str, ...]
    best: frozenset[int]


def tiles(scores: Mapping[str, Any], wording: Wording = WORDINGS["neurons"]) -> list[Tile]:
    """Scores in the order of `MEANING`, then others as they come; values that are no numbers are left out."""
    table = directions()
    shown = []
    for key in ordered(scores):
        title, meaning = _called(key, wording)
        better = {True: "higher", False: "lower"}.get(table[key], "") if key in table else ""
        main = key in (wording.main or MAIN)
        shown.append(Tile(key, title, number(float(scores[key])), meaning, better, main, key in GROUPS))
    return shown


def compared(runs: Sequence[Mapping[str, Any]], wording: Wording = WORDINGS["neurons"]) -> list[Comparison]:
    """Every score that at least two runs have, side by side, with the best marked where better has a meaning."""
    table = directions()
    rows = []
    for key in ordered({k: v for run in runs for k, v in run.items()}):
        values = [float(run[key]) if is_number(run.get(key)) else math.nan for run in runs]
        known = [v for v in values if not math.isnan(v)]
        if len(known) < 2:
            continue
        better = {True: "higher", False: "lower"}.get(table[key], "") if key in table else ""
        goal = {"higher": max(known), "lower": min(known)}.get(better)
        best = frozenset(i for i, v in enumerate(values) if goal is not None and v == goal)
        texts = tuple("–" if math.isnan(v) else number(v) for v in values)
        rows.append(Comparison(_called(key, wording)[0], better, texts, best))
    return rows


def _called(key: str, wording: Wording) -> tuple[str, str]:
    """Title of a score, and what it says."""
    return wording.titles.get(key) or MEANING.get(key, (key.replace("_", " "), ""))


def differing(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """The settings that are not the same in all runs: dotted names and their values, "–" where a run has none.

    Examples
    --------
    >>> differing([{"train": {"seed": 1, "steps": 9}}, {"train": {"seed": 2, "steps": 9}}])
    [('train.seed', ('1', '2'))]
    """
    flat = [_flat(run) for run in runs]
    names = list(dict.fromkeys(name for one in flat for name in one))
    rows = [(name, tuple(_said(one.get(name, "–")) for one in flat)) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
    return found


def _said(value: Any) -> str:
    """A setting as it is written after --set."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return ", ".join(_said(v) for v in value) if isinstance(value, list | tuple) else str(value)


def ordered(scores: Mapping[str, Any]) -> list[str]:
    """Keys with numbers, those of `MEANING` first."""
    keys = [k for k, v in scores.items() if is_number(v)]
    return [k for k in MEANING if k in keys] + [k for k in keys if k not in MEANING]


def timing_rows(timings: Mapping[str, float | Timing]) -> list[TimingRow]:
    """The table of timings, in the order given."""
    stages = {k: v if isinstance(v, Timing) else Timing(float(v)) for k, v in timings.items()}
    total = sum(t.seconds for t in stages.values())
    return [
        TimingRow(
            stage,
            duration(t.seconds),
            100 * t.seconds / total if total else 0.0,
            memory(t.peak_bytes) if t.peak_bytes else "",
            f"{t.voxels / t.seconds / 1e6:.3g} Mvoxel/s" if t.voxels and t.seconds > 0 else "",
        )
        for stage, t in stages.items()
    ]


def is_number(value: Any) -> bool:
    """Whether a value is a real number (truth values are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: float) -> str:
    """A score: whole numbers with thin spaces between thousands, others with three decimals."""
    if not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) >= 2:
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:,.3f}".replace(",", "\u202f") if abs(value) < 1000 else f"{value:,.0f}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.42 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(size: int) -> str:
    """Bytes in MiB or GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
