"""What this package gives alacarte: the first subcommands of `serve`."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import Command

__all__ = ["register_commands"]


@hookimpl
def register_commands() -> list[Command]:
    """Return our own subcommands, the same way anyone else's arrive."""
    here = "alacarte_cli.commands"
    return [
        Command("run", "Run an application and serve it until Ctrl-C.", f"{here}.run:command"),
        Command("status", "Show what is running, and how it is.", f"{here}.status:command"),
        Command("shutdown", "End everything that is running.", f"{here}.shutdown:command"),
        Command("plugins", "List plugins and what each one gives.", f"{here}.plugins:command"),
        Command("doctor", "Check this installation; can repair `serve`.", f"{here}.doctor:command"),
    ]
