"""Draw the pictures that stand alone, light and dark: `python docs/_pictures/draw.py`.

`request-*.svg` from `request.txt`, and `recording-*.svg` from `session.json`, into `docs/_static`.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
STATIC = HERE.parent / "_static"
sys.path.insert(0, str(HERE.parent / "_ext"))

import svg  # noqa: E402  the documentation's own extensions
from diagram import standalone  # noqa: E402

LONGEST_PAUSE_S = 1.4
"""Longer pauses of the session are cut to this."""
TYPING_S = 0.03
END_S = 6.0
CHARACTER = 7.83
ROW = 20
LEFT, TOP = 18, 58
COLUMNS = 56


class Row(NamedTuple):
    """A line of the terminal, and when it appears."""

    at_s: float
    typed_s: float
    kind: str
    text: str


def rows(events: list[dict[str, object]]) -> Iterator[Row]:
    """Yield the rows of the recording, with typing added and long pauses cut.

    The first command is there from the beginning, so that no frame is empty.
    """
    now, before = 0.0, float(str(events[0]["at_s"]))
    for number, event in enumerate(events):
        at, text = float(str(event["at_s"])), str(event["text"])
        now += min(at - before, LONGEST_PAUSE_S)
        before = at
        typed = len(text) * TYPING_S if number and event["kind"] == "command" else 0.0
        yield Row(now, typed, str(event["kind"]), text)
        now += typed + (0.25 if typed else 0.0)


def recording(events: list[dict[str, object]], *, light: bool) -> str:
    """Return the session as an animated SVG that shows its last picture where nothing may move."""
    found = list(rows(events))
    total = found[-1].at_s + found[-1].typed_s + END_S
    colours = (
        ("#f6f8fa", "#d0d7de", "#1f2328", "#0a5bd3", "#57606a")
        if light
        else ("#0d1117", "#30363d", "#e6edf3", "#79b8ff", "#9aa4af")
    )
    ground, line, text, prompt, quiet = colours
    width = LEFT * 2 + round(COLUMNS * CHARACTER)
    height = TOP + len(found) * ROW + 8
    style = [
        (
            f".r{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:{text};"
            "white-space:pre}"
        ),
        f".p{{fill:{prompt};font-weight:600}}.q{{fill:{quiet}}}",
        "@media (prefers-reduced-motion:reduce){*{animation:none!important}.c{display:none}}",
    ]
    body = [
        (
            f'<rect width="{width - 1}" height="{height - 1}" x=".5" y=".5" rx="8" fill="{ground}" '
            f'stroke="{line}"/>'
        ),
        *(
            f'<circle cx="{LEFT + 6 + n * 18}" cy="22" r="5.5" fill="{colour}"/>'
            for n, colour in enumerate(("#ff6159", "#ffbd2e", "#28c941"))
        ),
    ]
    for number, row in enumerate(found):
        y = TOP + number * ROW
        start = 100 * row.at_s / total
        if row.at_s:
            style.append(
                f"@keyframes s{number}{{0%,{start:.2f}%{{opacity:0}}"
                f"{start + 0.01:.2f}%,100%{{opacity:1}}}}"
                f"#l{number}{{animation:s{number} {total:.1f}s step-end infinite}}"
            )
        command, _, comment = row.text.partition("  #")
        shown = html.escape(command) + (
            f'<tspan class="q">  #{html.escape(comment)}</tspan>' if comment else ""
        )
        mark = '<tspan class="p">$ </tspan>' if row.kind == "command" else ""
        length = (len(row.text) + (2 if mark else 0)) * CHARACTER
        body.append(
            f'<text id="l{number}" class="r" x="{LEFT}" y="{y}" xml:space="preserve" '
            f'textLength="{length:.1f}">{mark}{shown}</text>'
        )
        if row.typed_s:
            end = 100 * (row.at_s + row.typed_s) / total
            reach = len(row.text) * CHARACTER
            style.append(
                f"@keyframes t{number}{{0%,{start:.2f}%{{transform:none;"
                f"animation-timing-function:steps({len(row.text)})}}"
                f"{end:.2f}%,100%{{transform:translateX({reach + 8:.0f}px)}}}}"
                f"#c{number}{{animation:t{number} {total:.1f}s linear infinite}}"
            )
            # A cover over the command, which moves to the right as it is typed.
            body.append(
                f'<svg x="{LEFT}" y="{y - 14}" width="{width - LEFT - 8}" height="{ROW}">'
                f'<rect id="c{number}" class="c" x="{2 * CHARACTER:.1f}" width="{reach + 4:.0f}" '
                f'height="{ROW}" fill="{ground}" style="transform:translateX({reach + 8:.0f}px)"/>'
                "</svg>"
            )
    return svg.document(width, height, "".join(body), style="".join(style))


def pictures() -> dict[str, str]:
    """Return the text of each file, by name."""
    events = json.loads((HERE / "session.json").read_text(encoding="utf-8"))
    request = (HERE / "request.txt").read_text(encoding="utf-8")
    return {
        "request-light.svg": standalone("boxes", request, svg.LIGHT),
        "request-dark.svg": standalone("boxes", request, svg.DARK),
        "recording-light.svg": recording(events, light=True),
        "recording-dark.svg": recording(events, light=False),
    }


if __name__ == "__main__":
    for name, picture in pictures().items():
        (STATIC / name).write_text(picture + "\n", encoding="utf-8")
