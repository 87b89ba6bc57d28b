"""Subscription of a process to the controller's snapshots: one long poll for all keys."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .._cluster.cluster_protocol import ActorDied
from ..actors import Snapshot, WatchRequest
from ..aio import mark_retrieved
from ..foreign import describe_error

__all__ = ["Subscription", "SubscriptionEnded"]

log = logging.getLogger("alacarte.runtime")
_RETRY_BACKOFF_S = (0.05, 0.2, 0.5, 1.0)
_JITTER = 0.25

Watch = Callable[[WatchRequest], Awaitable[Mapping[str, Snapshot]]]


class SubscriptionEnded(Exception):
    """The instance has ended; the subscription stops."""


class Subscription:
    """Watches keys and applies every newer value. Without a controller the last values stay.

    All keys share one task and one open request. A new or removed key cancels the request and sends
    a new one.

    Args:
        watch: Sends a request to the controller; returns newer values by key, {} after its timeout.
        watcher: Name of this process.
        process: Unique id of this process, among processes of the same name, too.
    """

    def __init__(self, watch: Watch, watcher: str, process: str) -> None:
        self._watch = watch
        self._watcher = watcher
        self._process = process
        self._number = 0
        self._apply: dict[str, Callable[[Any], None]] = {}
        self._known: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The watched keys."""
        return tuple(self._known)

    @property
    def is_open(self) -> bool:
        """Whether the subscription still polls."""
        return self._task is not None and not self._task.done()

    def follow(self, key: str, apply: Callable[[Any], None]) -> None:
        """Watch a key: call `apply` with its newest value and with every later one."""
        self._apply[key] = apply
        self._known[key] = -1
        self._changed.set()
        if not self.is_open:
            self._task = self._loop.create_task(self._run())

    def unfollow(self, key: str) -> None:
        """Stop watching a key."""
        self._apply.pop(key, None)
        self._failures.pop(key, None)
        if self._known.pop(key, None) is not None:
            self._changed.set()

    def close(self) -> None:
        """Stop watching all keys."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        failures = 0
        logged = ""
        while True:
            try:
                is_well = await self._poll()
            except SubscriptionEnded:
                return
            except ActorDied:
                is_well = False
            except Exception as error:
                # Retry after any error: giving up would leave this process with stale routes.
                is_well = False
                failure = describe_error(error)
                if failure != logged:  # once: the poll is retried every second
                    log.exception("cannot get snapshots from the controller")
                logged = failure
            if is_well:
                failures, logged = 0, ""
                continue
            pause_s = _RETRY_BACKOFF_S[min(failures, len(_RETRY_BACKOFF_S) - 1)]
            failures += 1
            await asyncio.sleep(pause_s * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _poll(self) -> bool:
        """Send one request and apply the answer; return whether every value was applied."""
        self._changed.clear()
        self._number += 1
        request = WatchRequest(self._watcher, self._process, self._number, dict(self._known))
        newer = await self._request(request)
        # A list, so that a value that fails does not stop the others.
        return False not in [self._apply_value(request, key, value) for key, value in newer.items()]

    async def _request(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Return the answer to a request, {} if the set of keys changes meanwhile."""
        loop = asyncio.get_running_loop()
        pending = loop.create_task(_awaited(self._watch(request)))
        pending.add_done_callback(mark_retrieved)
        changed = loop.create_task(self._changed.wait())
        try:
            await asyncio.wait((pending, changed), return_when=asyncio.FIRST_COMPLETED)
            if not pending.done():
                return {}
            if pending.cancelled():
                raise ActorDied("the controller ended before it answered")
            return pending.result()
        finally:
            pending.cancel()
            changed.cancel()

    def _apply_value(self, request: WatchRequest, key: str, value: Snapshot) -> bool:
        """Apply a value; return whether that succeeded."""
        if self._known.get(key) != request.known[key]:
            return True  # the key was removed, or added again, since the request
        try:
            self._apply[key](value)
        except BaseException as error:  # foreign listeners; and the poll must go on
            failure = describe_error(error)
            if self._failures.get(key) != failure:  # once: the value is retried every second
                log.exception("a snapshot of %s could not be applied", key)
            self._failures[key] = failure
            self._known[key] = -1  # request the whole value next time
            return False
        self._failures.pop(key, None)
        # `apply` may have removed the key.
        if key in self._known:
            self._known[key] = value.version
        return True


async def _awaited(answer: Awaitable[Mapping[str, Snapshot]]) -> Mapping[str, Snapshot]:
    return await answer
