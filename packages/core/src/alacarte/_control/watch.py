"""Snapshots for whoever watches: versioned values by key, and who has seen which.

A watcher asks for what is newer than the version it has and gets an answer when there is one. Its
next question tells that it has taken in the last answer.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

__all__ = ["WATCH_LIMIT_S", "SnapshotHub"]

WATCH_LIMIT_S = 30.0
"""How long a question stays open; then it is answered with what the watcher has."""


class SnapshotHub:
    """Publishes values and lets watchers wait for them. Lives on the controller's loop."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[int, Any]] = {}
        self._tracked: dict[str, dict[str, int]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._progress = asyncio.Event()
        # Beyond all that a former controller gave, since watchers compare versions.
        self._version = time.time_ns() // 1000

    def next_version(self) -> int:
        """Return a version higher than all before."""
        self._version += 1
        return self._version

    def publish(self, key: str, version: int, value: Any) -> None:
        """Make a value the newest of its key, and answer all who wait for it."""
        self._values[key] = (version, value)
        event = self._changed.pop(key, None)
        if event is not None:
            event.set()

    def current(self, key: str) -> Any | None:
        return self._values[key][1] if key in self._values else None

    def forget(self, key: str) -> None:
        """Publish nothing more under a key that nobody waits for."""
        if key not in self._changed:
            self._values.pop(key, None)

    async def watch(self, key: str, known: int, watcher: str) -> Any | None:
        """Return the value when it is newer than `known`; None when the time is over.

        Args:
            known: The version the watcher has taken in, -1 for none.
            watcher: Names it, for `track`.
        """
        if watcher in self._tracked:
            self._tracked[watcher][key] = known
            self._progress.set()
        try:
            async with asyncio.timeout(WATCH_LIMIT_S):
                while key not in self._values or self._values[key][0] <= known:
                    await self._changed.setdefault(key, asyncio.Event()).wait()
        except TimeoutError:
            return None
        return self._values[key][1]

    def track(self, watcher: str) -> None:
        """Keep account of what this watcher has seen, until `untrack`."""
        self._tracked.setdefault(watcher, {})

    def untrack(self, watcher: str) -> None:
        self._tracked.pop(watcher, None)
        self._progress.set()

    async def seen(self, key: str, version: int) -> None:
        """Return when every tracked watcher has taken in that version."""
        while any(known.get(key, -1) < version for known in self._tracked.values()):
            self._progress.clear()
            await self._progress.wait()
