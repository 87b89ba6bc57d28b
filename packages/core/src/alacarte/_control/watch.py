"""Snapshots for the processes that watch them: versioned values by key, and who has applied which.

A process asks one question for all keys that it follows, and is answered when any of them has a
newer value. Its next question tells that it has applied the last answer.

Of a deployment's snapshots, a process whose version is not too old is told what has changed since.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .._model.snapshots import combine, delta
from ..actors import DeploymentSnapshot, SnapshotDelta, WatchRequest

__all__ = ["HISTORY", "MAX_RETIRED", "WATCH_LIMIT_S", "SnapshotHub"]

WATCH_LIMIT_S = 30.0
"""How long a question stays open without news."""
HISTORY = 64
"""Changes of each deployment that are kept. A process with an older version is told everything."""
MAX_RETIRED = 256
"""Retired keys that are kept though no open question has them."""
_RETIRED_S = 60.0
"""How long they are kept: longer than processes follow a deployment that is gone."""


@dataclass(eq=False)
class _Question:
    """An open question.

    Attributes:
        changed: Keys published since it was asked.
        superseded: Its process has asked a newer one.
    """

    request: WatchRequest
    changed: dict[str, None] = field(default_factory=dict)
    superseded: bool = False
    wakeup: asyncio.Event = field(default_factory=asyncio.Event)


class SnapshotHub:
    """Publishes values and lets processes wait for them. Lives on the controller's loop.

    Args:
        clock: Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or time.monotonic
        self._values: dict[str, tuple[int, Any]] = {}
        self._deltas: dict[str, deque[SnapshotDelta]] = {}
        self._retired: dict[str, float] = {}
        self._tracked: dict[str, WatchRequest | None] = {}
        self._open: dict[str, _Question] = {}
        # In order, as all that decides who is answered first: a simulated run repeats itself.
        self._followers: dict[str, dict[_Question, None]] = {}
        self._progress = asyncio.Event()
        # Beyond all that a former controller gave, since watchers compare versions.
        self._version = time.time_ns() // 1000

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that have a value, for tests and diagnosis."""
        return tuple(self._values)

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
        self._retired.pop(key, None)
        for question in self._followers.get(key, ()):
            question.changed[key] = None
            question.wakeup.set()

    def current(self, key: str) -> Any | None:
        return self._values[key][1] if key in self._values else None

    def retire(self, key: str) -> None:
        """Forget a key once all who follow it have had time to hear its last value."""
        if key in self._values:
            self._retired.pop(key, None)  # to the end, since they are in order of time
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

    # --- questions ----------------------------------------------------------------------

    async def watch(self, request: WatchRequest) -> dict[str, Any]:
        """Return the values newer than those a process knows, as soon as there are any.

        Of a `DeploymentSnapshot`, a `SnapshotDelta` that begins at the known version where there
        is one. Nothing when the time is over, or the process has asked a newer question.
        """
        request = self._sane(request)
        before = self._open.get(request.process)
        if before is not None:
            if before.request.number > request.number:
                return {}  # overtaken on its way
            before.superseded = True
            before.wakeup.set()
        self._acknowledge(request)
        question = _Question(request)
        self._register(question)
        try:
            news = self._news(request.known, request.known)
            async with asyncio.timeout(WATCH_LIMIT_S):
                while not news and not question.superseded:
                    await question.wakeup.wait()
                    question.wakeup.clear()
                    changed, question.changed = question.changed, {}
                    news = self._news(changed, request.known)
        except TimeoutError:
            return {}
        finally:
            self._unregister(question)
            self._forget_retired()
        return news

    def _sane(self, request: WatchRequest) -> WatchRequest:
        """Take versions that no hub gave but a former one, whose clock was ahead, for none."""
        if all(version <= self._version for version in request.known.values()):
            return request
        sane = {k: -1 if v > self._version else v for k, v in request.known.items()}
        return replace(request, known=sane)

    def _register(self, question: _Question) -> None:
        self._open[question.request.process] = question
        for key in question.request.known:
            self._followers.setdefault(key, {})[question] = None

    def _unregister(self, question: _Question) -> None:
        request = question.request
        if self._open.get(request.process) is question:
            del self._open[request.process]
        for key in request.known:
            followers = self._followers[key]
            followers.pop(question, None)
            if not followers:
                del self._followers[key]

    def _news(self, keys: Iterable[str], known: Mapping[str, int]) -> dict[str, Any]:
        return {
            key: self._newer(key, known[key])
            for key in keys
            if key in self._values and self._values[key][0] > known[key]
        }

    def _newer(self, key: str, known: int) -> Any:
        """Return what turns the version a process knows into the newest: a delta, or everything."""
        since = [each for each in self._deltas.get(key, ()) if each.since >= known]
        if since and since[0].since == known:
            news = combine(since)
            if len(news.changed) + len(news.removed) <= len(self._values[key][1].replicas):
                return news
        return self._values[key][1]

    # --- who has applied what -----------------------------------------------------------

    def track(self, watcher: str) -> None:
        """Keep account of what this watcher has applied, until `untrack`."""
        # It may have asked before anybody knew that it is to be tracked, and be waiting since.
        asked = [each.request for each in self._open.values() if each.request.watcher == watcher]
        self._tracked.setdefault(watcher, asked[0] if asked else None)

    def untrack(self, watcher: str) -> None:
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
        """Return the tracked watchers where none has applied that version, [] where one has."""
        late = self.behind(key, version)
        return late if len(late) == len(self._tracked) else []

    async def seen(self, key: str, version: int) -> None:
        """Return when every tracked watcher has applied that version."""
        while self.behind(key, version):
            self._progress.clear()
            await self._progress.wait()
