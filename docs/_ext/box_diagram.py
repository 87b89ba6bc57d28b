"""Diagrams of boxes on a grid, and arrows between them.

    client | *proxy*    | replicas / of Shop
           | controller |
    Ray: starts processes | < | <
    client -> proxy: HTTP
    controller --> proxy: routes

Each line with cells is a row of the grid. An empty cell has no box, `<` widens the box to its left,
and `*name*` is an emphasized box. An arrow (`->`, `<->`, dashed `-->`, `<-->`) names the first
lines of the texts of two boxes. ` / ` breaks a line of text.

Arrows run along rows and columns. An arrow between boxes that share neither turns once, in an empty
cell; an arrow with a box in its way in the same row goes around that box.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

import svg
from svg import Point

_ARROW = re.compile(r"(.+?)\s+(<-->|-->|<->|->)\s+([^:]+?)\s*(?::\s*(.*))?$")
_PAIR = 20.0
"""Distance of parallel arrows."""
_LANE = 26.0
"""Distance of arrows that go around boxes."""


@dataclass
class Box:
    """A box: its cells, and its rectangle in pixels once it is laid out."""

    lines: tuple[str, ...]
    row: int
    first: int
    last: int
    accent: bool
    left: float = 0
    top: float = 0
    width: float = 0
    height: float = 0

    @property
    def right(self) -> float:
        """The x of its right side."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The y of its lower side."""
        return self.top + self.height

    @property
    def middle(self) -> Point:
        """The point in its middle."""
        return self.left + self.width / 2, self.top + self.height / 2


@dataclass(frozen=True)
class Arrow:
    """An arrow between two boxes, by the first lines of their texts."""

    start: str
    end: str
    lines: tuple[str, ...]
    dashed: bool
    both: bool


@dataclass
class Grid:
    """The boxes and arrows of a diagram."""

    boxes: dict[str, Box] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)
    num_rows: int = 0
    num_columns: int = 0

    def at(self, row: int, column: int) -> Box | None:
        """Return the box in a cell."""
        for box in self.boxes.values():
            if box.row == row and box.first <= column <= box.last:
                return box
        return None

    def parallel(self, arrow: Arrow) -> tuple[int, int]:
        """Return the place of an arrow among those between the same boxes, and their number."""
        pair = {arrow.start, arrow.end}
        between = [each for each in self.arrows if {each.start, each.end} == pair]
        return between.index(arrow), len(between)


def draw(source: str, *, style: str = "", radius: float = 6) -> str:
    """Return the diagram as an SVG.

    Raises:
        ValueError: A line is malformed, or names an unknown box.
    """
    grid = parse(source)
    shapes = {arrow: _shape(grid, arrow) for arrow in grid.arrows}
    width, height = _lay_out(grid, shapes)
    lanes: dict[tuple[int, str], int] = defaultdict(int)
    lines, labels = "", ""
    for arrow, shape in shapes.items():
        points, label = _route(grid, arrow, shape, lanes)
        lines += svg.arrow(points, dashed=arrow.dashed, both=arrow.both)
        labels += label
        width = max([width, *(x + 6 for x, _ in points)])
    boxes = "".join(
        svg.box(
            box.lines,
            box.left,
            box.top,
            box.width,
            box.height,
            accent=box.accent,
            radius=min(radius, box.height / 2),
        )
        for box in grid.boxes.values()
    )
    return svg.document(width, height, lines + boxes + labels, style=style)


def parse(source: str) -> Grid:
    """Return the boxes and arrows of a diagram's text."""
    grid = Grid()
    for line in source.splitlines():
        arrow = _ARROW.match(line.strip())
        if not line.strip():
            continue
        if arrow:
            start, kind, end, label = arrow.groups()
            grid.arrows.append(
                Arrow(start, end, _lines(label or ""), "--" in kind, kind.startswith("<"))
            )
        else:
            _add_row(grid, line)
    for each in grid.arrows:
        for name in (each.start, each.end):
            if name not in grid.boxes:
                raise ValueError(f"no box {name!r}; there are {', '.join(sorted(grid.boxes))}")
    if not grid.boxes:
        raise ValueError("the diagram is empty")
    return grid


def _add_row(grid: Grid, line: str) -> None:
    before: Box | None = None
    for column, cell in enumerate(line.split("|")):
        text = cell.strip()
        if text == "<" and before:
            before.last = column
        elif text:
            accent = text.startswith("*") and text.endswith("*")
            lines = _lines(text.strip("*"))
            if lines[0] in grid.boxes:
                raise ValueError(f"two boxes are named {lines[0]!r}")
            before = Box(lines, grid.num_rows, column, column, accent)
            grid.boxes[lines[0]] = before
        grid.num_columns = max(grid.num_columns, column + 1)
    grid.num_rows += 1


def _lines(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(" / ")) if text else ()


def _shape(grid: Grid, arrow: Arrow) -> str:
    """Return the shape of an arrow: along a row or column, with a turn, around, or straight."""
    start, end = grid.boxes[arrow.start], grid.boxes[arrow.end]
    if start is end:
        raise ValueError(f"an arrow leads from {arrow.start!r} to itself")
    if start.row == end.row:
        first, last = sorted((start, end), key=lambda box: box.first)
        between = range(first.last + 1, last.first)
        blocked = any(grid.at(start.row, column) for column in between)
        return ("over" if start.first < end.first else "under") if blocked else "row"
    if start.first <= end.last and end.first <= start.last:
        return "column"
    if grid.at(start.row, end.first) is None:
        return "row-column"
    if grid.at(end.row, start.first) is None:
        return "column-row"
    return "across"


def _lay_out(grid: Grid, shapes: dict[Arrow, str]) -> tuple[float, float]:
    """Give each box its rectangle, with room for the labels; return the size of the diagram."""
    widths = [60.0] * grid.num_columns
    heights = [34.0] * grid.num_rows
    right_of = [34.0] * (grid.num_columns - 1) + [2.0]
    below = [30.0] * (grid.num_rows - 1) + [2.0]
    left, above = 2.0, 2.0
    for box in grid.boxes.values():
        heights[box.row] = max(heights[box.row], len(box.lines) * svg.LINE_HEIGHT + 18)
        if box.first == box.last:
            widths[box.first] = max(widths[box.first], svg.text_width(box.lines) + 26)
    lanes: dict[tuple[int, str], int] = defaultdict(int)
    for arrow, shape in shapes.items():
        start, end = grid.boxes[arrow.start], grid.boxes[arrow.end]
        label = svg.text_width(arrow.lines) * 0.93 if arrow.lines else 0.0
        number, among = grid.parallel(arrow)
        if shape == "row":
            gap = min(start.last, end.last)
            right_of[gap] = max(right_of[gap], label + 30)
            if among > 1:
                heights[start.row] = max(heights[start.row], among * _PAIR + 22)
        elif shape == "column":
            upper = min(start.row, end.row)
            below[upper] = max(below[upper], len(arrow.lines) * svg.LINE_HEIGHT + 32)
            narrow = min(start, end, key=lambda box: box.last - box.first)
            room = label + 14 + (_PAIR / 2 if among > 1 else 0) - widths[narrow.first] / 2
            if number == 0 and among > 1:
                if narrow.first == 0:
                    left = max(left, room)
                else:
                    right_of[narrow.first - 1] = max(right_of[narrow.first - 1], room + 10)
            else:
                right_of[narrow.last] = max(right_of[narrow.last], room)
        elif shape in ("row-column", "column-row"):
            side = end if shape == "row-column" else start
            gap = min(start.last, end.last)
            right_of[gap] = max(right_of[gap], label + 34 - widths[side.first] / 2)
        elif shape in ("over", "under"):
            lane = lanes[start.row, shape] = lanes[start.row, shape] + 1
            room = 14 + lane * _LANE + 16
            if shape == "over" and start.row == 0:
                above = max(above, room)
            else:
                gap = start.row - 1 if shape == "over" else start.row
                below[gap] = max(below[gap], room)
    for box in grid.boxes.values():
        inner = range(box.first, box.last + 1)
        room = sum(widths[c] for c in inner) + sum(right_of[c] for c in inner[:-1])
        widths[box.last] += max(0.0, svg.text_width(box.lines) + 26 - room)
    lefts = [left + sum(widths[:c]) + sum(right_of[:c]) for c in range(grid.num_columns)]
    tops = [above + sum(heights[:r]) + sum(below[:r]) for r in range(grid.num_rows)]
    for box in grid.boxes.values():
        box.left, box.top = lefts[box.first], tops[box.row]
        box.width = lefts[box.last] + widths[box.last] - box.left
        box.height = heights[box.row]
    return lefts[-1] + widths[-1] + right_of[-1], tops[-1] + heights[-1] + below[-1]


def _route(
    grid: Grid, arrow: Arrow, shape: str, lanes: dict[tuple[int, str], int]
) -> tuple[list[Point], str]:
    """Return the points of an arrow and its label."""
    start, end = grid.boxes[arrow.start], grid.boxes[arrow.end]
    number, among = grid.parallel(arrow)
    offset = (number - (among - 1) / 2) * _PAIR
    half = len(arrow.lines) * svg.LINE_HEIGHT / 2
    if shape == "row":
        y = start.middle[1] + offset
        forward = start.left < end.left
        begin, finish = (start.right, end.left) if forward else (start.left, end.right)
        points = [(begin, y), (finish, y)]
        beneath = among > 1 and number == among - 1
        label_at = ((points[0][0] + points[1][0]) / 2, y + half + 4 if beneath else y - half - 3)
        return points, _label(arrow, *label_at)
    if shape == "column":
        narrow = min(start, end, key=lambda box: box.width)
        x = narrow.middle[0] + offset
        down = start.top < end.top
        points = [(x, start.bottom if down else start.top), (x, end.top if down else end.bottom)]
        y = (points[0][1] + points[1][1]) / 2
        if among > 1 and number == 0:
            return points, _label(arrow, x - 8, y, anchor="end")
        return points, _label(arrow, x + 8, y, anchor="start")
    if shape in ("over", "under"):
        lane = lanes[start.row, shape] = lanes[start.row, shape] + 1
        shift = 16 if start.left < end.left else -16
        ends = (start.middle[0] + shift, end.middle[0] - shift)
        if shape == "over":
            edge, y = start.top, start.top - lane * _LANE
        else:
            edge, y = start.bottom, start.bottom + lane * _LANE
        points = [(ends[0], edge), (ends[0], y), (ends[1], y), (ends[1], edge)]
        return points, _label(arrow, sum(ends) / 2, y - half - 1 if shape == "over" else y)
    if shape == "across":
        points = [_border(start, end.middle), _border(end, start.middle)]
        x, y = ((points[0][n] + points[1][n]) / 2 for n in (0, 1))
        return points, _label(arrow, x, y)
    level, upright = (start, end) if shape == "row-column" else (end, start)
    shift = _beside_others(grid, upright, level)
    corner = (upright.middle[0] + shift, level.middle[1])
    side = (level.right if level.left < upright.left else level.left, corner[1])
    foot = (corner[0], upright.top if level.top < upright.top else upright.bottom)
    points = [side, corner, foot] if level is start else [foot, corner, side]
    return points, _label(arrow, (side[0] + corner[0]) / 2, corner[1] - half - 3)


def _beside_others(grid: Grid, box: Box, other: Box) -> float:
    """Return the shift of a turned arrow's foot, so that arrows from two sides do not meet."""
    partners = set()
    for arrow in grid.arrows:
        if grid.boxes[arrow.start] is box:
            partners.add(arrow.end)
        elif grid.boxes[arrow.end] is box:
            partners.add(arrow.start)
    above = other.row < box.row
    same_side = [
        partner
        for partner in (grid.boxes[name] for name in partners)
        if partner.row != box.row and (partner.row < box.row) == above
    ]
    if len(same_side) < 2:
        return 0
    return box.width / 4 if other.left > box.left else -box.width / 4


def _border(box: Box, toward: Point) -> Point:
    """Return the point of a box's border on the way from its middle to a point."""
    x, y = box.middle
    dx, dy = toward[0] - x, toward[1] - y
    reach = min(
        box.width / 2 / abs(dx) if dx else float("inf"),
        box.height / 2 / abs(dy) if dy else float("inf"),
    )
    return x + dx * reach, y + dy * reach


def _label(arrow: Arrow, x: float, y: float, *, anchor: str = "middle") -> str:
    return svg.text(arrow.lines, x, y, kind="label", anchor=anchor) if arrow.lines else ""
