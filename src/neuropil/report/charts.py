"""Curves as inline SVG: sharp at any size, coloured by the page's light or dark theme, readable as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 290
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 14, 44


@dataclass(frozen=True)
class Series:
    """A line; `colour` is a class of the style sheet (c1..c6), `faint` draws it as a background."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    faint: bool = False
    dots: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Marker:
    """A vertical line with a word at its head, such as the chosen threshold."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A drawn chart with the words around it; `legend` is (name, class) and `table` the numbers behind it."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...]
    caption: str = ""


@dataclass(frozen=True)
class Axis:
    """Values to positions along one side of the plot."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        """Position of a value in drawing units."""
        a, b, v = (self.low, self.high, value)
        if self.log:
            a, b, v = math.log10(a), math.log10(b), math.log10(max(value, self.low * 1e-3))
        return self.start + (v - a) / ((b - a) or 1.0) * (self.stop - self.start)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    log: bool = False,
    markers: Sequence[Marker] = (),
    caption: str = "",
) -> Chart:
    """Draw lines; values that are not finite (or not positive on a log axis) are left out."""
    lines = [_clean(s, positive=log) for s in series]
    lines = [s for s in lines if s.x]
    xs = [v for s in lines for v in s.x] + [m.x for m in markers]
    ys = [v for s in lines for v in s.y]
    if not ys:
        return Chart(title, "", (), caption)
    y_ticks = log_ticks(min(ys), max(ys)) if log else ticks(min(0.0, min(ys)), max(ys), 5)
    x_ticks = ticks(min(xs), max(xs), 6)
    y_low, y_high = (min(ys) * 0.95, max(ys) * 1.05) if log else (y_ticks[0], max(y_ticks[-1], max(ys)))
    across = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = Axis(y_low, y_high, HEIGHT - BOTTOM, TOP, log)
    parts = [
        *_grid(across, up, [(t, short(t)) for t in x_ticks if min(xs) <= t <= max(xs)], y_ticks),
        *(_marker(across, m) for m in markers),
        *(_line(across, up, s) for s in lines),
        *_labels(x_label, y_label),
    ]
    described = "; ".join(
        f"{s.name}: from {s.y[0]:.4g} to {s.y[-1]:.4g}, least {min(s.y):.4g}" for s in lines if not s.faint
    )
    return Chart(
        title,
        _drawing(title, described, parts),
        tuple((s.name, s.colour + (" dashed" if s.dashed else "")) for s in lines if not s.faint),
        caption,
    )


def interval_chart(
    title: str, lines: Sequence[Series], halves: Sequence[Sequence[float]], *, x_label: str, y_label: str, caption: str
) -> Chart:
    """Draw values with bars for their intervals over a logarithmic axis of shares (0..1, written as percent).

    Parameters
    ----------
    lines
        Shares and values.
    halves
        Half the width of the interval of each value; NaN where there is none.
    """
    bars = [[0.0 if math.isnan(h) else h for h in one] for one in halves]
    xs = sorted({x for s in lines for x in s.x})
    ends = [
        v + sign * h
        for s, one in zip(lines, bars, strict=True)
        for v, h in zip(s.y, one, strict=True)
        for sign in (-1, 1)
    ]
    if not ends:
        return Chart(title, "", (), caption)
    y_ticks = ticks(min(ends), max(ends), 5)
    across = Axis(xs[0], xs[-1] if xs[-1] > xs[0] else 2 * xs[0], LEFT + 14, WIDTH - RIGHT - 14, log=True)
    up = Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = _grid(across, up, [(x, f"{100 * x:.3g} %") for x in xs], y_ticks)
    for line, one in zip(lines, bars, strict=True):
        for x, y, h in zip(line.x, line.y, one, strict=True):
            if h:
                at = across.at(x)
                parts.append(f'<path class="line {line.colour}" d="M{at:.1f} {up.at(y - h):.1f}V{up.at(y + h):.1f}"/>')
        parts.append(_line(across, up, line))
    said = "; ".join(f"{s.name}: from {s.y[0]:.4g} to {s.y[-1]:.4g}" for s in lines)
    svg = _drawing(title, said, [*parts, *_labels(x_label, y_label)])
    return Chart(title, svg, tuple((s.name, s.colour) for s in lines), caption)


def smoothed(values: Sequence[float], window: int) -> tuple[float, ...]:
    """Running mean over `window` neighbours, shorter at the ends."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    half, n = max(0, window // 2), len(values)
    bounds = [(max(0, i - half), min(n, i + half + 1)) for i in range(n)]
    return tuple((sums[b] - sums[a]) / (b - a) for a, b in bounds)


def thinned(x: Sequence[float], y: Sequence[float], most: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At most about `most` points of a curve, each the mean of its neighbours."""
    step = max(1, math.ceil(len(x) / most))
    groups = [slice(i, i + step) for i in range(0, len(x), step)]
    return tuple(sum(x[g]) / len(x[g]) for g in groups), tuple(sum(y[g]) / len(y[g]) for g in groups)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values that span low..high."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 × powers of ten inside low..high (all of 1..9 when there would be fewer than three)."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), tuple(range(1, 10))):
        found = [s * 10.0**p for p in powers for s in steps if low * 0.95 <= s * 10.0**p <= high * 1.05]
        if len(found) >= 3:
            break
    return found


def short(value: float) -> str:
    """A number as a tick shows it: 20k, 0.25, 3e-5."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k" if abs(value) < 1e6 else f"{value / 1e6:g}M"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")


def _drawing(title: str, described: str, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}. {escape(described)}">'
    return head + "".join(parts) + "</svg>"


def _labels(x_label: str, y_label: str) -> list[str]:
    """What the axes are."""
    return [
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" '
        f'text-anchor="middle">{escape(x_label)}</text>',
        f'<text class="axis" transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>',
    ]


def _clean(series: Series, *, positive: bool) -> Series:
    points = [
        (x, y)
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not positive)
    ]
    xs, ys = tuple(p[0] for p in points), tuple(p[1] for p in points)
    return Series(series.name, xs, ys, series.colour, series.faint, series.dots, series.dashed)


def _grid(across: Axis, up: Axis, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[float]) -> list[str]:
    parts = []
    for tick in y_ticks:
        y = up.at(tick)
        if TOP - 1 <= y <= HEIGHT - BOTTOM + 1:
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    base = HEIGHT - BOTTOM
    for place, text in x_ticks:
        x = across.at(place)
        parts.append(f'<line class="grid stub" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{base + 17}" text-anchor="middle">{text}</text>')
    parts.append(f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    return parts


def _marker(across: Axis, marker: Marker) -> str:
    x = across.at(marker.x)
    side = "end" if x > WIDTH * 0.7 else "start"
    shift = -6 if side == "end" else 6
    return (
        f'<line class="marker" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="marker-text" x="{x + shift:.1f}" y="{TOP + 10}" '
        f'text-anchor="{side}">{escape(marker.text)}</text>'
    )


def _line(across: Axis, up: Axis, series: Series) -> str:
    points = [(across.at(x), up.at(y)) for x, y in zip(series.x, series.y, strict=True)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = f"line {series.colour}" + (" faint" if series.faint else "") + (" dashed" if series.dashed else "")
    drawn = f'<polyline class="{style}" points="{path}"/>'
    if series.dots or len(points) == 1:
        drawn += "".join(
            f'<circle class="dot {series.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.2">'
            f"<title>{escape(series.name)}: {short(vy)} at {short(vx)}</title></circle>"
            for (x, y), vx, vy in zip(points, series.x, series.y, strict=True)
        )
    return drawn
