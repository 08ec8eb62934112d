"""Charts as SVG, drawn here: lines with bands, and differences with their intervals.

A chart is drawn twice, for a wide and for a narrow window, so that its text has one size in both; the style shows one.
What is under the pointer is told by ``static/page.js``, which reads the values from a script element in the figure.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import accumulate

from activetune.report.page import as_script

BROAD, NARROW = (760, 340), (360, 300)  # width and height in units of a pixel of text
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 28, 44
NAME_SIGNS, LINE = 44, 15  # of a row's name: signs that fit in a line, and the height of each further one
SPREAD = 8  # the largest over the smallest place, from which an axis is logarithmic
COLOURS = 12
DECADES = 4  # of a logarithmic axis, beyond which powers of ten alone are told
DASHES = ("", "7 4", "2 4")
MARKS = ("", "dashed", "dotted")
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Line:
    """A series of points.

    Attributes:
        points: x and y of each. spread: half the height of the band at each; empty for none.
        told: what the pointer is told of each; empty for its y alone.
        style: 0 drawn through, 1 dashed, 2 dotted. colour: which of the page's.
    """

    name: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[float] = ()
    told: Sequence[str] = ()
    colour: int = 0
    style: int = 0


@dataclass(frozen=True)
class Axis:
    """One axis: its title, its bounds where they are given, its ticks where they are given, how a value is told."""

    title: str
    bounds: tuple[float, float] | None = None
    ticks: Sequence[float] | None = None
    logarithmic: bool = False
    told: Callable[[float], str] = field(default=lambda value: f"{value:,.10g}")


def line_chart(
    lines: Sequence[Line], x: Axis, y: Axis, *, rule: tuple[float, str] | None = None, diagonal: bool = False
) -> str:
    """Lines over one another, with a legend whose entries hide and show them.

    Args:
        rule: a level that is drawn across, and its name. diagonal: draw where y is x, as in a calibration curve.
    """
    places = sorted({point[0] for line in lines for point in line.points})
    x, y = _with_bounds(x, places), _with_bounds(y, _heights(lines, rule))
    drawn = "".join(_lines_svg(lines, x, y, places, size, rule, diagonal) for size in (BROAD, NARROW))
    series = [
        {"name": line.name, "colour": line.colour % COLOURS, "told": [_told_at(line, place, y) for place in places]}
        for line in lines
    ]
    data = as_script({"places": [f"{x.told(place)} {x.title}" for place in places], "series": series})
    legend = "".join(_entry(line) for line in lines) if len(lines) > 1 else ""
    held = f'<div class="legend">{legend}</div>' if legend else ""
    return f'<figure class="chart" data-curves>{held}{drawn}{data}</figure>'


def interval_chart(rows: Sequence[tuple[str, float, float, float, bool]], title: str, unit: str) -> str:
    """Differences with their intervals, a row each around a line at 0.

    Args:
        rows: name, centre, low, high, and whether it is clear. title: of the axis. unit: of the values.
    """
    low, high = min(0.0, *(row[2] for row in rows)), max(0.0, *(row[3] for row in rows))
    room = 0.06 * (high - low or 1)
    axis = Axis(title, (low - room, high + room), told=lambda value: f"{value:+g}" if value else "0")
    return (
        f'<figure class="chart">{"".join(_intervals_svg(rows, axis, unit, size) for size in (BROAD, NARROW))}</figure>'
    )


# Scales -----------------------------------------------------------------------------------------------------------


def _heights(lines: Sequence[Line], rule: tuple[float, str] | None) -> list[float]:
    """All that has to fit on the axis upwards."""
    found = [rule[0]] if rule else []
    for line in lines:
        for (_, height), width in zip(line.points, line.spread or [0.0] * len(line.points), strict=True):
            found += [height - width, height + width]
    return found


def _with_bounds(axis: Axis, values: Sequence[float]) -> Axis:
    if axis.bounds is not None:
        return axis
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if axis.logarithmic:
        low, high = max(low, 1e-9), max(high, 1e-9)
        bounds = (low / 1.15, high * 1.15)
    else:
        room = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
        bounds = (low - room if low < 0 or low > room else 0.0, high + room)
    return Axis(axis.title, bounds, axis.ticks, axis.logarithmic, axis.told)


def wide_apart(places: Sequence[float]) -> bool:
    """Whether places are better shown on a logarithmic axis."""
    return min(places) > 0 and max(places) > SPREAD * min(places)


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers from low to high.

    >>> round_ticks(0, 97, 5)
    [0, 20, 40, 60, 80]
    """
    raw = (high - low) / max(1, count)
    power = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next((one * power for one in STEPS if one * power >= raw), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _ticks(axis: Axis, count: int, least: float) -> list[float]:
    """The ticks that fit.

    Args:
        least: the share of the axis that two of them lie apart at least.
    """
    low, high = axis.bounds or (0.0, 1.0)
    if axis.ticks is not None:
        found = list(axis.ticks)
    elif axis.logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        digits = (1, 2, 5) if len(powers) <= DECADES else (1,)
        found = [digit * 10.0**power for power in powers for digit in digits]
    else:
        found = round_ticks(low, high, count)
    place = _scale(axis, 0.0, 1.0)
    kept: list[float] = []
    for tick in found:
        if (
            low <= tick * (1 + 1e-9)
            and tick <= high * (1 + 1e-9)
            and (not kept or place(tick) - place(kept[-1]) >= least)
        ):
            kept.append(tick)
    return kept


def _scale(axis: Axis, start: float, end: float) -> Callable[[float], float]:
    """Where a value lies between start and end."""
    low, high = axis.bounds or (0.0, 1.0)
    if axis.logarithmic:
        low, high = math.log(low), math.log(high)
    span = high - low or 1.0

    def place(value: float) -> float:
        known = math.log(max(value, 1e-12)) if axis.logarithmic else value
        return start + (end - start) * (known - low) / span

    return place


# Drawing ----------------------------------------------------------------------------------------------------------


def _lines_svg(
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    places: Sequence[float],
    size: tuple[int, int],
    rule: tuple[float, str] | None,
    diagonal: bool,
) -> str:
    width, height = size
    right, bottom = width - RIGHT, height - BOTTOM
    at_x, at_y = _scale(x, LEFT, right), _scale(y, bottom, TOP)
    parts = [_frame(x, y, size, at_x, at_y)]
    if diagonal:
        low, high = x.bounds or (0.0, 1.0)
        parts.append(_rule(at_x(low), at_y(low), at_x(high), at_y(high)))
    if rule is not None:
        level = at_y(rule[0])
        parts.append(_rule(LEFT, level, right, level))
        parts.append(f'<text x="{right}" y="{level - 5:.1f}" text-anchor="end">{escape(rule[1])}</text>')
    parts += [_one_line(number, line, at_x, at_y) for number, line in enumerate(lines)]
    parts.append(f'<line class="cross" x1="0" x2="0" y1="{TOP}" y2="{bottom}"/>')
    at = escape(json.dumps([round(at_x(place), 1) for place in places]))
    kind = "broad" if size == BROAD else "narrow"
    told = escape(f"{y.title} against {x.title}")
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{told}" data-at="{at}">'
        f"{''.join(parts)}</svg>"
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="rule" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _frame(
    x: Axis, y: Axis, size: tuple[int, int], at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> str:
    """Axes, their ticks and titles."""
    width, height = size
    right, bottom = width - RIGHT, height - BOTTOM
    parts = []
    for tick in _ticks(y, 5, 0.06):
        level = at_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{level + 4:.1f}" text-anchor="end">{escape(y.told(tick))}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    for tick in _ticks(x, 6, 46 / (right - LEFT)):
        place = at_x(tick)
        parts.append(f'<line class="axis" x1="{place:.1f}" x2="{place:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(x.told(tick))}</text>')
    parts.append(f'<text x="{right}" y="{height - 6}" text-anchor="end">{escape(x.title)}</text>')
    parts.append(f'<text x="2" y="13">{escape(y.title)}</text>')
    return "".join(parts)


def _one_line(number: int, line: Line, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> str:
    if not line.points:
        return ""
    colour = f"var(--c{line.colour % COLOURS})"
    at = [(at_x(x), at_y(y)) for x, y in line.points]
    band = ""
    if any(line.spread):
        edges = [(x, y, width) for (x, y), width in zip(line.points, line.spread, strict=True)]
        upper = [f"{at_x(x):.1f},{at_y(y + width):.1f}" for x, y, width in edges]
        lower = [f"{at_x(x):.1f},{at_y(y - width):.1f}" for x, y, width in reversed(edges)]
        band = f'<polygon class="band" style="fill:{colour}" points="{" ".join((*upper, *lower))}"/>'
    dash = DASHES[line.style % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    dots = "".join(f'<circle class="dot" style="fill:{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>' for x, y in at)
    shown = dots if len(at) <= 40 else ""
    drawn = f'<polyline class="line" style="stroke:{colour}"{dashed} points="{path}"/>'
    return f'<g data-series="{number}">{band}{drawn}{shown}</g>'


def _told_at(line: Line, place: float, y: Axis) -> str:
    """What the pointer is told of a line at a place; empty where it has no point there."""
    for number, (x, height) in enumerate(line.points):
        if x == place:
            return line.told[number] if line.told else y.told(height)
    return ""


def _entry(line: Line) -> str:
    mark = MARKS[line.style % len(MARKS)]
    colour = f"border-color:var(--c{line.colour % COLOURS})"
    return (
        f'<button type="button" aria-pressed="true" title="Hide or show; a double click shows it alone">'
        f'<i class="{mark}" style="{colour}"></i>{escape(line.name)}</button>'
    )


def _intervals_svg(
    rows: Sequence[tuple[str, float, float, float, bool]], axis: Axis, unit: str, size: tuple[int, int]
) -> str:
    width = size[0]
    narrow = size == NARROW
    left, step = (12, 42) if narrow else (320, 26)
    names = [textwrap.wrap(name, NAME_SIGNS) or [""] for name, *_ in rows]
    heights = [step + LINE * (len(lines) - 1) for lines in names]
    tops = list(accumulate(heights, initial=TOP))
    height = tops[-1] + BOTTOM
    bottom, right = height - BOTTOM, width - RIGHT
    at = _scale(axis, left + 8, right - 8)
    parts = []
    for tick in _ticks(axis, 4, 0.14):
        parts.append(f'<line class="grid" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(
            f'<text x="{at(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{escape(axis.told(tick))}</text>'
        )
    parts.append(_rule(at(0), TOP, at(0), bottom))
    for (name, centre, low, high, clear), lines, top, tall in zip(rows, names, tops, heights, strict=False):
        level = top + tall - step / 2 + 9 if narrow else top + tall / 2
        colour = "var(--c0)" if clear else "var(--c7)"
        told = escape(f"{name}: {centre:+.1f} {unit}, {low:+.1f} to {high:+.1f}")
        above = LINE * (len(lines) - 1)
        x, y, anchor = (left, level - 12 - above, "start") if narrow else (left - 8, level + 4 - above / 2, "end")
        spans = [f'<tspan x="{x}" y="{y + LINE * row:.1f}">{escape(line)}</tspan>' for row, line in enumerate(lines)]
        parts.append(
            f'<g><title>{told}</title><text class="name" text-anchor="{anchor}">{"".join(spans)}</text>'
            f'<line x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{level:.1f}" y2="{level:.1f}" stroke-width="2" '
            f'style="stroke:{colour}"/><circle class="dot" cx="{at(centre):.1f}" cy="{level:.1f}" r="4.5" '
            f'style="fill:{colour}"/></g>'
        )
    parts.append(f'<text x="{right}" y="{height - 6}" text-anchor="end">{escape(axis.title)}</text>')
    kind = "narrow" if narrow else "broad"
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(axis.title)}">'
        f"{''.join(parts)}</svg>"
    )
