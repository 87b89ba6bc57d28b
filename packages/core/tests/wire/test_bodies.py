"""Bodies of calls: uploads within the window of the replica."""

import asyncio

import pytest

from alacarte._wire.caller_connection import Rejected
from alacarte.types import Reply

from .support import (
    Blocked,
    ask,
    join,
    on_both_loops,
    on_every_wire,
    start,
    until,
)


class Body:
    """A body that counts the parts that were read."""

    def __init__(self, *items):
        self.items = list(items)
        self.taken = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.taken == len(self.items):
            raise StopAsyncIteration
        self.taken += 1
        item = self.items[self.taken - 1]
        if isinstance(item, Exception):
            raise item
        return (item,)


@on_every_wire
async def test_an_upload(wire):
    """A body arrives after the call, item by item, long ones included."""
    items = [b"a", b"", bytes(100_000), b"z" * (3 << 20), b"end"]

    async def service(call):
        return Reply((call.payload[0], *[join(item) async for item in call.body]))

    connection = await wire.connect(await wire.listen(service))
    for first in (b"first", bytes(2 << 20)):
        body = Body(*items)
        assert await ask(connection, first, body=body) == first + b"".join(items)
        assert body.taken == len(items)


@on_every_wire
async def test_a_body_is_read_after_acceptance_only(wire):
    """The body of a rejected call is unread, so the call can be sent to another replica."""
    service = Blocked()
    full = await wire.listen(service, limit=1)
    connection = await wire.connect(full)
    first = start(connection)
    await until(lambda: service.calls)
    body = Body(b"a", b"b")
    rejected = start(connection, body=body)
    with pytest.raises(Rejected):
        await rejected.reply
    assert rejected.rejected
    assert body.taken == 0

    async def count(call):
        return Reply((b"%d" % len([item async for item in call.body]),))

    assert await ask(await wire.connect(await wire.listen(count)), body=body) == b"2"
    service.gate.set()
    await first.reply


@on_both_loops
async def test_a_body_that_breaks_off(wire):
    """When the source of a body fails, the handler is cancelled and the caller gets the error."""
    read_by_service = []

    async def service(call):
        async for item in call.body:
            read_by_service.append(join(item))
        raise AssertionError("the body has no end")

    desk = await wire.listen(service)
    connection = await wire.connect(desk)
    with pytest.raises(OSError, match="the client left"):
        await ask(connection, body=Body(b"a", OSError("the client left")))
    await until(lambda: desk.cancelled == 1)
    assert read_by_service in ([b"a"], [])


@on_both_loops
async def test_an_answer_before_the_end_of_the_body(wire):
    """A reply ends the upload, whose rest would not be read."""

    async def service(call):
        return Reply((join(await anext(call.body)),))

    connection = await wire.connect(await wire.listen(service))
    body = Body(*[bytes(100_000)] * 100)
    assert await ask(connection, body=body) == bytes(100_000)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert body.taken < 30
