"""What plugins failed at in this process: contained, logged once, and shown in the status."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from ..foreign import describe_error
from ..status import PluginFailure

__all__ = ["MAX_FAILURES", "PluginFailures"]

log = logging.getLogger("alacarte.plugins")
MAX_FAILURES = 64
"""Kinds of failure kept in a process; beyond them the oldest is forgotten."""
_MAX_MESSAGE = 500


class PluginFailures:
    """Keeps the failures of the plugins of one process."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str, str, str], PluginFailure] = {}
        self._changed: list[Callable[[], None]] = []

    def note(self, plugin: str, hook: str, error: BaseException, subject: str = "") -> None:
        """Keep a failure; log the first of its kind with its traceback.

        Args:
            plugin: Name of the plugin whose code raised, or returned something wrong.
            hook: The hook, or the thing it gave: "wrap_caller", "routing policy ewma".
            subject: What the plugin was asked for: "deployment 'app#Model'".
        """
        key = (plugin, hook, subject, type(error).__name__)
        known = self._failures.pop(key, None)
        if known is None:
            message = describe_error(error)[:_MAX_MESSAGE]
            known = PluginFailure(plugin, hook, subject, message, 0)
            about = f" for {subject}" if subject else ""
            log.error("plugin %s failed in %s%s: %s", plugin, hook, about, message, exc_info=error)
        self._failures[key] = replace(known, count=known.count + 1, at=time.time())
        if len(self._failures) > MAX_FAILURES:
            del self._failures[next(iter(self._failures))]
        for changed in self._changed:
            changed()

    def values(self, since: float = 0.0) -> tuple[PluginFailure, ...]:
        """Return the failures, the latest last.

        Args:
            since: Leave out those that were before, in seconds since 1970.
        """
        return tuple(each for each in list(self._failures.values()) if each.at >= since)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each failure, in the thread of the code that failed.

        Returns:
            A function that ends it, however often it is called.
        """
        self._changed.append(changed)

        def unwatch() -> None:
            if changed in self._changed:
                self._changed.remove(changed)

        return unwatch
