"""Markdown pages as a reader uses them: from top to bottom, one code block after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:8000"
"""Where pages say that HTTP answers; tests put another port."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: The line of the page that its text begins on.
        text: Without the fences.
        file: The file it is to be saved as, "" for code that runs at once: its first line is a
            comment with just the file's name.
    """

    path: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str:
        named = re.match(r"# ([\w/.]+\.\w+)\n", self.text)
        return named[1] if named else ""


def pages() -> list[Path]:
    """Return every page with code: the READMEs, and the documentation."""
    found = [ROOT / "README.md", *ROOT.glob("packages/*/README.md"), *ROOT.glob("examples/**/*.md")]
    found += [path for path in ROOT.glob("docs/**/*.md") if "_build" not in path.parts]
    return sorted(found)


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, directives such as `{note}` left out."""
    language, start, lines = "", 0, list[str]()
    fence = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        opened = re.match(r"(```+|~~~+)(.*)$", line)
        if not fence and opened:
            fence, language, start, lines = opened[1], opened[2].strip(), number + 1, []
        elif fence and line.rstrip() == fence:
            yield Block(path, start, language, "\n".join(lines) + "\n")
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        raise ValueError(f"{path}:{start}: a fence is not closed")


def clusters(path: Path) -> list[str]:
    """Return where a page's code is run: on the local cluster, and on Ray where it says so."""
    marked = re.search(r"<!-- examples run on: ([\w, ]+) -->", path.read_text(encoding="utf-8"))
    return marked[1].split(", ") if marked else ["local"]


def is_notebook(path: Path) -> bool:
    """Return whether a page's code is made of notebook cells, which run in an event loop."""
    return "<!-- examples run in: a notebook -->" in path.read_text(encoding="utf-8")
