"""Failures of plugins in this process: contained, logged once, and shown in the status."""

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
"""Kinds of failure kept in a process; beyond this number the oldest kind is dropped."""
_MAX_MESSAGE = 500


class PluginFailures:
    """The failures of plugins in one process, by kind."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str, str, str], PluginFailure] = {}
        self._watchers: list[weakref.WeakMethod[Callable[[], None]]] = []

    def note(self, plugin: str, hook: str, error: BaseException, subject: str = "") -> None:
        """Record a failure; log the first failure of each kind with its traceback.

        Args:
            plugin: Name of the plugin whose code raised, or returned a wrong value.
            hook: The hook, or an object that it returned: "wrap_caller", "routing policy ewma".
            subject: The object that the hook was called for: "deployment 'app#Model'".
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
            since: Return only later failures, in seconds since 1970.
        """
        return tuple(each for each in list(self._failures.values()) if each.at >= since)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each failure, in the thread of the code that failed.

        Args:
            changed: A method, whose object is referenced weakly: on the local cluster, a killed
                process does not close its runtime, and the failures outlive the runtime.

        Returns:
            A function that ends the calls. Repeated calls of the function are harmless.
        """
        watcher = weakref.WeakMethod(changed, self._unwatch)
        self._watchers.append(watcher)
        return functools.partial(self._unwatch, watcher)

    def _unwatch(self, watcher: weakref.WeakMethod[Callable[[], None]]) -> None:
        with contextlib.suppress(ValueError):  # already removed
            self._watchers.remove(watcher)
