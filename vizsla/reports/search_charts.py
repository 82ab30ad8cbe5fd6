"""Charts of a search: how it went, which values were good, which parameter matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from vizsla.reports.charts import svg

_WIDTH, _HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 40
_TICKS = 5


@dataclass(frozen=True)
class Axis:
    """Where values lie between 0 and 1. ``values`` (as text) for choices, else a range, logarithmic or not."""

    name: str
    low: float = 0.0
    high: float = 1.0
    logarithmic: bool = False
    values: tuple[str, ...] = ()

    def at(self, value: object) -> float:
        """The place of a value, 0 to 1."""
        if self.values:
            last = max(1, len(self.values) - 1)
            return self.values.index(str(value)) / last if len(self.values) > 1 else 0.5
        number = float(value)  # type: ignore[arg-type]
        low, high = self.low, self.high
        if self.logarithmic:
            number, low, high = math.log(number), math.log(low), math.log(high)
        return min(1.0, max(0.0, (number - low) / (high - low))) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Places and what stands there."""
        if self.values:
            return [(self.at(value), value) for value in self.values]
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            powers = [10.0**power for power in range(first, last + 1)]
            inside = [p for p in powers if self.low * 0.999 <= p <= self.high * 1.001]
            if len(inside) >= 2:
                return [(self.at(p), f"{p:g}") for p in inside]
            return [(0.0, f"{self.low:.3g}"), (1.0, f"{self.high:.3g}")]
        step = _round_step((self.high - self.low) / _TICKS)
        first_tick = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first_tick
        numbers = [round((first_tick + i) * step, 10) for i in range(count + 1)]
        return [(self.at(number), f"{number:g}") for number in numbers]


@dataclass(frozen=True)
class Dot:
    """One trial in a chart. ``good`` is 1 for the best trial and 0 for the worst; ``text`` is shown on hovering."""

    number: int
    value: float
    places: tuple[float, ...]
    good: float
    text: str
    winner: bool = False


def history(dots: Sequence[Dot], best: Sequence[float], axis: Axis) -> Markup:
    """The objective of each trial in order, and the best so far as a line."""
    last = max(1, max(d.number for d in dots))
    parts = [_frame(axis, "trial", [(i / last, str(i)) for i in _whole_ticks(last)])]
    points: list[str] = []
    for dot, so_far in zip(dots, best, strict=True):
        if points:
            points.append(f"{_x(dot.number / last):.1f},{points[-1].split(',')[1]}")
        points.append(f"{_x(dot.number / last):.1f},{_y(axis.at(so_far)):.1f}")
    parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="var(--c2)" stroke-width="2"/>')
    parts += [_circle(_x(d.number / last), _y(axis.at(d.value)), d) for d in dots]
    return svg(parts, _WIDTH, _HEIGHT)


def slices(dots: Sequence[Dot], at: int, parameter: Axis, axis: Axis) -> Markup:
    """The objective against one parameter, the ``at``-th of each dot's places."""
    parts = [_frame(axis, parameter.name, _spaced(parameter.ticks()))]
    parts += [_circle(_x(d.places[at]), _y(axis.at(d.value)), d) for d in dots]
    return svg(parts, _WIDTH, _HEIGHT)


def parallel(dots: Sequence[Dot], axes: Sequence[Axis]) -> Markup:
    """Each trial as a line through its parameters to its objective, the last axis; the best on top."""
    gap, top, bottom = 150, 46, 290
    left = 70
    width = left + gap * (len(axes) - 1) + 90

    def height(place: float) -> float:
        return bottom - place * (bottom - top)

    parts = []
    for dot in sorted(dots, key=lambda d: d.good):
        points = " ".join(f"{left + gap * i},{height(p):.1f}" for i, p in enumerate(dot.places))
        strength = 2.6 if dot.winner else 1.3
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{_colour(dot)}" stroke-width="{strength}" '
            f'opacity="{0.35 + 0.65 * dot.good:.2f}"><title>{escape(dot.text)}</title></polyline>'
        )
    for i, axis in enumerate(axes):
        x = left + gap * i
        parts.append(f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" stroke="var(--soft)"/>')
        parts.append(f'<text x="{x}" y="{top - 22}" text-anchor="middle" class="cell">{escape(axis.name)}</text>')
        parts += [
            f'<text x="{x - 6}" y="{height(p) + 4:.1f}" text-anchor="end">{escape(t)}</text>' for p, t in axis.ticks()
        ]
    return svg(parts, width, bottom + 20)


def importances(shares: Sequence[tuple[str, float]]) -> Markup:
    """A bar a parameter."""
    row, left = 26, 150
    parts = []
    for i, (name, share) in enumerate(shares):
        y = 8 + i * row
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{240 * share:.1f}" height="18" rx="3" fill="var(--c1)"/>')
        parts.append(f'<text x="{left + 246 * share + 6:.1f}" y="{y + 14}">{100 * share:.0f} %</text>')
    return svg(parts, _WIDTH, 16 + row * len(shares))


def _frame(axis: Axis, x_label: str, x_ticks: Sequence[tuple[float, str]]) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for place, text in axis.ticks():
        y = _y(place)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    parts += [
        f'<text x="{_x(place):.1f}" y="{bottom + 16}" text-anchor="middle">{escape(text)}</text>'
        for place, text in x_ticks
    ]
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(12,{middle}) rotate(-90)" text-anchor="middle">{escape(axis.name)}</text>'
    )
    return "".join(parts)


def _circle(x: float, y: float, dot: Dot) -> str:
    ring = ' stroke="var(--ink)" stroke-width="2"' if dot.winner else ""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if dot.winner else 4}" fill="{_colour(dot)}"{ring} opacity="0.85">'
        f"<title>{escape(dot.text)}</title></circle>"
    )


def _colour(dot: Dot) -> str:
    return "var(--good)" if dot.winner else f"color-mix(in srgb, var(--c1) {30 + 70 * dot.good:.0f}%, var(--line))"


def _x(place: float) -> float:
    return _LEFT + 8 + place * (_WIDTH - _LEFT - _RIGHT - 16)


def _y(place: float) -> float:
    return _HEIGHT - _BOTTOM - 6 - place * (_HEIGHT - _TOP - _BOTTOM - 12)


def _spaced(ticks: Sequence[tuple[float, str]], most: int = 8) -> list[tuple[float, str]]:
    every = -(-len(ticks) // most)
    return list(ticks[::every]) if ticks else []


def _whole_ticks(last: int) -> list[int]:
    step = max(1, round(_round_step(last / _TICKS)))
    return list(range(0, last + 1, step))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next((s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999), 10 * power)
