"""Small multiples of what became of each second's requests, as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

__all__ = ["Panel", "figure_of"]

_WIDTH, _HEIGHT = 300, 150
_LEFT, _TOP, _GAP = 40, 46, 34
_GOOD, _BAD, _TEXT, _LINE = "#2a78b5", "#d1495b", "#555", "#999"


@dataclass(frozen=True)
class Panel:
    """One of the multiples.

    Attributes:
        title: Above it.
        rows: For each second: when, answered, failed, and the median time in ms.
    """

    title: str
    rows: list[tuple[float, int, int, float]]


def figure_of(panels: list[Panel], columns: int) -> str:
    """Return panels beside and below one another; all have the same scale."""
    most = max(good + bad for panel in panels for _, good, bad, _ in panel.rows) or 1
    first = min(row[0] for panel in panels for row in panel.rows)
    last = max(row[0] for panel in panels for row in panel.rows) + 1
    parts = []
    for number, panel in enumerate(panels):
        down, across = divmod(number, columns)
        x = _LEFT + across * (_WIDTH + _GAP)
        y = _TOP + down * (_HEIGHT + 2 * _GAP)
        parts.append(f'<g transform="translate({x} {y})">{_panel(panel, most, first, last)}</g>')
    lines = -(-len(panels) // columns)
    width = _LEFT + columns * (_WIDTH + _GAP)
    height = _TOP + lines * (_HEIGHT + 2 * _GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{_TEXT}">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        f"{_legend()}{''.join(parts)}</svg>\n"
    )


def _legend() -> str:
    return (
        f'<rect x="{_LEFT}" y="10" width="10" height="10" fill="{_GOOD}"/>'
        f'<text x="{_LEFT + 15}" y="19">answered</text>'
        f'<rect x="{_LEFT + 85}" y="10" width="10" height="10" fill="{_BAD}"/>'
        f'<text x="{_LEFT + 100}" y="19">failed, by the second in which they were due; '
        "seconds since the capacity went</text>"
    )


def _panel(panel: Panel, most: int, first: float, last: float) -> str:
    def across(at: float) -> float:
        return (at - first) / (last - first) * _WIDTH

    unit = _HEIGHT / most
    wide = across(first + 1) - 0.5
    bars = []
    for at, good, bad, _ in panel.rows:
        x = across(at)
        bars.append(_bar(x, _HEIGHT - good * unit, wide, good * unit, _GOOD))
        bars.append(_bar(x, _HEIGHT - (good + bad) * unit, wide, bad * unit, _BAD))
    ticks = [
        f'<text x="{across(at):.1f}" y="{_HEIGHT + 14}" text-anchor="middle">{at}</text>'
        for at in range(0, int(last) + 1, 5)
    ]
    return (
        f'<text x="0" y="-6" font-weight="bold">{escape(panel.title)}</text>'
        f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}" stroke="{_LINE}"/>'
        f'<line x1="{across(0):.1f}" y1="0" x2="{across(0):.1f}" y2="{_HEIGHT}" '
        f'stroke="{_LINE}" stroke-dasharray="3 3"/>'
        f'<text x="-4" y="10" text-anchor="end">{most}/s</text>' + "".join(bars + ticks)
    )


def _bar(x: float, y: float, width: float, height: float, fill: str) -> str:
    if height <= 0:
        return ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'
    )
