"""Hook implementations of alacarte-cli: the first-party subcommands."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import Command

__all__ = ["register_commands"]


@hookimpl
def register_commands() -> list[Command]:
    """Return the first-party subcommands."""
    here = "alacarte_cli.commands"
    return [
        Command("run", "Run an application and serve it until Ctrl-C.", f"{here}.run:command"),
        Command("status", "Show applications, deployments and proxies.", f"{here}.status:command"),
        Command("shutdown", "Shut down all applications.", f"{here}.shutdown:command"),
        Command("plugins", "List plugins and what they provide.", f"{here}.plugins:command"),
        Command("doctor", "Check the installation; repair `serve`.", f"{here}.doctor:command"),
    ]
