"""Calls that are cancelled, and calls whose connection is lost."""

import asyncio

import pytest

from alacarte._wire.caller_connection import ConnectionLost
from alacarte.types import Reply

from .support import (
    LONG_BYTES,
    MAX_MESSAGE,
    PATIENCE_S,
    Blocked,
    ask,
    echo,
    join,
    on_both_loops,
    on_every_wire,
    start,
    until,
)

# --- cancellation ---------------------------------------------------------------------


@on_every_wire
async def test_cancellation_reaches_the_task(wire):
    """A caller that gives up cancels the work; others on the connection go on."""
    service = Blocked()
    desk = await wire.listen(service)
    connection = await wire.connect(desk)
    ended = []
    stream = start(connection, done=ended.append)
    other = start(connection)
    await until(lambda: desk.ongoing == 2)
    stream.cancel()
    assert ended == [stream]
    assert stream.reply.cancelled()
    await until(lambda: desk.cancelled == 1)
    assert desk.ongoing == 1
    service.gate.set()
    assert join((await other.reply).payload) == b"done"


@on_both_loops
async def test_cancelled_before_the_task_began(wire):
    """A request and its cancellation that arrive together leave nothing behind."""
    service = Blocked()
    desk = await wire.listen(service)
    connection = await wire.connect(desk)
    for _ in range(20):
        start(connection).cancel()
    stream = start(connection)
    await until(lambda: service.calls)
    assert len(service.calls) == desk.ongoing == 1
    service.gate.set()
    assert join((await stream.reply).payload) == b"done"


@on_every_wire
async def test_cancelled_within_a_long_request(wire):
    """A long request that is given up half-way is never worked on, and holds nothing."""
    desk = await wire.listen(echo)
    connection = await wire.connect(desk)
    assert await ask(connection, b"x") == b"x"
    stream = start(connection, bytes(LONG_BYTES))
    await until(lambda: desk.seen[0]._decoder._reserved == LONG_BYTES + 64)
    stream.cancel()
    assert await ask(connection, b"y") == b"y"
    assert desk.seen[0]._decoder._reserved == 0
    assert desk.started == 2
    assert await ask(connection, bytes(LONG_BYTES)) == bytes(LONG_BYTES)


@on_every_wire
async def test_cancelled_within_a_long_reply(wire):
    """The rest of a reply whose call was cancelled is discarded."""
    connection = await wire.connect(await wire.listen(echo))
    stream = start(connection, bytes(LONG_BYTES))
    await until(lambda: connection._decoder._reserved)
    stream.cancel()
    assert connection._decoder._reserved == 0
    assert await ask(connection, bytes(LONG_BYTES)) == bytes(LONG_BYTES)


@on_every_wire
async def test_a_cancelled_reply_is_sent_no_further(wire):
    """The rest of a long reply whose caller has cancelled is not sent."""

    async def service(call):
        return Reply((bytes(MAX_MESSAGE),)) if call.method == "long" else Reply(call.payload)

    desk = await wire.listen(service)
    connection = await wire.connect(desk)
    stream = start(connection, method="long")
    await until(lambda: connection._decoder._reserved)
    stream.cancel()
    replica = desk.seen[0]
    written = []
    write = replica.transport.writelines

    class Spy:
        def __getattr__(self, name):
            return getattr(transport, name)

        def writelines(self, pieces):
            written.append(sum(len(piece) for piece in pieces))
            write(pieces)

    transport, replica.transport = replica.transport, Spy()
    await until(lambda: not replica._pumps)
    replica.transport = transport
    assert sum(written) < MAX_MESSAGE // 2
    assert replica._unfinished == 0
    assert await ask(connection, bytes(MAX_MESSAGE // 2)) == bytes(MAX_MESSAGE // 2)


@on_both_loops
async def test_replies_cancelled_while_they_wait_for_room(wire):
    """Long replies that are cancelled before their turn take no room from the others."""
    limit = 5 << 20

    async def service(call):
        return Reply((bytes(call.payload[0]) * (4 << 20),))

    desk = await wire.listen(service, max_message=limit)
    connection = await wire.connect(desk, max_message=limit)
    streams = [start(connection, bytes([number])) for number in range(6)]
    await until(lambda: desk.started == 6 and not desk.ongoing)
    for stream in streams[:5]:
        stream.cancel()
    assert join((await streams[5].reply).payload) == b"\5" * (4 << 20)
    await until(lambda: not desk.seen[0]._pumps)
    assert desk.seen[0]._unfinished == 0


# --- loss -----------------------------------------------------------------------------


@on_every_wire
async def test_a_lost_connection_fails_the_calls_in_flight(wire):
    """When the replica goes, every call in flight there fails, and none can be sent."""
    desk = await wire.listen(Blocked())
    connection = await wire.connect(desk)
    lost, ended = [], []
    connection.on_lost = lambda: lost.append(True)
    streams = [start(connection, done=ended.append) for _ in range(3)]
    await until(lambda: desk.ongoing == 3)
    desk.listener.abort()
    for stream in streams:
        with pytest.raises(ConnectionLost):
            await stream.reply
    assert ended == streams
    assert lost == [True]
    assert not connection.connected
    with pytest.raises(ConnectionLost, match="not connected"):
        start(connection)
    await until(lambda: desk.cancelled == 3)


@on_both_loops
async def test_nothing_is_sent_on_a_connection_that_is_closing(wire):
    """A call on a broken connection that was not yet noticed is not sent, and so not lost."""
    connection = await wire.connect(await wire.listen(echo))
    connection.abort()
    with pytest.raises(ConnectionLost, match="not connected"):
        start(connection)


@on_every_wire
async def test_lost_within_long_messages(wire):
    """Long messages in flight end with their connection."""
    desk = await wire.listen(echo)
    connection = await wire.connect(desk)
    streams = [start(connection, bytes(LONG_BYTES)) for _ in range(3)]
    await until(lambda: desk.seen or desk.listener.connections)
    replica = next(iter(desk.listener.connections))
    await until(lambda: replica._decoder._reserved)
    replica.abort()
    for stream in streams:
        with pytest.raises(ConnectionLost):
            await stream.reply


@on_every_wire
async def test_a_caller_that_hangs_up_cancels_its_work(wire):
    """The end of a client's connection cancels its calls only."""
    service = Blocked()
    desk = await wire.listen(service)
    leaving, staying = await wire.connect(desk), await wire.connect(desk)
    streams = [start(leaving), start(leaving)]
    other = start(staying)
    await until(lambda: desk.ongoing == 3)
    leaving.abort()
    await until(lambda: desk.cancelled == 2)
    assert len(desk.hung) == 1
    for stream in streams:
        with pytest.raises(ConnectionLost):
            await stream.reply
    service.gate.set()
    assert join((await other.reply).payload) == b"done"


@on_every_wire
async def test_closing_sends_the_data_in_progress(wire):
    """`Listener.close` lets replies that are on their way arrive, long ones too."""
    desk = await wire.listen(echo)
    connection = await wire.connect(desk)
    streams = [start(connection, bytes([number]) * LONG_BYTES) for number in range(2)]
    await until(lambda: desk.started == 2 and not desk.ongoing)
    desk.listener.close()
    async with asyncio.timeout(PATIENCE_S):
        await desk.listener.wait_closed()
    for number, stream in enumerate(streams):
        assert join((await stream.reply).payload) == bytes([number]) * LONG_BYTES
    await until(lambda: not connection.connected)
