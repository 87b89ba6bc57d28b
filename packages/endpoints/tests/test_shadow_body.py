"""Bodies of copies: their parts, their use of the budget, and their loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alacarte.types import Call, Message
from alacarte_endpoints._shadow_body import (
    MAX_BYTES,
    ShadowBody,
    ShadowBudget,
    TeeBody,
    frozen_copy,
    shadow_call,
    size_of,
)


class Losses:
    """Bodies of copies that record their loss."""

    def __init__(self) -> None:
        self.budget = ShadowBudget()
        self.lost = 0

    def body(self) -> ShadowBody:
        body = ShadowBody(self.budget)
        body.on_lost = self._note
        return body

    def _note(self) -> None:
        self.lost += 1


async def parts(*values: bytes) -> AsyncIterator[Message]:
    for value in values:
        yield (value,)


async def read(body: Any) -> list[Message]:
    return [part async for part in body]


def test_parts_count_until_they_are_sent(run):
    """Pending parts count against the budget of their shadow, sent parts do not."""

    async def main():
        losses = Losses()
        body = losses.body()
        body.put((b"abc", b"de"))
        body.put((b"f",))
        assert losses.budget.bytes == 6
        assert await anext(body) == (b"abc", b"de")
        assert losses.budget.bytes == 1
        body.end()
        assert await read(body) == [(b"f",)]
        assert (losses.budget.bytes, losses.lost) == (0, 0)

    run(main)


def test_a_copy_waits_for_its_next_part(run):
    """A copy that reads faster than the original gets every part and the end."""

    async def main():
        body = Losses().body()
        reading = asyncio.create_task(read(body))
        for part in ((b"one",), (b"two",)):
            await asyncio.sleep(1)
            assert not reading.done()
            body.put(part)
        await asyncio.sleep(1)
        assert not reading.done()
        body.end()
        assert await reading == [(b"one",), (b"two",)]

    run(main)


def test_too_much_is_lost_at_once():
    """A copy beyond the budget frees its bytes, is lost once, and takes no more parts."""
    losses = Losses()
    body = losses.body()
    body.put((bytes(MAX_BYTES),))
    assert (losses.budget.bytes, losses.lost) == (MAX_BYTES, 0)  # exactly what is allowed
    body.put((b"x",))
    assert (losses.budget.bytes, losses.lost) == (0, 1)
    body.put((b"y",))
    assert (losses.budget.bytes, losses.lost) == (0, 1)


def test_copies_of_one_shadow_share_its_budget():
    """A full copy leaves no budget for another copy, which is lost alone."""
    losses = Losses()
    first, second = losses.body(), losses.body()
    first.put((bytes(MAX_BYTES),))
    second.put((b"x",))
    assert (losses.budget.bytes, losses.lost) == (MAX_BYTES, 1)
    first.discard()
    assert losses.budget.bytes == 0


def test_the_original_and_its_copies_read_the_same(run):
    """Each part goes to the target unchanged, and as a frozen copy to each copy."""

    async def main():
        losses = Losses()
        buffer = bytearray(b"before")

        async def source() -> AsyncIterator[Message]:
            yield (memoryview(buffer),)
            yield (b"end",)

        copies = [losses.body(), losses.body()]
        tee = TeeBody(source(), copies)
        assert bytes((await anext(tee))[0]) == b"before"
        buffer[:] = b"after!"
        assert await read(tee) == [(b"end",)]
        for copy in copies:
            assert await read(copy) == [(b"before",), (b"end",)]
        assert losses.lost == 0

    run(main)


def test_an_original_that_breaks_off(run):
    """When the body fails, its copies are lost once, and the target gets the error."""

    async def broken() -> AsyncIterator[Message]:
        yield (b"one",)
        raise ConnectionError

    async def main():
        losses = Losses()
        tee = TeeBody(broken(), [losses.body()])
        with pytest.raises(ConnectionError):
            await read(tee)
        tee.drop_copies()
        assert (losses.lost, losses.budget.bytes) == (1, 0)

    run(main)


def test_to_close_the_original(run):
    """Closing closes the source, and drops copies with incomplete bodies only."""

    async def main():
        losses, closed = Losses(), []

        async def source() -> AsyncIterator[Message]:
            try:
                yield (b"one",)
                yield (b"two",)
            finally:
                closed.append("source")

        tee = TeeBody(source(), [losses.body()])
        await anext(tee)
        await tee.aclose()
        assert (closed, losses.lost) == (["source"], 1)

        whole = losses.body()
        tee = TeeBody(parts(b"one"), [whole])
        await read(tee)
        await tee.aclose()
        assert losses.lost == 1
        assert await read(whole) == [(b"one",)]

    run(main)


def test_a_source_that_cannot_be_closed(run):
    """A source without `aclose` is released."""

    class Plain:
        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> Message:
            return (b"part",)

    async def main():
        losses = Losses()
        tee = TeeBody(Plain(), [losses.body()])
        await anext(tee)
        await tee.aclose()
        assert losses.lost == 1

    run(main)


def test_a_shadow_that_goes_cancels_its_copies(run):
    """Closing a budget cancels every copy in flight."""

    async def main():
        budget = ShadowBudget()
        tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range(3)]
        budget.tasks.update(tasks)
        budget.close()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)

    run(main)


def test_the_call_of_a_copy():
    """A copy has the call's fields, its own id and deadline, and is not idempotent."""
    original = Call("p", (b"x",), "m", request_id="id", app="a", routing_key="k", idempotent=True)
    copy = shadow_call(original, (b"y",), None, 7.0, 2.0)
    assert (copy.protocol, copy.method, copy.app, copy.routing_key) == ("p", "m", "a", "k")
    assert (copy.payload, copy.body, copy.request_id) == ((b"y",), None, "id-shadow")
    assert (copy.deadline, copy.timeout_s, copy.idempotent) == (7.0, 2.0, False)
    assert (original.payload, original.request_id, original.idempotent) == ((b"x",), "id", True)


def test_messages_are_frozen_and_measured():
    """Only mutable buffers are copied; the size of a view is its bytes."""
    fixed = b"fixed"
    buffer = bytearray(8)
    message = (fixed, memoryview(buffer).cast("I"), buffer)
    assert size_of(message) == 5 + 8 + 8
    copy = frozen_copy(message)
    buffer[:] = b"changed!"
    assert copy == (b"fixed", bytes(8), bytes(8))
    assert copy[0] is fixed
