"""The main program: find plugins' commands, and run one of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol, cast

from alacarte.errors import PluginError
from alacarte.foreign import load_target
from alacarte.plugins import Plugins, load_all_plugins, load_plugins
from alacarte.types import Command

from .__about__ import __version__
from .hooks import register_commands
from .render import table

__all__ = ["Runnable", "main"]


class Runnable(Protocol):
    """The object at a `Command`'s target.

    Besides the command's own arguments, `options` has `plugins`, the loaded plugins, and
    `traceback`, whether to show the traceback of an error.
    """

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the command and return the exit code. An exception is printed, with exit code 1."""


def main(argv: Sequence[str] | None = None, load: Callable[[], Plugins] = load_plugins) -> int:
    """Run one subcommand and return the exit code: 1 for an error, 2 for wrong usage.

    Args:
        argv: The arguments after the program's name; `sys.argv` when None.
        load: Loads the plugins.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        return _dispatch(words, _loaded(words, load))
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # foreign code: users' modules and constructors, other commands
        from .failure import format_error

        print(format_error(error, full="--traceback" in words), file=sys.stderr)
        return 1


def _loaded(words: Sequence[str], load: Callable[[], Plugins]) -> Plugins:
    """Load the plugins. `alacarte plugins` must run even when two plugins have the same name."""
    try:
        return load()
    except PluginError:
        if list(words[:1]) != ["plugins"]:
            raise
        return load_all_plugins()


def _dispatch(words: Sequence[str], plugins: Plugins) -> int:
    commands = _commands(words, plugins)
    top = _top_parser(commands)
    chosen = top.parse_args(words)
    if chosen.command is None:
        top.print_help(sys.stderr)
        return 2
    command = commands.get(chosen.command)
    if command is None:
        top.error(_unknown(chosen.command, commands))
    runnable = _imported(command)
    options = _parsed(_parser(top.prog, command, runnable), chosen.words)
    options.plugins = plugins
    return runnable.run(options)


def _commands(words: Sequence[str], plugins: Plugins) -> Mapping[str, Command]:
    """Return all commands. `alacarte plugins` must run even when plugins clash over a command."""
    shows_plugins = list(words[:1]) == ["plugins"]
    try:
        commands = plugins.commands
    except PluginError:
        if not shows_plugins:
            raise
        commands = {}
    if shows_plugins and "plugins" not in commands:
        return {command.name: command for command in register_commands()}
    return commands


def _top_parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return a parser of the command's name, with help for all commands; imports none."""
    name = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog=name if name in ("serve", "alacarte") else "alacarte",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description="Deploy and manage applications of alacarte.",
        epilog="commands:\n"
        + table([("  " + command.name, command.help) for command in commands.values()])
        + "\n\n`%(prog)s COMMAND -h` shows the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"alacarte-cli {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _unknown(name: str, commands: Mapping[str, Command]) -> str:
    close = get_close_matches(name, commands, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; commands: {', '.join(commands)}."
    return f"no command {name!r}{hint}"


def _imported(command: Command) -> Runnable:
    try:
        return cast(Runnable, load_target(command.target))
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"command {command.name}: {command.target} cannot be loaded: {error}"
        ) from error


def _parser(program: str, command: Command, runnable: Runnable) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program} {command.name}",
        description=command.help,
        conflict_handler="resolve",  # a command may have a --traceback of its own
    )
    parser.add_argument("--traceback", action="store_true", help="show tracebacks of errors")
    runnable.arguments(parser)
    return parser


def _parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse options and positional arguments in any order: `alacarte run app:app --port 1 a=b`."""
    try:
        return parser.parse_intermixed_args(words)
    except TypeError:  # the parser has subcommands, which cannot be mixed
        return parser.parse_args(words)
