"""Calls over real connections: replies, errors, rejection, load and connecting."""

import asyncio
import contextlib
import time

import pytest

from alacarte._wire.authentication import AuthenticationError
from alacarte._wire.caller_connection import ConnectionLost, Rejected
from alacarte._wire.error_codec import rebuild_error
from alacarte._wire.frames import CHUNK_BYTES, Kind
from alacarte.errors import BackPressureError, RemoteError
from alacarte.types import Address, Reply

from .support import (
    Blocked,
    ask,
    echo,
    join,
    messages,
    on_both_loops,
    on_every_wire,
    start,
    until,
)

# --- liveness -------------------------------------------------------------------------


@on_every_wire
async def test_a_ping_is_answered_by_a_loop_that_turns(wire):
    """A PING is answered while the replica works, and every frame sets `has_received`."""
    blocked = Blocked()
    connection = await wire.connect(await wire.listen(blocked))
    stream = start(connection)
    await until(lambda: blocked.calls)
    connection.has_received = False
    pongs = []
    connection.on_pong = lambda: pongs.append(connection.has_received)
    connection.ping()
    await until(lambda: pongs)
    assert pongs == [True]
    blocked.gate.set()
    assert (await stream.reply).payload == (b"done",)


@on_both_loops
async def test_a_call_that_is_abandoned(wire):
    """The caller gets the error and the replica a CANCEL; a reply that has begun is not touched."""
    blocked = Blocked()
    desk = await wire.listen(blocked)
    connection = await wire.connect(desk)
    stream = start(connection)
    await until(lambda: blocked.calls)
    assert stream.is_repeatable
    stream.abandon(ConnectionLost("it is too slow"))
    with pytest.raises(ConnectionLost, match="too slow"):
        await stream.reply
    await until(lambda: desk.cancelled == 1)


@on_both_loops
async def test_whether_a_call_may_be_sent_again(wire):
    """A call is repeatable until a part of its body was read."""
    blocked = Blocked()
    desk = await wire.listen(blocked, limit=1)
    connection = await wire.connect(desk)
    taken = start(connection, body=messages(b"one", b"two"))
    await until(lambda: blocked.calls)
    rejected = start(connection, body=messages(b"one", b"two"))
    with pytest.raises(Rejected):
        await rejected.reply
    await until(lambda: not taken.is_repeatable)
    assert rejected.is_repeatable
    taken.abandon(ConnectionLost("x"))


# --- one call -------------------------------------------------------------------------


@on_every_wire
async def test_a_call_is_answered(wire):
    """Every field of a call and its whole reply arrive."""
    seen = []

    async def service(call):
        seen.append(call)
        return Reply((b"re: ", bytes(call.payload[0]), b"!"))

    connection = await wire.connect(await wire.listen(service))
    assert connection.metadata == {"served": "here"}
    ended = []
    stream = start(
        connection,
        b"hel",
        b"lo",
        done=ended.append,
        method="predict",
        request_id="r-1",
        app="shop",
        route="/buy",
        model_id="m",
        routing_key="k",
        deadline=time.monotonic() + 60,
    )
    reply = await stream.reply
    assert join(reply.payload) == b"re: hello!"
    assert reply.rest is None
    assert ended == [stream]
    assert not stream.rejected
    (call,) = seen
    assert (call.protocol, call.method, call.request_id, call.app) == (
        "test", "predict", "r-1", "shop",
    )  # fmt: skip
    assert (call.route, call.model_id, call.routing_key) == ("/buy", "m", "k")
    assert (call.streaming, call.body) == (False, None)
    assert 50 < call.deadline - time.monotonic() <= 60
    stream.cancel()  # nothing happens: it has ended
    assert ended == [stream]


@on_every_wire
async def test_every_call_gets_its_own_answer(wire):
    """Hundreds of concurrent calls of all sizes on one connection get their own replies."""

    async def service(call):
        for _ in range(len(call.payload[0]) % 7):
            await asyncio.sleep(0)
        return Reply(call.payload)

    connection = await wire.connect(await wire.listen(service))
    payloads = [bytes([number % 256]) * (number * number) for number in range(300)]
    answers = await asyncio.gather(*(ask(connection, payload) for payload in payloads))
    assert answers == payloads


@on_both_loops
async def test_sizes_at_the_seams(wire):
    """Messages just below and above each threshold arrive, in one or several pieces."""
    connection = await wire.connect(await wire.listen(echo))
    for size in (0, 1, 1 << 15, 1 << 16, 1 << 18, CHUNK_BYTES, 2 * CHUNK_BYTES):
        for around in {max(0, size - 100), max(0, size - 1), size, size + 1}:
            payload = bytes([around % 251]) * around
            assert await ask(connection, payload) == payload
            assert await ask(connection, payload[:5], b"", memoryview(payload)[5:]) == payload


@on_both_loops
async def test_many_callers(wire):
    """Callers of one replica do not affect one another."""
    desk = await wire.listen(echo)
    connections = [await wire.connect(desk) for _ in range(20)]
    answers = await asyncio.gather(
        *(ask(c, b"%d-%d" % (i, n)) for n in range(5) for i, c in enumerate(connections))
    )
    assert answers == [b"%d-%d" % (i, n) for n in range(5) for i in range(20)]
    assert len(desk.listener.connections) == 20


# --- errors ---------------------------------------------------------------------------


@on_every_wire
async def test_errors_come_back(wire):
    """A caller gets the user's own exception type, and core's errors as themselves."""

    async def service(call):
        if call.method == "user":
            raise KeyError("k")
        raise BackPressureError("a#d", 3, 2, 0.5)

    desk = await wire.listen(service)
    connection = await wire.connect(desk)
    with pytest.raises(KeyError) as info:
        await ask(connection, method="user")
    assert "in service" in str(info.value.__cause__)
    with pytest.raises(BackPressureError) as shed:
        await ask(connection)
    assert shed.value.retry_after_s == 0.5
    careful = await wire.connect(desk, decode_error=rebuild_error)
    with pytest.raises(RemoteError, match="KeyError"):
        await ask(careful, method="user")
    with pytest.raises(BackPressureError):
        await ask(careful)


@on_both_loops
async def test_an_error_of_an_abandoned_call(wire):
    """A caller that is gone is no reason to complain about its error."""

    async def service(call):
        raise KeyError("k")

    connection = await wire.connect(await wire.listen(service))
    start(connection)
    await until(lambda: not connection._streams)


# --- rejection and load -----------------------------------------------------------------


@on_every_wire
async def test_a_refused_caller_gets_load_when_a_slot_is_free(wire):
    """A replica at its limit rejects a call unstarted, and sends LOAD when a slot is free."""
    service = Blocked()
    desk = await wire.listen(service, limit=2)
    connection, other = await wire.connect(desk), await wire.connect(desk)
    told, others = [], []
    connection.on_load = lambda: told.append(connection.replica_load)
    other.on_load = lambda: others.append(True)
    taken = [start(connection) for _ in range(2)]
    rejected = start(connection)
    with pytest.raises(Rejected):
        await rejected.reply
    assert rejected.rejected
    assert connection.replica_load == 2
    assert desk.started == 2
    assert told == []
    service.gate.set()
    for stream in taken:
        await stream.reply
    await until(lambda: told)
    assert told == [1]
    assert others == []
    await ask(connection)


@on_both_loops
async def test_every_reply_carries_the_load(wire):
    """The load a caller knows is that of the replica's last word."""
    service = Blocked()
    desk = await wire.listen(service)
    slow, fast = await wire.connect(desk), await wire.connect(desk)
    waiting = [start(slow) for _ in range(5)]
    await until(lambda: desk.ongoing == 5)
    stream = start(fast)
    await until(lambda: desk.ongoing == 6)
    desk.listener.announce(Kind.LOAD)
    await until(lambda: fast.replica_load == 6)
    service.gate.set()
    await asyncio.gather(stream.reply, *(stream.reply for stream in waiting))
    assert fast.replica_load == 0


@on_both_loops
async def test_goaway(wire):
    """GOAWAY reaches every caller, and the calls in flight are answered."""
    service = Blocked()
    desk = await wire.listen(service)
    connections = [await wire.connect(desk) for _ in range(3)]
    gone = []
    for connection in connections:
        connection.on_goaway = lambda connection=connection: gone.append(connection)
    stream = start(connections[0])
    await until(lambda: desk.ongoing == 1)
    desk.listener.announce(Kind.GOAWAY)
    await until(lambda: len(gone) == 3)
    service.gate.set()
    assert join((await stream.reply).payload) == b"done"


@on_both_loops
async def test_a_ping_is_answered(wire):
    """Both ends answer a PING, with their load."""
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    peer.send(b"".join(b"\0\0\0\0\x10\0\0\0\0\0\0\0" for _ in range(3)))
    for _ in range(3):
        assert (await peer.receive()).kind == Kind.PONG
    kinds = []

    async def replica(peer):
        await peer.answer()
        peer.send(b"\0\0\0\0\x10\0\0\0\0\0\0\0")
        while True:
            kinds.append((await peer.receive()).kind)

    connection = await wire.connect(await wire.impersonate(replica))
    await until(lambda: kinds[-1:] == [Kind.PONG])
    connection.abort()


# --- connecting -----------------------------------------------------------------------


@on_every_wire
async def test_a_replica_that_has_gone(wire):
    """A replica that is gone is an OSError, at once."""
    desk = await wire.listen(echo)
    desk.listener.close()
    with pytest.raises(OSError, match=r"."):
        await wire.connect(desk)


@on_both_loops
async def test_no_way_to_get_there(wire):
    """A replica on another host that listens on no TCP port cannot be reached."""
    with pytest.raises(OSError, match="replica-1 runs on another host"):
        await wire.connect(Address("/tmp/x.sock", "another host"))


@on_every_wire
async def test_the_wrong_replica(wire):
    """A caller that reaches another replica than it named gets an error."""
    desk = await wire.listen(echo, replica_id="replica-2")
    with pytest.raises((ConnectionLost, AuthenticationError)):
        await wire.connect(desk)
    await until(lambda: not desk.listener.pending)


@on_both_loops
async def test_a_connect_that_is_cancelled(wire):
    """Giving up on a connection leaves none."""
    begun = asyncio.Event()

    async def silent(peer):
        begun.set()
        with contextlib.suppress(ConnectionError):
            await peer.reader.read()

    address = await wire.impersonate(silent)
    task = asyncio.ensure_future(wire.connect(address))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
