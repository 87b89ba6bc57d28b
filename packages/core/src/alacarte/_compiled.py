"""Compiled modules in place of those in Python, where alacarte-compiled is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

__all__ = ["use_compiled_modules"]


def use_compiled_modules() -> None:
    """Let the hot modules be imported compiled; called before any of them is imported."""
    if find_spec("alacarte_compiled") is not None:
        import_module("alacarte_compiled").use()
