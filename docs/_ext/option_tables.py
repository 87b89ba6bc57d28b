"""The directive `options`: a table of a pydantic model's fields, from its docstring.

```{options} alacarte.config:DeploymentConfig
```
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("options", Options)
    return {"parallel_read_safe": True}


class Options(SphinxDirective):
    """A table with one row for each field: name, type, default, meaning."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the table, parsed as Markdown of the page."""
        container = nodes.container()
        rows = StringList(table(self.arguments[0]), source=self.get_source_info()[0])
        self.state.nested_parse(rows, self.content_offset, container)
        for each in container.findall(nodes.table):
            each["classes"].append("options")
        return container.children


def table(target: str) -> list[str]:
    """Return the table of a model as Markdown lines.

    Raises:
        LookupError: A field has no description in the model's docstring.
    """
    module, _, name = target.partition(":")
    model = getattr(importlib.import_module(module), name)
    meanings = descriptions(model.__doc__ or "")
    rows = ["| option | type | default | |", "|---|---|---|---|"]
    for field, info in model.model_fields.items():
        if field not in meanings:
            raise LookupError(f"{target}: the docstring does not describe {field!r}")
        kind = _type(model, field)
        cells = [f"`{field}`", f"`{kind}`", _default(info), meanings[field]]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def descriptions(docstring: str) -> dict[str, str]:
    """Return the entries of a docstring's section `Attributes:`."""
    _, _, section = docstring.partition("Attributes:\n")
    section = re.split(r"\n\n", section)[0]
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = re.match(r"\s+(\w+): (.*)", line)
        # A continuation is indented deeper than the names are.
        if entry and (not found or _indent(line) <= _indent(section)):
            name = entry[1]
            found[name] = entry[2]
        elif name:
            found[name] += " " + line.strip()
    return found


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _type(model: Any, field: str) -> str:
    for owner in model.__mro__:
        if field in getattr(owner, "__annotations__", {}):
            kind = owner.__annotations__[field]
            shown = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
            shown = re.sub(r"Annotated\[(\w+),.*?\)\]", r"\1", shown)
            shown = re.sub(r"\b(Positive|NotNegative|Quantity)\b", "float", shown)
            return re.sub(r"\bBundle\b", "dict[str, float]", shown)
    return "Any"


def _default(info: Any) -> str:
    if info.is_required():
        return "–"
    value = info.get_default(call_default_factory=True)
    if hasattr(value, "model_dump"):
        return f"`{type(value).__name__}()`"
    return f"`{str(value)!r}`" if isinstance(value, str) else f"`{value!r}`"
