"""Convert docstrings, plain text with a little Markdown, to reStructuredText for autodoc.

Fenced code and indented paragraphs become literal blocks, before napoleon sees the sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields)\b.*:$")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    # Before napoleon, which listens with priority 500.
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}


def skip(app: Any, what: str, name: str, found: Any, skipped: bool, options: Any) -> bool | None:
    """Skip the generated docstrings of a NamedTuple's fields."""
    return True if str(found.__doc__).startswith("Alias for field number") else None


def process(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring's lines in place."""
    lines[:] = convert(lines)


def convert(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a docstring as reStructuredText."""
    fenced = in_code = in_section = False
    before = ""
    for line in lines:
        indented = line.startswith("    ")
        if line.startswith("```"):
            fenced = not fenced
            if fenced:
                yield f".. code-block:: {line.removeprefix('```') or 'text'}"
            yield ""
            continue
        if fenced:
            yield f"    {line}"
            continue
        in_section = bool(SECTION.match(line)) or (in_section and (indented or not line))
        if indented and not in_section and not in_code and not before:
            in_code = True
            yield "::"
            yield ""
        elif line and not indented:
            in_code = False
        before = line
        yield line
