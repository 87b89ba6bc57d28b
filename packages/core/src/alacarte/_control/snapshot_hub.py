"""Publication of snapshots: versioned values by key, and the versions that watchers have applied.

A process sends one long-poll request for all keys that it watches. The answer comes when any key
has a newer value, and the next request acknowledges that the process has applied the last answer.

A process with a recent version of a deployment gets a delta instead of the whole snapshot.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from .._model.snapshots import combine, delta
from ..actors import DeploymentSnapshot, Snapshot, SnapshotDelta, WatchRequest

__all__ = ["HISTORY", "MAX_RETIRED", "WATCH_LIMIT_S", "SnapshotHub"]

WATCH_LIMIT_S = 30.0
"""Longest time that a watch request stays open without a newer value."""
HISTORY = 64
"""Deltas kept per deployment. A process with an older version gets the whole snapshot."""
MAX_RETIRED = 256
"""Retired keys that are kept although no open request watches them."""
_RETIRED_S = 60.0
"""Time that retired keys are kept: longer than processes watch a deleted deployment."""


@dataclass(eq=False)
class _PendingWatch:
    """An open watch request.

    Attributes:
        changed: Keys published since the request's last wakeup.
        superseded: The process has sent a newer request.
    """

    request: WatchRequest
    changed: dict[str, None] = field(default_factory=dict)
    superseded: bool = False
    wakeup: asyncio.Event = field(default_factory=asyncio.Event)


class SnapshotHub:
    """Publishes values to the processes that watch them. Lives on the controller's loop.

    Args:
        clock: Monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or time.monotonic
        self._values: dict[str, tuple[int, Snapshot]] = {}
        self._deltas: dict[str, deque[SnapshotDelta]] = {}
        self._retired: dict[str, float] = {}
        self._tracked: dict[str, WatchRequest | None] = {}
        self._open: dict[str, _PendingWatch] = {}
        # Ordered, so that answers have a deterministic order and simulated runs repeat.
        self._followers: dict[str, dict[_PendingWatch, None]] = {}
        self._progress = asyncio.Event()
        # Higher than all versions of a former controller, because watchers compare versions.
        self._version = time.time_ns() // 1000

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys with a value, for tests and diagnosis."""
        return tuple(self._values)

    def next_version(self) -> int:
        """Return the next version, higher than all earlier ones."""
        self._version += 1
        return self._version

    def publish(self, key: str, version: int, value: Snapshot) -> None:
        """Publish a value as the newest of its key, and wake its watchers."""
        before = self.current(key)
        if isinstance(value, DeploymentSnapshot) and isinstance(before, DeploymentSnapshot):
            deltas = self._deltas.setdefault(key, deque(maxlen=HISTORY))
            deltas.append(delta(before, value))
        self._values[key] = (version, value)
        self._retired.pop(key, None)
        for pending in self._followers.get(key, ()):
            pending.changed[key] = None
            pending.wakeup.set()

    def current(self, key: str) -> Snapshot | None:
        """Return the newest value of a key, None for a key without a value."""
        return self._values[key][1] if key in self._values else None

    def retire(self, key: str) -> None:
        """Delete a key after its watchers have had time to get its last value."""
        if key in self._values:
            self._retired.pop(key, None)  # re-insert at the end: the order is by time
            self._retired[key] = self._clock()
            self._deltas.pop(key, None)  # the last value is short
        self._forget_retired()

    def _forget_retired(self) -> None:
        now = self._clock()
        for key, since in list(self._retired.items()):
            if now - since < _RETIRED_S and len(self._retired) <= MAX_RETIRED:
                return
            if key not in self._followers:
                del self._retired[key], self._values[key]

    # --- watch requests -----------------------------------------------------------------

    async def watch(self, request: WatchRequest) -> dict[str, Snapshot]:
        """Wait for values newer than a process's versions, and return them by key.

        A `DeploymentSnapshot` is replaced by a `SnapshotDelta` from the process's version where one
        is available. Returns {} after `WATCH_LIMIT_S`, or when the process sends a newer request.
        """
        request = self._drop_future_versions(request)
        before = self._open.get(request.process)
        if before is not None:
            if before.request.number > request.number:
                return {}  # arrived after a newer request
            before.superseded = True
            before.wakeup.set()
        self._acknowledge(request)
        pending = _PendingWatch(request)
        self._register(pending)
        try:
            newer = self._newer_values(request.known, request.known)
            async with asyncio.timeout(WATCH_LIMIT_S):
                while not newer and not pending.superseded:
                    await pending.wakeup.wait()
                    pending.wakeup.clear()
                    changed, pending.changed = pending.changed, {}
                    newer = self._newer_values(changed, request.known)
        except TimeoutError:
            return {}
        finally:
            self._unregister(pending)
            self._forget_retired()
        return newer

    def _drop_future_versions(self, request: WatchRequest) -> WatchRequest:
        """Replace versions from the future by -1: a former controller's clock was ahead."""
        if all(version <= self._version for version in request.known.values()):
            return request
        known = {k: -1 if v > self._version else v for k, v in request.known.items()}
        return replace(request, known=known)

    def _register(self, pending: _PendingWatch) -> None:
        self._open[pending.request.process] = pending
        for key in pending.request.known:
            self._followers.setdefault(key, {})[pending] = None

    def _unregister(self, pending: _PendingWatch) -> None:
        request = pending.request
        if self._open.get(request.process) is pending:
            del self._open[request.process]
        for key in request.known:
            followers = self._followers[key]
            followers.pop(pending, None)
            if not followers:
                del self._followers[key]

    def _newer_values(self, keys: Iterable[str], known: Mapping[str, int]) -> dict[str, Snapshot]:
        return {
            key: self._newer_value(key, known[key])
            for key in keys
            if key in self._values and self._values[key][0] > known[key]
        }

    def _newer_value(self, key: str, known: int) -> Snapshot:
        """Return the delta from a known version to the newest, or the whole value if shorter."""
        value = self._values[key][1]
        since = [each for each in self._deltas.get(key, ()) if each.since >= known]
        if isinstance(value, DeploymentSnapshot) and since and since[0].since == known:
            newer = combine(since)
            if len(newer.changed) + len(newer.removed) <= len(value.replicas):
                return newer
        return value

    # --- applied versions ---------------------------------------------------------------

    def track(self, watcher: str) -> None:
        """Track the versions that a watcher has applied, until `untrack`."""
        # Its request may be open already.
        pending = [each.request for each in self._open.values() if each.request.watcher == watcher]
        self._tracked.setdefault(watcher, pending[0] if pending else None)

    def untrack(self, watcher: str) -> None:
        """Wait no longer for the acknowledgements of a watcher."""
        self._tracked.pop(watcher, None)
        self._progress.set()

    def _acknowledge(self, request: WatchRequest) -> None:
        if request.watcher not in self._tracked:
            return
        last = self._tracked[request.watcher]
        if last is None or last.process != request.process or last.number < request.number:
            self._tracked[request.watcher] = request
            self._progress.set()

    def behind(self, key: str, version: int) -> list[str]:
        """Return the tracked watchers that have not applied that version."""
        return [
            name
            for name, request in self._tracked.items()
            if request is None or request.known.get(key, -1) < version
        ]

    def unreached(self, key: str, version: int) -> list[str]:
        """Return all tracked watchers if none has applied that version, else []."""
        late = self.behind(key, version)
        return late if len(late) == len(self._tracked) else []

    async def wait_applied(self, key: str, version: int) -> None:
        """Wait until every tracked watcher has applied a version."""
        while self.behind(key, version):
            self._progress.clear()
            await self._progress.wait()
