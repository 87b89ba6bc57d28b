"""`python -m alacarte`: the program `alacarte`, which the package alacarte-cli gives."""

from __future__ import annotations

import sys
from importlib import metadata

from ._plugins import missing_package

__all__ = ["main"]


def main() -> int | str:
    """Run the installed program of that name; return its exit code, or why there is none."""
    # A script of that name may be somebody else's.
    scripts = metadata.entry_points(group="console_scripts", name="alacarte")
    ours = [each for each in scripts if each.dist is not None and each.dist.name == "alacarte-cli"]
    if not ours:
        return f"error: {missing_package('python -m alacarte', 'python -m alacarte')}"
    result: int = ours[0].load()()
    return result


if __name__ == "__main__":
    sys.exit(main())
