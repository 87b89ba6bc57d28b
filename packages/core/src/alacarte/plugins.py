"""Plugins of this process, for programs that list or use them, such as the CLI."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from ._plugins import PluginRecord, Plugins, load

__all__ = ["PluginRecord", "Plugins", "load_all_plugins", "load_plugins", "use_plugins"]

_used: list[Plugins] = []


def load_plugins() -> Plugins:
    """Return the plugins of this process, which are loaded once.

    Raises:
        PluginError: Two distributions register a plugin of the same name.
    """
    return _used[-1] if _used else _load_once()


def load_all_plugins() -> Plugins:
    """Load all plugins to list them; plugins with equal names are failed, and nothing raises."""
    return load(refuse_clashes=False)


@functools.lru_cache(maxsize=1)
def _load_once() -> Plugins:
    return load()


@contextlib.contextmanager
def use_plugins(plugins: Plugins) -> Iterator[None]:
    """Use these plugins in this process within a `with` block, for tests."""
    _used.append(plugins)
    try:
        yield
    finally:
        _used.remove(plugins)
