"""`alacarte plugins`: list the installed plugins, their states, and what they provide."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

from alacarte.plugins import PluginRecord, Plugins
from alacarte_cli.render import table

__all__ = ["PluginsCommand", "command", "contributions"]

HEADER = ("NAME", "VERSION", "DISTRIBUTION", "STATE", "PROVIDES")


HOOKS_HEADER = ("HOOK", "SPECIFIED BY", "IMPLEMENTED BY")


class PluginsCommand:
    """The command that prints a table of plugins and, below it, why some are not loaded."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the option `--hooks`."""
        parser.add_argument(
            "--hooks", action="store_true", help="list hooks, with the plugins that implement them"
        )

    def run(self, options: argparse.Namespace) -> int:
        """Print the table; return 1 when a plugin has failed or clashes with another plugin."""
        plugins: Plugins = options.plugins
        records = plugins.examine()
        if options.hooks:
            print(table([HOOKS_HEADER, *_hook_rows(plugins)]))
        else:
            print(table([HEADER, *map(_row, records)]))
        for record in records:
            if record.reason:
                print(f"\n{record.name} is {record.state}: {record.reason}")
        return 1 if any(record.state == "failed" for record in records) else 0


def _hook_rows(plugins: Plugins) -> Iterator[tuple[str, ...]]:
    for name, specification in sorted(plugins.specifications.items()):
        users = ", ".join(plugins.implementers(name))
        yield (name, specification.plugin, users or "-")


def _row(record: PluginRecord) -> tuple[str, ...]:
    provides = "; ".join(contributions(record)) if record.state == "loaded" else ""
    source = record.distribution or record.target
    return (record.name, record.version or "-", source, record.state, provides or "-")


def contributions(record: PluginRecord) -> Iterator[str]:
    """Yield a loaded plugin's contributions by hook: `commands: run, status`, `wrap_replica`."""
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


def _name(value: object) -> str:
    """Return the name of a registered value: its `name`, a module's name, or a string itself."""
    return str(getattr(value, "name", getattr(value, "__name__", value)))


command = PluginsCommand()
