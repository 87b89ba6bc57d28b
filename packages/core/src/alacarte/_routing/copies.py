"""Copies of requests for the shadows of a route: bounded, and never in the way of the original.

A request's body passes through `Original` on its way to the target; what passes is put down for
each copy, and a copy that does not keep up is given up. Nothing here is ever waited for by the
original.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

from ..types import Buffer, Call, Message

__all__ = [
    "MOST_BYTES",
    "MOST_COPIES",
    "Copied",
    "Original",
    "Room",
    "copy_of",
    "kept",
    "size_of",
]

MOST_COPIES = 64
"""Copies that one shadow may have under way in a process."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of requests that wait to be sent to one shadow."""


class Room:
    """What one shadow's copies take up in this process, whichever weights they were made by.

    Attributes:
        bytes: Of requests that were not answered yet.
        tasks: One for each copy that is under way.
    """

    __slots__ = ("bytes", "tasks")

    def __init__(self) -> None:
        self.bytes = 0
        self.tasks: set[asyncio.Task[Any]] = set()

    def allows(self, size: int) -> bool:
        """Whether there is room for so many bytes more."""
        return self.bytes + size <= MOST_BYTES

    def close(self) -> None:
        """Give up what is under way."""
        for task in list(self.tasks):
            task.cancel()


class Copied:
    """The body of a copy: what has passed of the original's and was not sent yet.

    Attributes:
        on_lost: Called when the rest will not come: the copy is worth nothing then.
    """

    on_lost: Callable[[], object]

    def __init__(self, room: Room) -> None:
        self._room = room
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
        """A further part has passed."""
        if self._lost:
            return
        size = size_of(part)
        if not self._room.allows(size):
            self.lose()
            return
        self._parts.append(part)
        self._take(size)
        self._news.set()

    def end(self) -> None:
        """All of it has passed."""
        self._ended = True
        self._news.set()

    def lose(self) -> None:
        """The rest will not come."""
        self._lost = True
        self.discard()
        self.on_lost()

    def discard(self) -> None:
        """Nobody reads what lies here."""
        self._parts.clear()
        self._take(-self._size)

    def _take(self, size: int) -> None:
        self._size += size
        self._room.bytes += size


class Original:
    """A body on its way to the target, of which copies are kept."""

    def __init__(self, body: AsyncIterator[Message], copies: list[Copied]) -> None:
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
            copy = kept(part)
            for each in self._copies:
                each.put(copy)
        return part

    def give_up(self) -> None:
        """Nobody reads on: copies that have not got all of it are lost."""
        for each in self._copies:
            each.lose()
        self._copies = []

    async def aclose(self) -> None:
        """Close the body itself, where it can be."""
        self.give_up()
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()


def copy_of(
    call: Call, payload: Message, body: Copied | None, deadline: float, timeout_s: float
) -> Call:
    """Return a call that is the same for the user's code, and unknown to the original's caller.

    Its request id ends with `-shadow`, so that logs tell the two apart.

    Args:
        payload: What `kept` gives of the original's.
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


def kept(message: Message) -> Message:
    """Return a message that stays as it is, whatever becomes of the buffers of the original."""
    return tuple(_fixed(message))


def _fixed(message: Message) -> Iterator[Buffer]:
    for piece in message:
        yield piece if isinstance(piece, bytes) else bytes(piece)


def size_of(message: Message) -> int:
    """Return its bytes."""
    return sum(piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in message)
