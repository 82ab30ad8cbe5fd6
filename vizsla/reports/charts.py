"""Charts as inline SVG, coloured by the page's own variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 40
MOST_DRAWN_CLASSES = 40
"""A confusion matrix of more could not be read."""

_COLOURS = ("var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)")


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Mark:
    """A place on the x axis where something was found."""

    x: float
    name: str
    severity: str


def lines(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    marker: float | None = None,
    marker_label: str = "",
    marks: Sequence[Mark] = (),
) -> Markup:
    """Lines over a common x axis; ``marker`` draws a vertical line, ``marks`` short ones at the bottom."""
    xs = [x for s in series for x in s.x]
    ys = [y for s in series for y in s.y if math.isfinite(y)]
    if not xs or not ys:
        return Markup("<p>No values.</p>")
    frame = _Frame((min(xs), max(xs)), _spread(min(ys), max(ys)))
    parts = [frame.axes(x_label, y_label)]
    if marker is not None:
        x = frame.x(marker)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" class="marker"/>'
            f'<text x="{x - 4:.1f}" y="{_TOP + 10}" text-anchor="end">{escape(marker_label)}</text>'
        )
    for mark in marks:
        x, colour = frame.x(mark.x), "var(--bad)" if mark.severity == "error" else "var(--c2)"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_HEIGHT - _BOTTOM - 60}" y2="{_HEIGHT - _BOTTOM}" stroke="{colour}" '
            f'stroke-width="3"><title>{escape(mark.name)}, step {mark.x:g}</title></line>'
        )
    for s, colour in zip(series, _COLOURS, strict=False):
        finite = [(x, y) for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
        points = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in finite)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return svg(parts) + _legend([(s.name, colour) for s, colour in zip(series, _COLOURS, strict=False)])


def reliability(bins: npt.NDArray[np.float64]) -> Markup:
    """Accuracy against confidence: bars at the accuracy, a dot at the mean confidence, the diagonal as ideal.

    ``bins`` is (n, 3): pictures, mean confidence, accuracy.
    """
    frame = _Frame((0, 1), (0, 1))
    parts = [frame.axes("confidence", "accuracy")]
    width = 1 / len(bins)
    for i, (count, confidence, accuracy) in enumerate(bins):
        if not count:
            continue
        left, right, top = frame.x(i * width), frame.x((i + 1) * width), frame.y(accuracy)
        parts.append(
            f'<rect x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" '
            f'height="{frame.y(0) - top:.1f}" fill="{_COLOURS[0]}" opacity="0.75">'
            f"<title>{int(count)} pictures: confidence {confidence:.3f}, accuracy {accuracy:.3f}</title></rect>"
            f'<circle cx="{frame.x(confidence):.1f}" cy="{top:.1f}" r="3" fill="{_COLOURS[1]}"/>'
        )
    parts.append(f'<line x1="{frame.x(0)}" y1="{frame.y(0)}" x2="{frame.x(1)}" y2="{frame.y(1)}" class="marker"/>')
    return svg(parts) + _legend([("accuracy in the bin", _COLOURS[0]), ("mean confidence", _COLOURS[1])])


def confusion(matrix: npt.NDArray[np.int64], names: Sequence[str]) -> Markup:
    """A confusion matrix (rows the truth, columns the prediction), shaded by the share of its row.

    Of more than :data:`MOST_DRAWN_CLASSES`, those with the most mistakes are drawn.
    """
    if len(names) > MOST_DRAWN_CLASSES:
        off = matrix * (1 - np.eye(len(names), dtype=np.int64))
        worst = np.sort(np.argsort(-(off.sum(axis=0) + off.sum(axis=1)), kind="stable")[:MOST_DRAWN_CLASSES])
        drawn = confusion(matrix[np.ix_(worst, worst)], [names[i] for i in worst.tolist()])
        return drawn + Markup(f"<p>The {len(worst)} classes with the most mistakes, of {len(names)}.</p>")
    c = len(names)
    cell = max(24, min(44, 640 // c))
    margin = 130
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    parts = []
    for i, j in zip(*np.nonzero(matrix), strict=True):
        x, y, strong = margin + j * cell, margin + i * cell, share[i, j]
        colour = "var(--good)" if i == j else "var(--bad)"
        parts.append(
            f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{colour}" '
            f'opacity="{0.12 + 0.88 * strong:.2f}"><title>{escape(names[i])} taken for {escape(names[j])}: '
            f"{matrix[i, j]}</title></rect>"
        )
        place = f'x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle"'
        parts.append(f'<text {place} class="cell">{matrix[i, j]}</text>')
    for i, name in enumerate(names):
        middle = margin + i * cell + cell / 2
        parts.append(f'<text x="{margin - 6}" y="{middle + 4}" text-anchor="end">{escape(_short(name))}</text>')
        parts.append(
            f'<text transform="translate({middle + 4},{margin - 6}) rotate(-60)">{escape(_short(name))}</text>'
        )
    size = margin + c * cell + 2
    parts.append(f'<rect x="{margin}" y="{margin}" width="{c * cell}" height="{c * cell}" class="frame"/>')
    return svg(parts, size, size)


def heat_map(
    values: npt.NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float] | None = None,
) -> Markup:
    """A coloured cell for each of ``values`` (rows, columns), from light to dark; what is no number stays empty."""
    low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    margin, cell, width = 230, 14, max(6, min(20, 480 // len(columns)))
    parts = []
    for i, name in enumerate(rows):
        parts.append(f'<text x="{margin - 6}" y="{i * cell + 11}" text-anchor="end">{escape(_end(name))}</text>')
        for j, value in enumerate(values[i].tolist()):
            if math.isfinite(value):
                share = (value - low) / (high - low) if high > low else 0.5
                parts.append(
                    f'<rect x="{margin + j * width}" y="{i * cell}" width="{width - 1}" height="{cell - 1}" '
                    f'fill="var(--c1)" opacity="{0.06 + 0.94 * min(max(share, 0), 1):.2f}">'
                    f"<title>{escape(name)}, step {escape(columns[j])}: {value:.3g}</title></rect>"
                )
    y = len(rows) * cell + 14
    parts.append(f'<text x="{margin}" y="{y}">step {escape(columns[0])}</text>')
    parts.append(f'<text x="{margin + len(columns) * width}" y="{y}" text-anchor="end">{escape(columns[-1])}</text>')
    scale = Markup("<p>From {} (light) to {} (dark).</p>").format(f"{low:.3g}", f"{high:.3g}")
    return svg(parts, margin + len(columns) * width + 10, y + 6) + scale


def stacked(counts: npt.NDArray[np.int64], names: Sequence[str], parts: Sequence[str], most: int = 60) -> Markup:
    """A horizontal bar for each of ``names`` (the ``most`` largest), of counts (names, parts), int64."""
    totals = counts.sum(axis=1)
    order = np.argsort(-totals, kind="stable")[:most]
    margin, bar, width = 150, 18, 720
    scale = (width - margin - 60) / max(1, int(totals.max(initial=0)))
    drawn = []
    for place, i in enumerate(order.tolist()):
        x, y = float(margin), place * (bar + 5)
        drawn.append(f'<text x="{margin - 8}" y="{y + bar - 5}" text-anchor="end">{escape(_short(names[i]))}</text>')
        for count, part, colour in zip(counts[i].tolist(), parts, _COLOURS, strict=False):
            drawn.append(
                f'<rect x="{x:.1f}" y="{y}" width="{count * scale:.1f}" height="{bar}" fill="{colour}">'
                f"<title>{escape(names[i])}, {escape(part)}: {count:,}</title></rect>"
            )
            x += count * scale
        drawn.append(f'<text x="{x + 6:.1f}" y="{y + bar - 5}">{totals[i]:,}</text>')
    legend = _legend(list(zip(parts, _COLOURS, strict=False)))
    rest = Markup(f"<p>The {most} largest of {len(names)}.</p>") if len(names) > most else Markup("")
    return svg(drawn, width, len(order) * (bar + 5)) + legend + rest


class _Frame:
    """Maps values to positions inside the axes."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._x = x if x[1] > x[0] else (x[0] - 0.5, x[0] + 0.5)
        self._y = y

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, x_label: str, y_label: str) -> str:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = []
        for value in _ticks(*self._y):
            y = self.y(value)
            parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in _ticks(*self._x):
            parts.append(f'<text x="{self.x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
        middle = (_TOP + bottom) / 2
        parts.append(
            f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
            f'<text transform="translate(14,{middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
        )
        return "".join(parts)


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between low and high."""
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _spread(low: float, high: float) -> tuple[float, float]:
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 0.5
    return low - margin, high + margin


def svg(parts: Sequence[str], width: int = _WIDTH, height: int = _HEIGHT) -> Markup:
    """A chart of its parts; it shrinks on a small screen and never grows."""
    content = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img">{content}</svg>')


def _legend(entries: Sequence[tuple[str, str]]) -> Markup:
    items = "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in entries)
    return Markup(f'<div class="legend">{items}</div>')


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _end(name: str, most: int = 30) -> str:
    """Of the name of a layer, what tells it from others."""
    return name if len(name) <= most else "…" + name[1 - most :]
