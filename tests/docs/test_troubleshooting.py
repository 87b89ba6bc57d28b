"""The messages that the page of troubleshooting quotes are messages of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
VARIABLE = "…"
HEADING = re.compile(r"^### (`+)(.+)\1$", re.MULTILINE)


def messages() -> list[str]:
    """Return the messages of the page's headings, but for those marked as Ray's."""
    return [found[2] for found in HEADING.finditer(PAGE.read_text(encoding="utf-8"))]


def strings(path: Path) -> Iterator[str]:
    """Yield the strings of a module, with `…` for each value that is filled in."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    inner = {id(part) for node in formatted for part in node.values}
    for node in formatted:
        parts = [part.value if isinstance(part, ast.Constant) else VARIABLE for part in node.values]
        yield "".join(map(str, parts))
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield re.sub(r"%[-.\d]*[sdrfg]", VARIABLE, node.value)


SOURCES = ["\n".join(strings(path)) for path in sorted(ROOT.glob("packages/*/src/**/*.py"))]


@pytest.mark.parametrize("message", messages())
def test_message_is_in_the_source(message: str):
    """The fixed parts of a message stand in one module."""
    parts = [part.strip(" .;,") for part in message.split(VARIABLE)]
    assert any(all(part in source for part in parts) for source in SOURCES)


def test_messages_are_read():
    """The headings are found."""
    assert "result() would block the event loop that runs here" in messages()
    assert len(messages()) > 50
