"""`alacarte shutdown`: shut the running instance down."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from alacarte_cli.facade import Facade, GetFacade, facade

__all__ = ["ShutdownCommand", "command"]


class ShutdownCommand:
    """The command that shuts the running instance down, after a question. Starts nothing.

    Args:
        get_facade: Returns `alacarte.serve`.
        ask: Shows a prompt and returns the answer.
    """

    def __init__(self, get_facade: GetFacade = facade, ask: Callable[[str], str] = input) -> None:
        self._get_facade = get_facade
        self._ask = ask

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the cluster, and the options `--yes` and `--force`."""
        parser.add_argument("-a", "--address", help="the Ray cluster (default: RAY_ADDRESS)")
        parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--force",
            action="store_true",
            help="kill all processes at once, even if the instance does not answer",
        )

    def run(self, options: argparse.Namespace) -> int:
        """Shut down; return 0 when no instance is running any more, 1 when the answer was no."""
        serve = self._get_facade()
        if options.force:
            return self._by_force(serve, options)
        if not serve.attach(options.address):
            print("nothing is running.")
            return 0
        applications = ", ".join(serve.status().applications) or "no application"
        if not options.yes and not self._confirmed(f"Shut down {applications} and all processes"):
            print("not shut down.", file=sys.stderr)
            return 1
        serve.shutdown()
        print(f"shut down ({applications}).")
        return 0

    def _by_force(self, serve: Facade, options: argparse.Namespace) -> int:
        """Kill all processes without a call to the instance, which may never answer."""
        at = f" on {options.address}" if options.address else ""
        if not options.yes and not self._confirmed(f"Kill all processes of alacarte{at}"):
            print("not killed.", file=sys.stderr)
            return 1
        serve.shutdown(force=True, address=options.address)
        print("nothing is running any more.")
        return 0

    def _confirmed(self, question: str) -> bool:
        try:
            answer = self._ask(f"{question}? [y/N] ")
        except EOFError:  # not a terminal
            print("\nno answer; pass -y to shut down without a question.", file=sys.stderr)
            return False
        return answer.strip().lower() in ("y", "yes")


command = ShutdownCommand()
