"""The plugins of this process, for programs that show or use them, such as the CLI."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from ._plugins import PluginRecord, Plugins, load

__all__ = ["PluginRecord", "Plugins", "load_all_plugins", "load_plugins", "use_plugins"]

_used: list[Plugins] = []


def load_plugins() -> Plugins:
    """Return this process's plugins, loaded once.

    Raises:
        PluginError: Two distributions register a plugin of the same name.
    """
    return _used[-1] if _used else _load_once()


def load_all_plugins() -> Plugins:
    """Load plugins to show them: those of one name have failed, and nothing is raised."""
    return load(refuse_clashes=False)


@functools.lru_cache(maxsize=1)
def _load_once() -> Plugins:
    return load()


@contextlib.contextmanager
def use_plugins(plugins: Plugins) -> Iterator[None]:
    """Have these be the plugins of this process for a while, for tests."""
    _used.append(plugins)
    try:
        yield
    finally:
        _used.remove(plugins)
