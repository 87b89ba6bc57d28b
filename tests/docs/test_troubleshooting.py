"""The messages that guides quote are messages of the code, so that a search finds the guide."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.pages import ROOT

GUIDES = ROOT / "docs" / "how-to"
VARIABLE = "…"
HEADING = re.compile(r"^### (`+)(.+)\1$", re.MULTILINE)
SYMPTOMS = re.compile(r"^\| you see \|.*\n((?:\|.*\n)+)", re.MULTILINE)
QUOTED = re.compile(r"^\| `(?:\w+Error: )?([^`]+ [^`]+)`", re.MULTILINE)


def messages() -> list[str]:
    """Return the messages in the headings of the page of troubleshooting, those of Ray left out."""
    text = (GUIDES / "troubleshooting.md").read_text(encoding="utf-8")
    return [found[2] for found in HEADING.finditer(text)]


def symptoms() -> list[str]:
    """Return the messages that begin a row of a table of symptoms, in any guide."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(GUIDES.glob("*.md"))]
    tables = [table[1] for text in texts for table in SYMPTOMS.finditer(text)]
    return [row[1] for table in tables for row in QUOTED.finditer(table)]


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


@pytest.mark.parametrize("message", sorted({*messages(), *symptoms()}))
def test_message_is_in_the_source(message: str):
    """The fixed parts of a message stand in one module."""
    parts = [part.strip(" .;,") for part in message.split(VARIABLE)]
    assert any(all(part in source for part in parts) for source in SOURCES)


def test_messages_are_read():
    """The headings are found."""
    assert "result() would block the event loop that runs here" in messages()
    assert len(messages()) > 50
    assert "a streaming response has no single result" in symptoms()
