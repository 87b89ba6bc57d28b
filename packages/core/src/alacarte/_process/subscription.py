"""What a process hears from the controller: one long poll for all keys that it follows."""

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
_RETRY_S = (0.05, 0.2, 0.5, 1.0)
_JITTER = 0.25

Ask = Callable[[WatchRequest], Awaitable[Mapping[str, Snapshot]]]


class SubscriptionEnded(Exception):
    """There is nobody to ask any more, and there will not be."""


class Subscription:
    """Follows keys and applies every newer value. Without a controller the last ones hold.

    One task and one open question, however many keys there are: a key that comes or goes ends
    the question and asks a new one.

    Args:
        ask: Asks the controller; returns newer values by key, none when its time is over.
        watcher: Name of this process.
        process: Told apart from every other process, those of the same name included.
    """

    def __init__(self, ask: Ask, watcher: str, process: str) -> None:
        self._ask = ask
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
        """The keys that are followed."""
        return tuple(self._known)

    @property
    def is_open(self) -> bool:
        """Whether somebody is still asked."""
        return self._task is not None and not self._task.done()

    def follow(self, key: str, apply: Callable[[Any], None]) -> None:
        """Call `apply` with the newest value of a key, and with every newer one."""
        self._apply[key] = apply
        self._known[key] = -1
        self._changed.set()
        if not self.is_open:
            self._task = self._loop.create_task(self._run())

    def unfollow(self, key: str) -> None:
        """Hear no more of a key."""
        self._apply.pop(key, None)
        self._failures.pop(key, None)
        if self._known.pop(key, None) is not None:
            self._changed.set()

    def close(self) -> None:
        """Hear no more of anything."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        failures = 0
        told = ""
        while True:
            try:
                is_well = await self._round()
            except SubscriptionEnded:
                return
            except ActorDied:
                is_well = False
            except Exception as error:
                # Whatever it is, giving up would leave this process with old routes for ever.
                is_well = False
                what = describe_error(error)
                if what != told:  # once: this is tried again every second
                    log.exception("the controller's snapshots cannot be had")
                told = what
            if is_well:
                failures, told = 0, ""
                continue
            pause_s = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
            failures += 1
            await asyncio.sleep(pause_s * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _round(self) -> bool:
        """Ask once and apply the answer; return whether all of it could be applied."""
        self._changed.clear()
        self._number += 1
        request = WatchRequest(self._watcher, self._process, self._number, dict(self._known))
        news = await self._answer(request)
        # All of them are applied, and not only those before one that cannot be.
        return False not in [self._take(request, key, value) for key, value in news.items()]

    async def _answer(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Return the answer to a question, none when other keys are followed meanwhile."""
        loop = asyncio.get_running_loop()
        question = loop.create_task(_awaited(self._ask(request)))
        question.add_done_callback(mark_retrieved)
        changed = loop.create_task(self._changed.wait())
        try:
            await asyncio.wait((question, changed), return_when=asyncio.FIRST_COMPLETED)
            if not question.done():
                return {}
            if question.cancelled():
                raise ActorDied("the controller ended while it was asked")
            return question.result()
        finally:
            question.cancel()
            changed.cancel()

    def _take(self, request: WatchRequest, key: str, value: Snapshot) -> bool:
        """Apply a value; return whether that went well."""
        if self._known.get(key) != request.known[key]:
            return True  # it is not followed any more, or from the beginning
        try:
            self._apply[key](value)
        except BaseException as error:  # a listener is foreign code; and old routes must not stay
            failure = describe_error(error)
            if self._failures.get(key) != failure:  # once: this is tried again every second
                log.exception("a snapshot of %s could not be applied", key)
            self._failures[key] = failure
            self._known[key] = -1  # everything, next time
            return False
        self._failures.pop(key, None)
        # Unless to apply it has ended the interest in it.
        if key in self._known:
            self._known[key] = value.version
        return True


async def _awaited(answer: Awaitable[Mapping[str, Snapshot]]) -> Mapping[str, Snapshot]:
    return await answer
