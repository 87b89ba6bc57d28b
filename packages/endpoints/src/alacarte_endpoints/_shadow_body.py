"""Bodies of requests and of their copies for shadows: bounded, and never in the original's way.

A request's body passes through a `TeeBody` on its way to the target, which hands each part to the
bodies of the copies. A copy that does not keep up is dropped; the original waits for none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

from alacarte.aio import close_iterator
from alacarte.types import Buffer, Call, Message

__all__ = [
    "MAX_BYTES",
    "MAX_COPIES",
    "ShadowBody",
    "ShadowBudget",
    "TeeBody",
    "frozen_copy",
    "shadow_call",
    "size_of",
]

MAX_COPIES = 64
"""Copies in flight that one shadow may have in a process."""
MAX_BYTES = 16 * 1024 * 1024
"""Bytes of requests that wait to be sent to one shadow."""


class ShadowBudget:
    """What one shadow's copies take up in this process, whatever version of the route made them.

    Attributes:
        bytes: Of requests that were not answered yet.
        tasks: One for each copy in flight.
    """

    __slots__ = ("__weakref__", "bytes", "tasks")

    def __init__(self) -> None:
        self.bytes = 0
        self.tasks: set[asyncio.Task[Any]] = set()

    def allows(self, size: int) -> bool:
        """Whether so many more bytes fit."""
        return self.bytes + size <= MAX_BYTES

    def close(self) -> None:
        """Cancel the copies in flight."""
        for task in list(self.tasks):
            task.cancel()


class ShadowBody:
    """The body of a copy: those parts of the original's that have passed and were not sent yet.

    Attributes:
        on_lost: Called when the rest will not come; the copy is worth nothing then.
    """

    on_lost: Callable[[], object]

    def __init__(self, budget: ShadowBudget) -> None:
        self._budget = budget
        self._parts: deque[Message] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._ended = False
        self._lost = False

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        while True:
            if self._parts:
                part = self._parts.popleft()
                self._take(-size_of(part))
                return part
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()

    def put(self, part: Message) -> None:
        """Add a part that has passed."""
        if self._lost:
            return
        size = size_of(part)
        if not self._budget.allows(size):
            self.lose()
            return
        self._parts.append(part)
        self._take(size)
        self._news.set()

    def end(self) -> None:
        """Take note that the last part has passed."""
        self._ended = True
        self._news.set()

    def lose(self) -> None:
        """Take note that the rest will not come."""
        self._lost = True
        self.discard()
        self.on_lost()

    def discard(self) -> None:
        """Drop the parts that were not sent."""
        self._parts.clear()
        self._take(-self._size)

    def _take(self, size: int) -> None:
        self._size += size
        self._budget.bytes += size


class TeeBody:
    """A body on its way to the target, which hands its parts to the bodies of copies."""

    def __init__(self, body: AsyncIterator[Message], copies: list[ShadowBody]) -> None:
        self._body = body
        self._copies = copies

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        try:
            part = await anext(self._body)
        except StopAsyncIteration:
            for each in self._copies:
                each.end()
            self._copies = []
            raise
        except BaseException:  # the client has gone, or the call was given up
            self.give_up()
            raise
        if self._copies:
            copy = frozen_copy(part)
            for each in self._copies:
                each.put(copy)
        return part

    def give_up(self) -> None:
        """Take note that nobody reads on: copies that have not got all parts are lost."""
        for each in self._copies:
            each.lose()
        self._copies = []

    async def aclose(self) -> None:
        """Close the body itself, where that is possible."""
        self.give_up()
        await close_iterator(self._body)


def shadow_call(
    call: Call, payload: Message, body: ShadowBody | None, deadline: float, timeout_s: float
) -> Call:
    """Return a call that is the same for the user's code, and unknown to the original's caller.

    Its request id ends with `-shadow`, so that logs tell the two apart.

    Args:
        payload: A `frozen_copy` of the original's.
    """
    return replace(
        call,
        payload=payload,
        body=body,
        request_id=f"{call.request_id}-shadow",
        deadline=deadline,
        timeout_s=timeout_s,
        idempotent=False,
    )


def frozen_copy(message: Message) -> Message:
    """Return a message that does not change when the buffers of the original do."""
    return tuple(_fixed(message))


def _fixed(message: Message) -> Iterator[Buffer]:
    for piece in message:
        yield piece if isinstance(piece, bytes) else bytes(piece)


def size_of(message: Message) -> int:
    """Return the number of a message's bytes."""
    return sum(piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in message)
