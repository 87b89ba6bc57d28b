"""Bodies of requests and of their copies for shadows, with bounded memory.

A `TeeBody` forwards a request's body to the target, and each part to the bodies of the copies. The
original never waits for a copy: a copy that does not keep up is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

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
"""Maximum number of copies in flight per shadow and process."""
MAX_BYTES = 16 * 1024 * 1024
"""Maximum size of the pending copies per shadow and process."""


class ShadowBudget:
    """Resources of one shadow's copies in this process, for all versions of the route.

    Attributes:
        bytes: Size of the copies in flight.
        tasks: The tasks of the copies in flight.
    """

    __slots__ = ("__weakref__", "bytes", "tasks")

    def __init__(self) -> None:
        self.bytes = 0
        self.tasks: set[asyncio.Task[object]] = set()

    def allows(self, size: int) -> bool:
        """Return whether the budget has room for `size` more bytes."""
        return self.bytes + size <= MAX_BYTES

    def close(self) -> None:
        """Cancel the copies in flight."""
        for task in list(self.tasks):
            task.cancel()


class ShadowBody:
    """The body of a copy: the parts of the original that are not sent yet.

    Attributes:
        on_lost: Called when the body is incomplete, so that the copy is useless.
    """

    on_lost: Callable[[], object]

    def __init__(self, budget: ShadowBudget) -> None:
        self._budget = budget
        self._parts: deque[Message] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._ended = False
        self._lost = False

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        while True:
            if self._parts:
                part = self._parts.popleft()
                self._reserve(-size_of(part))
                return part
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    def put(self, part: Message) -> None:
        """Append a part of the original; mark the body as lost where the budget is exhausted."""
        if self._lost:
            return
        size = size_of(part)
        if not self._budget.allows(size):
            self.lose()
            return
        self._parts.append(part)
        self._reserve(size)
        self._changed.set()

    def end(self) -> None:
        """Mark the body as complete."""
        self._ended = True
        self._changed.set()

    def lose(self) -> None:
        """Mark the body as lost: its remaining parts will not arrive."""
        self._lost = True
        self.discard()
        self.on_lost()

    def discard(self) -> None:
        """Drop the parts that are not sent yet."""
        self._parts.clear()
        self._reserve(-self._size)

    def _reserve(self, size: int) -> None:
        self._size += size
        self._budget.bytes += size


class TeeBody:
    """A body that also passes its parts to the bodies of copies."""

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
        except BaseException:  # the client has left, or the call was cancelled
            self.drop_copies()
            raise
        if self._copies:
            copy = frozen_copy(part)
            for each in self._copies:
                each.put(copy)
        return part

    def drop_copies(self) -> None:
        """Drop the copies with incomplete bodies."""
        for each in self._copies:
            each.lose()
        self._copies = []

    async def aclose(self) -> None:
        """Close the original body and drop the copies with incomplete bodies."""
        self.drop_copies()
        await close_iterator(self._body)


def shadow_call(
    call: Call, payload: Message, body: ShadowBody | None, deadline: float, timeout_s: float
) -> Call:
    """Return the copy of a call for a shadow.

    The copy's request id ends with `-shadow`, to distinguish both in logs.

    Args:
        payload: A `frozen_copy` of the original's payload.
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
    """Return a copy of a message that does not share mutable buffers with the original."""
    return tuple(_immutable(message))


def _immutable(message: Message) -> Iterator[Buffer]:
    for piece in message:
        yield piece if isinstance(piece, bytes) else bytes(piece)


def size_of(message: Message) -> int:
    """Return the size of a message in bytes."""
    return sum(piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in message)
