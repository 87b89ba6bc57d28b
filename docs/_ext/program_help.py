"""The directive `program-help`: the help text of a subcommand of `alacarte`.

```{program-help} run
```
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("program-help", ProgramHelp)
    return {"parallel_read_safe": True}


class ProgramHelp(SphinxDirective):
    """The help text of one subcommand."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the text as a terminal shows it."""
        text = help_text(self.arguments[0])
        return [nodes.literal_block(text, text, language="text")]


def help_text(name: str) -> str:
    """Return the output of `alacarte NAME --help`."""
    from alacarte.plugins import load_plugins

    command = load_plugins().commands[name]
    module, _, attribute = command.target.partition(":")
    parser = argparse.ArgumentParser(prog=f"alacarte {name}", description=command.help)
    parser.add_argument("--traceback", action="store_true", help="show all of an error")
    getattr(importlib.import_module(module), attribute).arguments(parser)
    return parser.format_help()
