"""The plugins of this process, for programs that show or use them, such as the CLI."""

from __future__ import annotations

import functools

from ._plugins import PluginRecord, Plugins, load

__all__ = ["PluginRecord", "Plugins", "load_plugins"]


@functools.lru_cache(maxsize=1)
def load_plugins() -> Plugins:
    """Return this process's plugins, loaded once.

    Raises:
        PluginError: Two distributions register a plugin of the same name.
    """
    return load()
