"""`python -m alacarte`: run the program `alacarte` of the package alacarte-cli."""

from __future__ import annotations

import sys
from importlib import metadata

from ._plugins import missing_package

__all__ = ["main"]


def main() -> int | str:
    """Run the program of alacarte-cli; return its exit code, or an error for `sys.exit`."""
    # Another distribution may install a script of the same name.
    scripts = metadata.entry_points(group="console_scripts", name="alacarte")
    found = [each for each in scripts if each.dist is not None and each.dist.name == "alacarte-cli"]
    if not found:
        return f"error: {missing_package('python -m alacarte', 'python -m alacarte')}"
    result: int = found[0].load()()
    return result


if __name__ == "__main__":
    sys.exit(main())
