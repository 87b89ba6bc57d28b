"""Calls over real connections: answers, bodies, long messages, cancellation, loss, refusal."""

import asyncio
import contextlib
import time

import pytest

from alacarte._wire.authentication import AuthenticationError
from alacarte._wire.caller_connection import ConnectionLost, Rejected
from alacarte._wire.error_codec import rebuild_error
from alacarte._wire.frames import CHUNK_BYTES, Kind
from alacarte.errors import BackPressureError, ConfigError, RemoteError
from alacarte.types import Address, Reply

from .support import (
    MAX_MESSAGE,
    PATIENCE_S,
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

LONG_BYTES = 16 << 20


class Blocked:
    """A service that replies when the test allows it."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.calls = []

    async def __call__(self, call):
        self.calls.append(call)
        await self.gate.wait()
        return Reply((b"done",))


# --- is it there ------------------------------------------------------------------------


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
    refused = start(connection, body=messages(b"one", b"two"))
    with pytest.raises(Rejected):
        await refused.reply
    await until(lambda: not taken.is_repeatable)
    assert refused.is_repeatable
    taken.abandon(ConnectionLost("x"))


# --- one call ---------------------------------------------------------------------------


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
    assert not stream.refused
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


# --- errors -----------------------------------------------------------------------------


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
async def test_an_error_nobody_waits_for(wire):
    """A caller that is gone is no reason to complain about its error."""

    async def service(call):
        raise KeyError("k")

    connection = await wire.connect(await wire.listen(service))
    start(connection)
    await until(lambda: not connection._streams)


# --- long messages ----------------------------------------------------------------------


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


# --- too long ---------------------------------------------------------------------------


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


# --- bodies -----------------------------------------------------------------------------


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
    """The body of a refused call is unread, so the call can be sent to another replica."""
    service = Blocked()
    full = await wire.listen(service, limit=1)
    connection = await wire.connect(full)
    first = start(connection)
    await until(lambda: service.calls)
    body = Body(b"a", b"b")
    refused = start(connection, body=body)
    with pytest.raises(Rejected):
        await refused.reply
    assert refused.refused
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


# --- cancellation -----------------------------------------------------------------------


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
async def test_a_reply_given_up_is_sent_no_further(wire):
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
async def test_replies_given_up_while_they_wait_for_room(wire):
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


# --- loss -------------------------------------------------------------------------------


@on_every_wire
async def test_a_lost_connection_fails_what_is_in_flight(wire):
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
async def test_closing_finishes_what_is_being_sent(wire):
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


# --- refusal and load -------------------------------------------------------------------


@on_every_wire
async def test_refused_and_told_when_there_is_room(wire):
    """A replica at its limit refuses a call unstarted, and sends LOAD when a slot is free."""
    service = Blocked()
    desk = await wire.listen(service, limit=2)
    connection, other = await wire.connect(desk), await wire.connect(desk)
    told, others = [], []
    connection.on_load = lambda: told.append(connection.replica_load)
    other.on_load = lambda: others.append(True)
    taken = [start(connection) for _ in range(2)]
    refused = start(connection)
    with pytest.raises(Rejected):
        await refused.reply
    assert refused.refused
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
async def test_going_away(wire):
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


# --- connecting -------------------------------------------------------------------------


@on_every_wire
async def test_nobody_listens(wire):
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


@on_both_loops
async def test_the_longest_message_of_all(wire):
    """The limit itself is allowed, on both ways."""
    connection = await wire.connect(await wire.listen(echo))
    payload = bytes(MAX_MESSAGE - 64)  # its envelope takes 64
    assert len(await ask(connection, payload)) == len(payload)
