"""`serve hello-plugin`."""

from __future__ import annotations

import argparse

__all__ = ["HelloCommand", "command"]


class HelloCommand:
    """Greets."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="world")
        parser.add_argument("--fail", action="store_true")

    def run(self, options: argparse.Namespace) -> int:
        if options.fail:
            raise RuntimeError("no greeting today")
        loaded = [record.name for record in options.plugins.loaded]
        print(f"hello {options.name}, from one of {len(loaded)} plugins")
        return 0


command = HelloCommand()
