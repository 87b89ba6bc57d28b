"""`alacarte plugins`: what is installed, what became of it, and what it gives."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from typing import Any

from alacarte.plugins import PluginRecord, Plugins
from alacarte_cli.render import table

__all__ = ["PluginsCommand", "command", "given"]

HEADER = ("NAME", "VERSION", "DISTRIBUTION", "STATE", "GIVES")


class PluginsCommand:
    """Prints a table of all plugins and, below it, why some are not loaded."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare nothing: there is no choice to make."""

    def run(self, options: argparse.Namespace) -> int:
        """Print, and return 0."""
        plugins: Plugins = options.plugins
        print(table([HEADER, *map(_row, plugins.records)]))
        for record in plugins.records:
            if record.reason:
                print(f"\n{record.name} is {record.state}: {record.reason}")
        return 0


def _row(record: PluginRecord) -> tuple[str, ...]:
    gives = "; ".join(given(record)) if record.state == "loaded" else ""
    source = record.distribution or record.target
    return (record.name, record.version or "-", source, record.state, gives or "-")


def given(record: PluginRecord) -> Iterator[str]:
    """Yield what a loaded plugin gives, hook by hook: `commands: run, status`, `wrap_replica`."""
    plugin = importlib.import_module(record.target)
    for hook in sorted(dir(plugin)):
        implementation = getattr(plugin, hook)
        if not hasattr(implementation, "alacarte_impl"):
            continue
        if hook.startswith("register_"):
            names = ", ".join(map(_name, implementation()))
            yield f"{hook.removeprefix('register_')}: {names or 'nothing'}"
        else:
            yield hook


def _name(value: Any) -> str:
    """Return the name of a registered value: a module has its own, modules to import are names."""
    return str(getattr(value, "name", getattr(value, "__name__", value)))


command = PluginsCommand()
