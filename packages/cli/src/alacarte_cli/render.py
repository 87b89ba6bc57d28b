"""Rendering for a terminal: tables, colours, and a readable subset of YAML."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["as_yaml", "print_coloured", "table"]

PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.+@-]*(:[A-Za-z0-9/_.+@-]+)*( [A-Za-z0-9/_.,()+-]+)*")
"""Strings that need no quotes in YAML; a safe subset."""

NOT_STRINGS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
"""Strings that some YAML readers do not read as strings."""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows with aligned columns, two spaces apart, without empty columns."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width
        ).rstrip()
        for row in rows
    )


GOOD = ("HEALTHY", "RUNNING")
BAD = ("UNHEALTHY", "DEPLOY_FAILED")
PASSING = ("DEPLOYING", "UPDATING", "UPSCALING", "DOWNSCALING", "STARTING", "STOPPING", "DRAINING")


def print_coloured(text: str) -> None:
    """Print a text, on a terminal with states in colour. Respects `NO_COLOR`."""
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.console import Console  # only terminals need this slow import
    from rich.text import Text

    shown = Text(text)
    shown.highlight_regex(r"(?m)^[A-Z][A-Z ]*[A-Z](?=  )[A-Z0-9 ]*$", "bold")
    for words, style in ((GOOD, "green"), (PASSING, "yellow"), (BAD, "red")):
        shown.highlight_regex(rf"\b({'|'.join(words)})\b", style)
    # Without wrapping: a wrapped table is unreadable.
    Console(highlight=False).print(shown, soft_wrap=True)


def as_yaml(value: Mapping[str, object]) -> str:
    """Return nested mappings of JSON-able scalars, and lists of both, as YAML."""
    return "\n".join(_mapping(value, ""))


def _mapping(value: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, item in value.items():
        label = f"{indent}{_scalar(str(key))}:"
        if isinstance(item, Mapping) and item:
            yield label
            yield from _mapping(item, indent + "  ")
        elif isinstance(item, list) and item:
            yield label
            for each in item:
                is_full = isinstance(each, Mapping) and each
                first, *rest = _mapping(each, indent + "    ") if is_full else [_scalar(each)]
                yield f"{indent}  - {first.lstrip(' ')}"
                yield from rest
        elif isinstance(item, str) and _is_block(item):
            yield f"{label} |-"
            yield from (f"{indent}  {line}" if line else "" for line in item.split("\n"))
        else:
            yield f"{label} {_scalar(item)}"


def _is_block(text: str) -> bool:
    """Return whether YAML can show a text as a block of lines, as most tracebacks."""
    lines = text.split("\n")
    return (
        len(lines) > 1
        and all(line.isprintable() for line in lines)
        and bool(lines[0].strip() and lines[-1].strip())
        and not lines[0].startswith(" ")
    )


def _scalar(value: object) -> str:
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and value.lower() not in NOT_STRINGS
        return value if plain else f'"{"".join(map(_escaped, value))}"'
    if isinstance(value, Mapping | list):
        return "[]" if isinstance(value, list) else "{}"
    # In YAML 1.1, which PyYAML reads, 1e-05 is a string and 1.0e-05 is a number.
    return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
