"""`alacarte shutdown`: end everything that runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from alacarte_cli.facade import Facade, GetFacade, facade

__all__ = ["ShutdownCommand", "command"]


class ShutdownCommand:
    """Shuts the running instance down, after asking. It starts nothing, Ray included.

    Args:
        get_facade: Gives `alacarte.serve`.
        ask: Shows a prompt and returns the answer.
    """

    def __init__(self, get_facade: GetFacade = facade, ask: Callable[[str], str] = input) -> None:
        self._get_facade = get_facade
        self._ask = ask

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare where to look, and how not to be asked."""
        parser.add_argument("-a", "--address", help="the Ray cluster (default: RAY_ADDRESS)")
        parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--force",
            action="store_true",
            help="kill everything at once, also where the instance does not answer any more",
        )

    def run(self, options: argparse.Namespace) -> int:
        """Return 0 when nothing runs any more, 1 when the answer was no."""
        serve = self._get_facade()
        if options.force:
            return self._by_force(serve, options)
        if not serve.attach(options.address):
            print("nothing is running.")
            return 0
        applications = ", ".join(serve.status().applications) or "no application"
        if not options.yes and not self._confirmed(f"Shut down {applications} and all processes"):
            print("left running.", file=sys.stderr)
            return 1
        serve.shutdown()
        print(f"shut down ({applications}).")
        return 0

    def _by_force(self, serve: Facade, options: argparse.Namespace) -> int:
        """End what there is without a word to it: to ask what runs might wait for ever."""
        at = f" on {options.address}" if options.address else ""
        if not options.yes and not self._confirmed(f"Kill all processes of alacarte{at}"):
            print("left as it is.", file=sys.stderr)
            return 1
        serve.shutdown(force=True, address=options.address)
        print("nothing is running any more.")
        return 0

    def _confirmed(self, what: str) -> bool:
        try:
            answer = self._ask(f"{what}? [y/N] ")
        except EOFError:  # nobody is there to answer
            print("\nno answer; give -y to shut down without being asked.", file=sys.stderr)
            return False
        return answer.strip().lower() in ("y", "yes")


command = ShutdownCommand()
