"""SVG elements and text measures for the diagrams of this documentation."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

Point = tuple[float, float]

LINE_HEIGHT = 17.0
_CHARACTER_WIDTH = 7.1
"""Of an average character of the system's sans-serif font at 13 px, on the wide side."""
_CORNER = 9.0
_HEAD = 8.0

STYLE = """
text {{ font: 13px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif;
  fill: {text}; }}
.label {{ font-size: 12px; fill: {muted}; }}
.halo {{ font-size: 12px; fill: none; stroke: {ground}; stroke-width: 4px;
  stroke-linejoin: round; }}
.box {{ fill: {box}; stroke: {line}; stroke-width: 1.2; }}
.accent {{ fill: {accent}; stroke: {brand}; stroke-width: 1.4; }}
.arrow {{ fill: none; stroke: {arrow}; stroke-width: 1.4; }}
.dashed {{ stroke-dasharray: 5 4; }}
.head {{ fill: {arrow}; }}
.life {{ stroke: {line}; stroke-width: 1; stroke-dasharray: 3 4; }}
"""
LIGHT = {
    "ground": "#ffffff",
    "text": "#1f2328",
    "muted": "#57606a",
    "box": "#f6f8fa",
    "line": "#afb8c1",
    "accent": "#e7f0ff",
    "brand": "#2757dd",
    "arrow": "#57606a",
}
DARK = {
    "ground": "#0d1117",
    "text": "#e6edf3",
    "muted": "#9aa4af",
    "box": "#161b22",
    "line": "#484f58",
    "accent": "#152544",
    "brand": "#5b8def",
    "arrow": "#9aa4af",
}


def text_width(lines: Iterable[str]) -> float:
    """Return the width of the longest line, in pixels."""
    return max((len(line) for line in lines), default=0) * _CHARACTER_WIDTH


def text(
    lines: Sequence[str], x: float, middle: float, *, kind: str = "", anchor: str = "middle"
) -> str:
    """Return lines of text around the height `middle`; labels get a halo of the page's colour."""
    top = middle - (len(lines) - 1) * LINE_HEIGHT / 2 + 4.5
    spans = "".join(
        f'<tspan x="{x:.1f}" y="{top + number * LINE_HEIGHT:.1f}">{html.escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    kinds = ["halo", "label"] if kind == "label" else [kind]
    return "".join(f'<text class="{each}" text-anchor="{anchor}">{spans}</text>' for each in kinds)


def box(
    lines: Sequence[str],
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    accent: bool = False,
    radius: float = 6,
) -> str:
    """Return a framed text."""
    kind = "accent" if accent else "box"
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="{radius:g}"/>' + text(lines, left + width / 2, top + height / 2)
    )


def arrow(points: Sequence[Point], *, dashed: bool = False, both: bool = False) -> str:
    """Return a line through the points, its corners rounded, with a head at its end."""
    heads = _head(points[-2], points[-1])
    points = [*points[:-1], _shortened(points[-2], points[-1])]
    if both:
        heads += _head(points[1], points[0])
        points = [_shortened(points[1], points[0]), *points[1:]]
    kind = "arrow dashed" if dashed else "arrow"
    return f'<path class="{kind}" d="{_rounded(points)}"/>{heads}'


def document(width: float, height: float, body: str, *, style: str = "") -> str:
    """Return an SVG of this size.

    Args:
        style: For a file that stands alone; inside a page the page's style sheet colours it.
    """
    sheet = f"<style>{style}</style>" if style else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" '
        f'style="--diagram-width:{width:.0f}px">{sheet}{body}</svg>'
    )


def _direction(start: Point, end: Point) -> Point:
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 0.001)
    length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5 or length
    return (end[0] - start[0]) / length, (end[1] - start[1]) / length


def _shortened(start: Point, end: Point) -> Point:
    """Return a point before the end, so that the line does not show beyond the head's tip."""
    x, y = _direction(start, end)
    return end[0] - x * _HEAD * 0.8, end[1] - y * _HEAD * 0.8


def _head(start: Point, end: Point) -> str:
    x, y = _direction(start, end)
    back = (end[0] - x * _HEAD, end[1] - y * _HEAD)
    corners = [
        end,
        (back[0] - y * _HEAD / 2, back[1] + x * _HEAD / 2),
        (back[0] + y * _HEAD / 2, back[1] - x * _HEAD / 2),
    ]
    shape = " ".join(f"{each[0]:.1f},{each[1]:.1f}" for each in corners)
    return f'<polygon class="head" points="{shape}"/>'


def _rounded(points: Sequence[Point]) -> str:
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        entry, leave = _near(corner, before), _near(corner, after)
        parts.append(f"L{entry[0]:.1f} {entry[1]:.1f}")
        parts.append(f"Q{corner[0]:.1f} {corner[1]:.1f} {leave[0]:.1f} {leave[1]:.1f}")
    parts.append(f"L{points[-1][0]:.1f} {points[-1][1]:.1f}")
    return " ".join(parts)


def _near(corner: Point, other: Point) -> Point:
    x, y = _direction(corner, other)
    length = ((other[0] - corner[0]) ** 2 + (other[1] - corner[1]) ** 2) ** 0.5
    step = min(_CORNER, length / 2)
    return corner[0] + x * step, corner[1] + y * step
