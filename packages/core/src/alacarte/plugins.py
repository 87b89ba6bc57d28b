"""The plugins of this process, for programs that show or use them, such as the CLI."""

from __future__ import annotations

from ._plugins import PluginRecord, Plugins

__all__ = ["PluginRecord", "Plugins", "load_plugins"]


def load_plugins() -> Plugins:
    """Return this process's plugins, loaded once.

    Raises:
        PluginError: Two distributions register a plugin of the same name.
    """
    from .serve._current import loaded_plugins

    return loaded_plugins()
