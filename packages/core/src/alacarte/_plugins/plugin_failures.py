"""What plugins failed at in this process: contained, logged once, and shown in the status."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import weakref
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
        self._watchers: list[weakref.WeakMethod[Callable[[], None]]] = []

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
        for watcher in list(self._watchers):
            if (changed := watcher()) is not None:
                changed()

    def values(self, since: float = 0.0) -> tuple[PluginFailure, ...]:
        """Return the failures, the latest last.

        Args:
            since: Leave out those that were before, in seconds since 1970.
        """
        return tuple(each for each in list(self._failures.values()) if each.at >= since)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each failure, in the thread of the code that failed.

        Args:
            changed: A method, whose object is referenced weakly: on the local cluster, the runtime
                of a killed process closes nothing, and these failures outlive the runtime.

        Returns:
            A function that ends it, however often it is called.
        """
        watcher = weakref.WeakMethod(changed, self._unwatch)
        self._watchers.append(watcher)
        return functools.partial(self._unwatch, watcher)

    def _unwatch(self, watcher: weakref.WeakMethod[Callable[[], None]]) -> None:
        with contextlib.suppress(ValueError):  # it has ended already
            self._watchers.remove(watcher)
