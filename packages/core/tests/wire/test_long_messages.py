"""Long messages: sent in chunks beside others, within the limits of both ends."""

import asyncio

import pytest

from alacarte.errors import ConfigError, RemoteError
from alacarte.types import Reply

from .support import (
    LONG_BYTES,
    MAX_MESSAGE,
    ask,
    echo,
    join,
    messages,
    on_both_loops,
    on_every_wire,
    on_uvloop,
    start,
    until,
)

# --- chunks ---------------------------------------------------------------------------


@on_every_wire
async def test_small_calls_pass_long_messages(wire):
    """While 16 MB travel both ways, small calls are answered in between."""
    connection = await wire.connect(await wire.listen(echo))
    payload = bytes(range(256)) * (LONG_BYTES // 256)
    stream = start(connection, payload)
    passed = 0
    while not stream.reply.done():
        assert await ask(connection, b"small") == b"small"
        passed += 1
    assert passed > 1  # where the first waits for the end, there is one
    assert join((await stream.reply).payload) == payload


@on_every_wire
async def test_long_messages_both_ways_at_once(wire):
    """Several long requests and replies travel side by side and arrive whole."""
    connection = await wire.connect(await wire.listen(echo))
    payloads = [bytes([number + 1]) * (5 << 20) for number in range(4)]
    answers = await asyncio.gather(*(ask(connection, payload) for payload in payloads))
    assert answers == payloads


@on_both_loops
async def test_long_messages_that_do_not_fit_together(wire):
    """Long messages that exceed the receiver's room together are sent one after the other."""
    limit = 5 << 20
    connection = await wire.connect(await wire.listen(echo, max_message=limit), max_message=limit)
    payloads = [bytes([number]) * (3 << 20) for number in range(6)] + [b"x" * (limit - 64)]
    answers = await asyncio.gather(*(ask(connection, payload) for payload in payloads))
    assert answers == payloads


@on_both_loops
async def test_cancelled_while_others_wait_for_room(wire):
    """A long request that is cancelled while it waits for room does not block the others."""
    limit = 5 << 20
    desk = await wire.listen(echo, max_message=limit)
    connection = await wire.connect(desk, max_message=limit)
    streams = [start(connection, bytes([number]) * (4 << 20)) for number in range(5)]
    for stream in streams[:4]:
        stream.cancel()
    assert join((await streams[4].reply).payload) == b"\4" * (4 << 20)
    assert desk.started == 1


@on_uvloop
async def test_a_long_message_is_not_copied_when_sent(wire):
    """The pieces handed to the socket are views of the caller's memory (on uvloop)."""
    connection = await wire.connect(await wire.listen(echo))
    written = []
    transport = connection.transport

    class Spy:
        def __getattr__(self, name):
            return getattr(transport, name)

        def writelines(self, pieces):
            written.extend(pieces)
            transport.writelines(pieces)

    connection.transport = Spy()
    payload = bytearray(3 << 20)
    await ask(connection, memoryview(payload))
    connection.transport = transport
    views = [piece for piece in written if getattr(piece, "obj", None) is payload]
    assert sum(view.nbytes for view in views) == len(payload)


# --- limits ---------------------------------------------------------------------------


@on_every_wire
async def test_a_request_too_long(wire):
    """A request beyond the limit is an error for its caller; the connection lives."""
    desk = await wire.listen(echo, max_message=2 << 20)
    connection = await wire.connect(desk, max_message=2 << 20)
    waiting = start(connection, b"before")
    with pytest.raises(ConfigError, match="max_message_bytes"):
        start(connection, bytes(2 << 20))  # its envelope makes it longer
    assert join((await waiting.reply).payload) == b"before"
    assert await ask(connection, b"after") == b"after"
    assert desk.started == 2


@on_every_wire
async def test_a_reply_too_long(wire):
    """A reply beyond the limit is an error for that call; the connection lives."""

    async def service(call):
        if call.method == "long":
            return Reply((bytes((2 << 20) + 1),))
        return Reply((b"short",), messages(bytes(9), bytes((2 << 20) + 1)))

    desk = await wire.listen(service, max_message=2 << 20)
    connection = await wire.connect(desk, max_message=2 << 20)
    with pytest.raises(ConfigError, match="max_message_bytes"):
        await ask(connection, method="long")
    reply = await start(connection, streaming=True).reply
    assert join(await anext(reply.rest)) == bytes(9)
    with pytest.raises(ConfigError, match="max_message_bytes"):
        await anext(reply.rest)
    with pytest.raises(ConfigError):
        await ask(connection, method="long")
    assert connection.connected


@on_both_loops
async def test_an_item_of_a_body_too_long(wire):
    """An item of an upload beyond the limit fails that call, on both sides."""

    async def service(call):
        return Reply((b"%d" % len([item async for item in call.body]),))

    desk = await wire.listen(service, max_message=2 << 20)
    connection = await wire.connect(desk, max_message=2 << 20)
    with pytest.raises(ConfigError, match="max_message_bytes"):
        await ask(connection, body=messages(b"a", bytes(3 << 20)))
    assert await ask(connection, body=messages(b"a", b"b")) == b"2"
    await until(lambda: desk.cancelled == 1)


@on_both_loops
async def test_a_small_limit_holds_under_pressure_and_without(wire):
    """Whether the socket is full or not, the same messages are too long."""
    connection = await wire.connect(
        await wire.listen(echo, max_message=100_000), max_message=100_000
    )
    assert await ask(connection, bytes(90_000)) == bytes(90_000)
    with pytest.raises(ConfigError, match="100000 are allowed"):
        await ask(connection, bytes(100_001))
    connection.pause_writing()
    with pytest.raises(ConfigError, match="100000 are allowed"):
        await ask(connection, bytes(100_001))
    connection.resume_writing()


class Heavy(Exception):
    pass


@on_both_loops
async def test_an_error_too_long(wire):
    """An exception longer than a message may be arrives as a short summary."""

    async def service(call):
        raise Heavy("sorry", bytes(3 << 20))

    desk = await wire.listen(service, max_message=1 << 20)
    connection = await wire.connect(desk, max_message=1 << 20)
    with pytest.raises(RemoteError) as info:
        await ask(connection)
    assert info.value.type_name.endswith(".Heavy")
    assert info.value.message.startswith("('sorry', b'")
    assert connection.connected


@on_both_loops
async def test_the_longest_message_of_all(wire):
    """The limit itself is allowed, on both ways."""
    connection = await wire.connect(await wire.listen(echo))
    payload = bytes(MAX_MESSAGE - 64)  # its envelope takes 64
    assert len(await ask(connection, payload)) == len(payload)
