"""Charts as SVG text, laid by hand: numbers in, markup out. Pure; colours come from the page's style, so they follow light and dark."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40


@dataclass(frozen=True)
class Line:
    """One model in a chart of lines."""

    label: str
    colour: int
    """Number of the page's series colour."""
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    """Lower ends of intervals, where the points have some."""
    high: Sequence[float] = ()
    has_dots: bool = False
    has_line: bool = True
    has_band: bool = False
    """The intervals as one band instead of a line at each point."""


@dataclass(frozen=True)
class Range:
    """One model in a chart of intervals."""

    label: str
    colour: int
    value: float
    low: float
    high: float
    note: str = ""
    """Written at the right end."""


def lines(
    series: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
    level: float | None = None,
    x_names: Sequence[str] = (),
    from_zero: bool = False,
    width: int = 520,
    height: int = 340,
) -> str:
    """Lines and points on two axes.

    Args:
        series: What is drawn, the first one on top.
        x_label: Below the chart.
        y_label: Above it, at the left.
        diagonal: Also the line on which both axes are equal.
        level: Also a line at this height.
        x_names: Words for the whole numbers of the x axis, from zero.
        from_zero: Whether the y axis begins there.
        width: Pixels.
        height: Pixels.
    """
    xs = [value for one in series for value in one.x if isfinite(value)]
    ys = [value for one in series for value in (*one.y, *one.low, *one.high) if isfinite(value)] + ([] if level is None else [level])
    if not xs or not ys:
        return ""
    if diagonal:
        # Both axes on one scale: the diagonal is then where both are equal.
        low, high = min(0.0, *xs, *ys), max(*xs, *ys)
        x_scale = y_scale = _Scale.over(low, high)
    else:
        x_scale = _Scale(-0.4, len(x_names) - 0.6, ()) if x_names else _Scale.over(min(xs), max(xs))
        y_scale = _Scale.over(0.0 if from_zero else min(ys), max(ys))
    frame = _Frame(width, height, x_scale, y_scale)
    parts = [_axes(frame, x_label, y_label, x_names)]
    if diagonal:
        ends = [(frame.x(value), frame.y(value)) for value in (x_scale.low, x_scale.high)]
        parts.append(f'<line class="guide" x1="{ends[0][0]:.1f}" y1="{ends[0][1]:.1f}" x2="{ends[1][0]:.1f}" y2="{ends[1][1]:.1f}"/>')
    if level is not None:
        parts.append(f'<line class="guide" x1="{LEFT}" x2="{width - RIGHT}" y1="{frame.y(level):.1f}" y2="{frame.y(level):.1f}"/>')
    for one in reversed(series):
        points = [(frame.x(a), frame.y(b)) for a, b in zip(one.x, one.y, strict=True) if isfinite(a) and isfinite(b)]
        drawn = "".join(
            f'<line x1="{frame.x(at):.1f}" x2="{frame.x(at):.1f}" y1="{frame.y(low):.1f}" y2="{frame.y(high):.1f}"/>'
            for at, low, high in zip(one.x, one.low, one.high, strict=False)
            if isfinite(low) and isfinite(high) and not one.has_band
        )
        if one.has_band:
            edge = [*zip(one.x, one.high, strict=True), *zip(reversed(one.x), reversed(one.low), strict=True)]
            drawn += f'<polygon points="{" ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in edge)}"/>'
        if one.has_line:
            drawn += f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'
        if one.has_dots:
            drawn += "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.2"/>' for a, b in points)
        parts.append(f'<g class="s s{one.colour}"><title>{html.escape(one.label)}</title>{drawn}</g>')
    return _svg(width, height, f"{y_label} by {x_label}", parts)


def ranges(rows: Sequence[Range], *, x_label: str, level: float | None = None, width: int = 720, gap: int = 30) -> str:
    """One interval below the other, each with its name at the left and a note at the right.

    What lies so far off that the others could not be told apart beside it stands at the edge, as an arrow.
    """
    values = [value for row in near(rows, level) for value in (row.low, row.value, row.high) if isfinite(value)] + ([] if level is None else [level])
    if not values:
        return ""
    label_width = min(240, 20 + 7 * max(len(row.label) for row in rows))
    note_width = 14 + 7 * max(len(row.note) for row in rows)
    scale = _Scale.over(min(values), max(values))
    height = TOP + gap * len(rows) + BOTTOM

    def place(value: float) -> float:
        return label_width + (width - label_width - note_width) * scale.share(value)

    parts = [
        f'<line class="grid" x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
        f'<text class="tick" x="{place(tick):.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{_number(tick, scale)}</text>'
        for tick in scale.ticks
    ]
    if level is not None:
        parts.append(f'<line class="guide" x1="{place(level):.1f}" x2="{place(level):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
    for number, row in enumerate(rows):
        y = TOP + gap * (number + 0.5)
        parts.append(f'<text class="name" x="{label_width - 12}" y="{y + 4:.1f}" text-anchor="end">{html.escape(row.label)}</text>')
        parts.append(f'<text class="tick" x="{width - 2}" y="{y + 4:.1f}" text-anchor="end">{html.escape(row.note)}</text>')
        if isfinite(row.low) and isfinite(row.high):
            ends = f'x1="{place(row.low):.1f}" x2="{place(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
            drawn = f'<line class="wide" {ends}/><circle cx="{place(row.value):.1f}" cy="{y:.1f}" r="4.5"/>'
            if not scale.low <= row.value <= scale.high:
                x, turn = (label_width, 1) if row.value < scale.low else (width - note_width, -1)
                drawn = f'<line x1="{x}" x2="{x + 26 * turn}" y1="{y:.1f}" y2="{y:.1f}"/>'
                drawn += f'<polyline points="{x + 7 * turn},{y - 4.5:.1f} {x},{y:.1f} {x + 7 * turn},{y + 4.5:.1f}"/>'
            words = f"{html.escape(row.label)}: {row.value:.4g} [{row.low:.4g}, {row.high:.4g}]"
            parts.append(f'<g class="s s{row.colour}"><title>{words}</title>{drawn}</g>')
    parts.append(
        f'<text class="label" x="{(label_width + width - note_width) / 2:.1f}" y="{height - 6}" text-anchor="middle">{html.escape(x_label)}</text>'
    )
    return _svg(width, height, x_label, parts)


def near(rows: Sequence[Range], level: float | None) -> list[Range]:
    """The rows that an axis should be made for: those without which it would not be four times as short; more than half of them in any case."""
    kept = [row for row in rows if isfinite(row.low) and isfinite(row.high)]

    def span(some: Sequence[Range]) -> float:
        ends = [end for row in some for end in (row.low, row.high)] + ([] if level is None else [level])
        return max(ends) - min(ends)

    while len(kept) > 2:
        left = min(([row for row in kept if row is not each] for each in kept), key=span)
        if 2 * len(left) <= len(rows) or 4 * span(left) > span(kept):
            break
        kept = left
    return kept


def tenths(label: str, colour: int, predicted: Sequence[float], actual: Sequence[float], *, y_label: str, width: int = 340, height: int = 240) -> str:
    """What was predicted (dots) and what came (bars) for each tenth of the predictions, the lowest at the left."""
    values = [value for value in (*predicted, *actual) if isfinite(value)]
    if not values:
        return ""
    frame = _Frame(width, height, _Scale(-0.6, len(actual) - 0.4, ()), _Scale.over(min(0.0, *values), max(values)))
    parts = [_axes(frame, "tenth of the predictions, the highest at the right", y_label, [str(place + 1) for place in range(len(actual))])]
    half, zero = 0.36 * (frame.x(1) - frame.x(0)), frame.y(0.0)
    bars = "".join(
        f'<rect x="{frame.x(place) - half:.1f}" width="{2 * half:.1f}" y="{min(end, zero):.1f}" height="{abs(zero - end):.1f}" rx="2"/>'
        for place, end in enumerate(map(frame.y, actual))
    )
    dots = "".join(f'<circle cx="{frame.x(place):.1f}" cy="{frame.y(value):.1f}" r="3.4"/>' for place, value in enumerate(predicted))
    parts.append(f'<g class="b s{colour}"><title>{html.escape(label)}</title>{bars}</g><g class="d s{colour}">{dots}</g>')
    return _svg(width, height, f"{label}: predicted and actual by tenth", parts)


@dataclass(frozen=True)
class _Scale:
    """An axis in its own numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, low: float, high: float, wanted: int = 5) -> _Scale:
        """Round ends and round ticks around what is shown."""
        span = (high - low) or abs(high) or 1.0
        raw = span / wanted
        size = 10.0 ** floor(log10(raw))
        step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw)
        first, last = floor(low / step + 1e-9), -floor(-high / step + 1e-9)
        last = max(last, first + 1)
        return cls(first * step, last * step, tuple(step * place for place in range(first, last + 1)))

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class _Frame:
    """Numbers to pixels."""

    width: int
    height: int
    across: _Scale
    up: _Scale

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + (self.width - LEFT - RIGHT) * self.across.share(value)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self.height - BOTTOM - (self.height - BOTTOM - TOP - 16) * self.up.share(value)


def _axes(frame: _Frame, x_label: str, y_label: str, x_names: Sequence[str]) -> str:
    right, bottom = frame.width - RIGHT, frame.height - BOTTOM
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{frame.y(tick):.1f}" y2="{frame.y(tick):.1f}"/>'
        f'<text class="tick" x="{LEFT - 7}" y="{frame.y(tick) + 4:.1f}" text-anchor="end">{_number(tick, frame.up)}</text>'
        for tick in frame.up.ticks
    ]
    named = list(enumerate(x_names)) if x_names else [(tick, _number(tick, frame.across)) for tick in frame.across.ticks]
    parts += [f'<text class="tick" x="{frame.x(at):.1f}" y="{bottom + 16}" text-anchor="middle">{html.escape(name)}</text>' for at, name in named]
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text class="label" x="{(LEFT + right) / 2:.1f}" y="{frame.height - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
    parts.append(f'<text class="label" x="2" y="{TOP}" text-anchor="start">{html.escape(y_label)}</text>')
    return "".join(parts)


def _number(value: float, scale: _Scale) -> str:
    """A tick with as many digits as its neighbours need, and no more."""
    step = scale.ticks[1] - scale.ticks[0]
    if abs(value) >= 10_000:
        return f"{value / 1000:,.{max(0, -floor(log10(step / 1000) + 1e-9))}f}k"
    digits = max(0, -floor(log10(step) + 1e-9))
    if round(step * 10**digits) * 10.0**-digits < step - 1e-12 * step:
        digits += 1
    return f"{0.0 if abs(value) < step / 1e6 else value:,.{digits}f}"


def _svg(width: int, height: int, words: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{html.escape(words)}">{"".join(parts)}</svg>'
    )
