"""Sequence diagrams: participants side by side, and the messages between them from top to bottom.

    client | proxy | replica
    client -> proxy: GET /
    proxy: chooses a replica
    proxy -> replica: REQUEST frame
    replica --> proxy: RESPONSE frame
    --- later

The first line names the participants. `->` is a message, `-->` an answer; a line without an arrow
is a note on a participant; `---` begins a part with a heading. ` / ` breaks a line of text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import svg

_MESSAGE = re.compile(r"(.+?)\s+(-->|->)\s+([^:]+?)\s*(?::\s*(.*))?$")
_STEP = 16.0
_NOTE_PADDING = 8.0


@dataclass(frozen=True)
class Message:
    """A line of the diagram: a message, a note (`end` is empty), or a heading (no participant)."""

    start: str
    end: str
    lines: tuple[str, ...]
    dashed: bool = False


def draw(source: str, *, style: str = "") -> str:
    """Return the diagram as an SVG.

    Raises:
        ValueError: A line is malformed, or names an unknown participant.
    """
    names, messages = parse(source)
    labels = [_lines(name) for name in names]
    index = {lines[0]: number for number, lines in enumerate(labels)}
    widths = [max(svg.text_width(lines) + 24, 76) for lines in labels]
    centers = _centers(widths, messages, index)
    head = max(len(lines) for lines in labels) * svg.LINE_HEIGHT + 18
    right = max(
        [center + width / 2 for center, width in zip(centers, widths, strict=True)]
        + [
            centers[index[each.start]] + svg.text_width(each.lines) / 2 + _NOTE_PADDING
            for each in messages
            if each.start and not each.end
        ]
    )
    body, y = "", 2 + head + _STEP
    for message in messages:
        height = len(message.lines) * svg.LINE_HEIGHT
        if not message.start:
            body += svg.text(message.lines, 2, y + height / 2, kind="label", anchor="start")
            y += height + _STEP / 2
        elif not message.end:
            center, width = centers[index[message.start]], svg.text_width(message.lines)
            left = center - width / 2 - _NOTE_PADDING
            body += svg.box(
                message.lines, left, y, width + 2 * _NOTE_PADDING, height + 8, accent=True, radius=4
            )
            y += height + 8 + _STEP
        else:
            start, end = centers[index[message.start]], centers[index[message.end]]
            body += svg.text(message.lines, (start + end) / 2, y + height / 2 - 2, kind="label")
            line = y + height + 3
            body += svg.arrow([(start, line), (end, line)], dashed=message.dashed)
            y = line + _STEP
    under = "".join(
        f'<line class="life" x1="{x:.1f}" x2="{x:.1f}" y1="{2 + head:.1f}" y2="{y:.1f}"/>'
        for x in centers
    )
    heads = "".join(
        svg.box(lines, x - width / 2, 2, width, head)
        for lines, x, width in zip(labels, centers, widths, strict=True)
    )
    return svg.document(right + 4, y + 4, under + heads + body, style=style)


def parse(source: str) -> tuple[list[str], list[Message]]:
    """Return the participants and the messages of a diagram's text."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    if not lines:
        raise ValueError("the diagram is empty")
    names = [name.strip() for name in lines[0].split("|")]
    known = {_lines(name)[0] for name in names}
    messages = []
    for line in lines[1:]:
        found = _MESSAGE.match(line)
        if line.startswith("---"):
            messages.append(Message("", "", _lines(line.strip("- "))))
        elif found:
            start, kind, end, label = found.groups()
            messages.append(Message(start, end, _lines(label or ""), kind == "-->"))
        else:
            start, _, note = line.partition(":")
            messages.append(Message(start.strip(), "", _lines(note)))
    for message in messages:
        for name in (message.start, message.end):
            if name and name not in known:
                raise ValueError(f"no participant {name!r}; there are {', '.join(sorted(known))}")
    return names, messages


def _lines(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(" / "))


def _centers(widths: list[float], messages: list[Message], index: dict[str, int]) -> list[float]:
    """Return the x of each participant, so far apart that every label fits between its two."""
    centers = [2 + widths[0] / 2]
    for message in messages:
        if message.start and not message.end and index[message.start] == 0:
            centers[0] = max(centers[0], svg.text_width(message.lines) / 2 + _NOTE_PADDING + 2)
    for number in range(1, len(widths)):
        x = centers[-1] + (widths[number - 1] + widths[number]) / 2 + 24
        for message in messages:
            if not message.start:
                continue
            width = svg.text_width(message.lines)
            if not message.end:
                side = width / 2 + _NOTE_PADDING + 14
                if index[message.start] in (number - 1, number):
                    x = max(x, centers[number - 1] + side)
                continue
            first, last = sorted((index[message.start], index[message.end]))
            if last == number:
                x = max(x, centers[first] + width + 22)
        centers.append(x)
    return centers
