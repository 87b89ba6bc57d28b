"""Snapshots for whoever watches: versioned values by key, and who has seen which.

A watcher asks for what is newer than the version it has and gets an answer when there is one. Its
next question tells that it has taken in the last answer.

Of a deployment's snapshots, who has a version that is not too old is told what has changed since.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from .._model.snapshots import DeploymentSnapshot, SnapshotDelta, combine, delta

__all__ = ["HISTORY", "WATCH_LIMIT_S", "SnapshotHub"]

WATCH_LIMIT_S = 30.0
"""How long a question stays open; then it is answered with what the watcher has."""
HISTORY = 64
"""Changes of each deployment that are kept. Who has an older version is told everything."""


class SnapshotHub:
    """Publishes values and lets watchers wait for them. Lives on the controller's loop."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[int, Any]] = {}
        self._deltas: dict[str, deque[SnapshotDelta]] = {}
        self._tracked: dict[str, dict[str, int]] = {}
        self._asking: dict[str, dict[str, int]] = {}
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
        if isinstance(value, DeploymentSnapshot) and key in self._values:
            deltas = self._deltas.setdefault(key, deque(maxlen=HISTORY))
            deltas.append(delta(self._values[key][1], value))
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
            self._deltas.pop(key, None)

    async def watch(self, key: str, known: int, watcher: str) -> Any | None:
        """Return the value when it is newer than `known`; None when the time is over.

        Of a `DeploymentSnapshot`, a `SnapshotDelta` that begins at `known` where there is one.

        Args:
            known: The version the watcher has taken in, -1 for none.
            watcher: Names it, for `track`.
        """
        if known > self._version:
            known = -1  # of a former controller, whose clock was ahead of ours
        if watcher in self._tracked:
            self._tracked[watcher][key] = known
            self._progress.set()
        asking = self._asking.setdefault(watcher, {})
        asking[key] = known
        try:
            async with asyncio.timeout(WATCH_LIMIT_S):
                while key not in self._values or self._values[key][0] <= known:
                    await self._changed.setdefault(key, asyncio.Event()).wait()
        except TimeoutError:
            return None
        finally:
            asking.pop(key, None)
            if not asking:
                self._asking.pop(watcher, None)
        return self._news(key, known)

    def _news(self, key: str, known: int) -> Any:
        """Return what turns the version a watcher has into the newest: a delta, or everything."""
        since = [each for each in self._deltas.get(key, ()) if each.since >= known]
        if since and since[0].since == known:
            news = combine(since)
            if len(news.changed) + len(news.removed) <= len(self._values[key][1].replicas):
                return news
        return self._values[key][1]

    def track(self, watcher: str) -> None:
        """Keep account of what this watcher has seen, until `untrack`."""
        # It may have asked before anybody knew that it is to be tracked, and be waiting since.
        self._tracked.setdefault(watcher, dict(self._asking.get(watcher, {})))

    def untrack(self, watcher: str) -> None:
        self._tracked.pop(watcher, None)
        self._progress.set()

    def behind(self, key: str, version: int) -> list[str]:
        """Return the tracked watchers that have not taken in that version."""
        return [name for name, known in self._tracked.items() if known.get(key, -1) < version]

    async def seen(self, key: str, version: int) -> None:
        """Return when every tracked watcher has taken in that version."""
        while self.behind(key, version):
            self._progress.clear()
            await self._progress.wait()
