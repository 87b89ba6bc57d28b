"""Streaming replies and uploads over real connections: order, ends, and how far ahead they run."""

import asyncio

import pytest

from alacarte._wire.caller_connection import ConnectionLost
from alacarte._wire.flow import WINDOW_BYTES
from alacarte.errors import ConfigError, ServeError
from alacarte.types import Reply

from .support import (
    MAX_MESSAGE,
    PATIENCE_S,
    ask,
    join,
    messages,
    on_both_loops,
    on_every_wire,
    read,
    start,
    until,
)

ITEM_BYTES = 10_000
WINDOW_ITEMS = WINDOW_BYTES // ITEM_BYTES + 1


class Source:
    """An endless producer that counts its items, and records whether it was closed."""

    def __init__(self, size=ITEM_BYTES, stop=None):
        self.size = size
        self.stop = stop
        self.produced = 0
        self.closed = False

    async def items(self):
        try:
            while self.produced != self.stop:
                self.produced += 1
                yield (self.produced.to_bytes(8, "little") + bytes(self.size - 8),)
        finally:
            self.closed = True

    async def __call__(self, call):
        if call.method == "ping":
            return Reply((b"pong",))
        return Reply((b"head",), self.items())


async def settle(connection):
    """Wait until both ends are idle, by calls to and fro."""
    for _ in range(5):
        assert await ask(connection, method="ping") == b"pong"


# --- replies ----------------------------------------------------------------------------


@on_every_wire
async def test_items_arrive_in_order(wire):
    """Every item comes, in order, then the end; megabytes and empty ones among them."""
    items = [b"a", b"", bytes(70_000), b"b" * (3 << 20), b"", b"c" * (1 << 20), b"end"]

    async def service(call):
        assert call.streaming
        return Reply((b"head", b"er"), messages(*items))

    ended = []
    connection = await wire.connect(await wire.listen(service))
    reply = await start(connection, streaming=True, done=ended.append).reply
    assert join(reply.payload) == b"header"
    assert await read(reply) == items
    assert len(ended) == 1
    reply = await start(connection, streaming=True).reply
    assert await read(reply) == items


@on_both_loops
async def test_a_long_head(wire):
    """A first message of megabytes arrives before the messages behind it."""

    async def service(call):
        return Reply((bytes(5 << 20),), messages(b"a", b"b"))

    connection = await wire.connect(await wire.listen(service))
    reply = await start(connection, streaming=True).reply
    assert len(join(reply.payload)) == 5 << 20
    assert await read(reply) == [b"a", b"b"]


@on_both_loops
async def test_a_stream_without_items(wire):
    """A stream may end without an item."""

    async def service(call):
        return Reply((b"head",), messages())

    connection = await wire.connect(await wire.listen(service))
    assert await read(await start(connection, streaming=True).reply) == []


@on_every_wire
async def test_many_streams_at_a_time(wire):
    """Streams on one connection do not mix their items."""

    async def service(call):
        mark = bytes(call.payload[0])
        return Reply((mark,), messages(*[mark * 100] * 200))

    connection = await wire.connect(await wire.listen(service))
    marks = [b"%02d" % number for number in range(20)]
    replies = await asyncio.gather(*(start(connection, m, streaming=True).reply for m in marks))
    for mark, items in zip(marks, await asyncio.gather(*map(read, replies)), strict=True):
        assert items == [mark * 100] * 200


@on_every_wire
async def test_an_error_comes_after_the_items(wire):
    """The items before an error are read first; then the user's error is raised."""

    async def items():
        yield (b"a",)
        yield (b"b" * (2 << 20),)
        raise KeyError("k")

    async def service(call):
        return Reply((b"head",), items())

    connection = await wire.connect(await wire.listen(service))
    reply = await start(connection, streaming=True).reply
    assert join(await anext(reply.rest)) == b"a"
    assert len(join(await anext(reply.rest))) == 2 << 20
    with pytest.raises(KeyError) as info:
        await anext(reply.rest)
    assert "in items" in str(info.value.__cause__)


@on_every_wire
async def test_items_are_passed_on_as_they_arrive(wire):
    """A sink gets every byte in order; while it is full, the generator waits."""
    source = Source(stop=1000)
    connection = await wire.connect(await wire.listen(source))
    reply = await start(connection, streaming=True).reply
    taken = []

    def take(data):
        taken.append(bytes(data))
        return len(taken) != 20

    async with asyncio.timeout(PATIENCE_S):
        assert await reply.rest.pass_on(take)
        assert len(taken) == 20
        await settle(connection)
        held = sum(map(len, taken)) // ITEM_BYTES + WINDOW_ITEMS
        assert source.produced <= held + 2
        assert not await reply.rest.pass_on(take)
    whole = b"".join(taken)
    marks = [whole[at : at + 8] for at in range(0, len(whole), ITEM_BYTES)]
    assert marks == [number.to_bytes(8, "little") for number in range(1, 1001)]


@on_every_wire
async def test_leaving_early_closes_the_generator(wire):
    """A reader that stops reading ends the generator in the replica."""
    source = Source()
    desk = await wire.listen(source)
    connection = await wire.connect(desk)
    ended = []
    reply = await start(connection, streaming=True, done=ended.append).reply
    for _ in range(3):
        await anext(reply.rest)
    await reply.rest.aclose()
    assert len(ended) == 1
    await until(lambda: source.closed and desk.cancelled == 1)
    with pytest.raises(StopAsyncIteration):
        await anext(reply.rest)


@on_both_loops
async def test_a_waiting_reader_gets_the_error(wire):
    """Closing a stream from elsewhere ends the wait for its next item."""
    blocked = asyncio.Event()

    async def items():
        await blocked.wait()
        yield (b"",)

    async def service(call):
        return Reply((b"head",), items())

    desk = await wire.listen(service)
    connection = await wire.connect(desk)
    reply = await start(connection, streaming=True).reply
    task = asyncio.ensure_future(anext(reply.rest))
    await asyncio.sleep(0)
    await reply.rest.aclose()
    async with asyncio.timeout(5):
        with pytest.raises(StopAsyncIteration):
            await task


@on_every_wire
async def test_a_stream_that_breaks_off(wire):
    """When the connection is lost, the arrived items are read, then the loss is raised."""
    source = Source()
    desk = await wire.listen(source)
    connection = await wire.connect(desk)
    reply = await start(connection, streaming=True).reply
    await until(lambda: source.produced >= WINDOW_ITEMS)
    await settle(connection)
    desk.listener.abort()
    await until(lambda: not connection.connected and source.closed)
    for number in range(1, source.produced + 1):
        assert join(await anext(reply.rest))[:8] == number.to_bytes(8, "little")
    with pytest.raises(ConnectionLost):
        await anext(reply.rest)


# --- how far ahead ----------------------------------------------------------------------


@on_every_wire
async def test_a_slow_reader_stops_the_producer(wire):
    """A producer never is more than a window ahead of its reader, and never stalls."""
    source = Source(stop=500)
    connection = await wire.connect(await wire.listen(source))
    reply = await start(connection, streaming=True).reply
    got = 0
    while got < 500:
        ahead = min(500 - got, WINDOW_ITEMS // 2 - 1)
        await until(lambda least=got + ahead: source.produced >= least)
        await settle(connection)
        assert source.produced - got <= WINDOW_ITEMS
        for _ in range(min(37, 500 - got)):
            got += 1
            assert join(await anext(reply.rest))[:8] == got.to_bytes(8, "little")
    assert await read(reply) == []
    assert source.closed


@on_both_loops
async def test_items_greater_than_the_window(wire):
    """Items longer than the window pass one at a time."""
    source = Source(size=3 << 20, stop=5)
    connection = await wire.connect(await wire.listen(source))
    reply = await start(connection, streaming=True).reply
    for number in range(5):
        await until(lambda number=number: source.produced > number)
        await settle(connection)
        assert source.produced == number + 1
        assert len(join(await anext(reply.rest))) == 3 << 20
    assert await read(reply) == []


@on_both_loops
async def test_empty_items_are_bounded(wire):
    """Items without bytes stop at a window, too."""
    count = 0

    async def items():
        nonlocal count
        while True:
            count += 1
            yield (b"",)

    async def service(call):
        return Reply((b"pong",), None if call.method == "ping" else items())

    connection = await wire.connect(await wire.listen(service))
    reply = await start(connection, streaming=True).reply
    await until(lambda: count >= WINDOW_BYTES // 64)
    await settle(connection)
    assert count <= WINDOW_BYTES // 64 + 1
    assert len(reply.rest.ready(WINDOW_BYTES)) == WINDOW_BYTES // 64
    await reply.rest.aclose()


@on_both_loops
async def test_a_stalled_stream_stalls_no_other(wire):
    """An unread stream does not delay the other streams of its connection."""
    stalled, other = Source(), Source(stop=400)

    async def service(call):
        return await (stalled if call.method == "stalled" else other)(call)

    connection = await wire.connect(await wire.listen(service))
    unread = await start(connection, method="stalled", streaming=True).reply
    await until(lambda: stalled.produced >= WINDOW_ITEMS)
    assert len(await read(await start(connection, streaming=True).reply)) == 400
    assert stalled.produced <= WINDOW_ITEMS
    await unread.rest.aclose()
    await until(lambda: stalled.closed)


@on_every_wire
async def test_a_slow_replica_stops_the_upload(wire):
    """A body is read at most one window ahead of its replica."""
    source = Source(stop=400)
    steps: asyncio.Queue[int] = asyncio.Queue()
    got = 0

    async def service(call):
        nonlocal got
        if call.method == "ping":
            return Reply((b"pong",))
        while count := await steps.get():
            for _ in range(count):
                await anext(call.body)
                got += 1
        return Reply((b"%d" % got,), None)

    connection = await wire.connect(await wire.listen(service))
    stream = start(connection, body=source.items())
    while got < 400:
        before = got
        ahead = min(400 - got, WINDOW_ITEMS // 2 - 1)
        await until(lambda ahead=ahead, before=before: source.produced - before >= ahead)
        await settle(connection)
        assert source.produced - got <= WINDOW_ITEMS
        step = min(50, 400 - got)
        steps.put_nowait(step)
        await until(lambda before=before, step=step: got == before + step)
    steps.put_nowait(0)
    assert join((await stream.reply).payload) == b"400"


@on_both_loops
async def test_both_directions_at_once(wire):
    """A replica may reply item by item while the body arrives."""

    async def service(call):
        async def doubled():
            async for item in call.body:
                yield (item[0], item[0])

        return Reply((b"head",), doubled())

    source = Source(stop=300)
    connection = await wire.connect(await wire.listen(service))
    reply = await start(connection, streaming=True, body=source.items()).reply
    items = await read(reply)
    assert [item[:8] for item in items] == [n.to_bytes(8, "little") for n in range(1, 301)]
    assert {len(item) for item in items} == {2 * ITEM_BYTES}


# --- what is ready ----------------------------------------------------------------------


class Parts:
    """Parts of a body, as `ReadyMessages`, which a test adds one by one.

    Attributes:
        taken: How many parts each frame was made of.
        woken: How often the reader had to be woken.
    """

    def __init__(self):
        self.on_ready = None
        self.taken = []
        self.woken = 0
        self.closed = False
        self._parts = []
        self._ended = False
        self._error = None
        self._reader = None

    @property
    def awaited(self):
        return self._reader is not None and not self._reader.done()

    def give(self, *parts):
        for part in parts:
            self._parts.append(part)
            if len(self._parts) == 1 and self.awaited:
                (self.on_ready or self.wake)()

    def end(self):
        self._ended = True
        self.wake()

    def fail(self, error):
        self._error = error
        self.end()

    def wake(self):
        self.woken += 1
        if self.awaited:
            self._reader.set_result(None)

    def take_ready(self):
        if not self._parts or not self.awaited:
            return None
        parts, self._parts = self._parts, []
        self.taken.append(len(parts))
        return parts

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        parts, self._parts = self._parts, []
        return parts

    async def aclose(self):
        self.closed = True


async def start_parts(wire, max_message=MAX_MESSAGE):
    """Return parts to give, the reply that they follow, and the replica's connection."""
    parts = Parts()

    async def service(call):
        return Reply((b"head",), parts)

    desk = await wire.listen(service, max_message=max_message)
    connection = await wire.connect(desk, max_message=max_message)
    reply = await start(connection, streaming=True).reply
    await until(lambda: parts.on_ready is not None and parts.awaited)
    return parts, reply, desk.seen[0]


@on_every_wire
async def test_parts_ready_in_one_turn_leave_in_one_frame(wire):
    """Parts ready in one iteration share a frame and wake no task; later ones get their own."""
    parts, reply, _ = await start_parts(wire)
    parts.give(b"a", b"b", b"c")
    assert join(await anext(reply.rest)) == b"abc"
    parts.give(b"d")
    assert join(await anext(reply.rest)) == b"d"
    assert (parts.taken, parts.woken) == ([3, 1], 0)
    parts.end()
    assert await read(reply) == []
    assert parts.on_ready is None


@on_every_wire
async def test_ready_parts_come_before_the_end(wire):
    """Ready parts are sent before the end, by the end of the iteration or by the woken reader."""
    parts, reply, _ = await start_parts(wire)
    parts.give(b"a", b"b")
    parts.end()
    assert b"".join(await read(reply)) == b"ab"


@on_every_wire
async def test_ready_parts_wait_for_the_window(wire):
    """A slow reader stops the source, and gets all parts in order when it reads again."""
    parts, reply, _ = await start_parts(wire)
    given = [bytes([number]) * ITEM_BYTES for number in range(250)]
    for part in given:
        parts.give(part)
        await asyncio.sleep(0)
    await until(lambda: parts.woken)
    assert sum(parts.taken) <= WINDOW_ITEMS
    parts.end()
    assert b"".join(await read(reply)) == b"".join(given)


@on_every_wire
async def test_a_long_part_that_is_ready(wire):
    """A long part is sent in chunks, and the parts behind it wait until it was sent."""
    parts, reply, _ = await start_parts(wire)
    long = b"l" * (3 << 20)
    parts.give(long)
    await until(lambda: parts.taken)
    parts.give(b"after")
    parts.end()
    assert b"".join(await read(reply)) == long + b"after"


@on_every_wire
@pytest.mark.parametrize("then", ["another part", "the end", "an error"])
async def test_nothing_overtakes_a_long_part_that_waits_for_room(wire, then):
    """While the caller has no room for a part, all that follows waits behind the part."""
    parts, reply, replica = await start_parts(wire)
    [served] = replica._streams.values()
    served._window.grant(8 << 20)  # so that the window alone holds nothing back
    taken = replica._decoder.max_message - (1 << 20)
    replica._unfinished += taken  # as long messages of other streams would
    long = b"l" * (3 << 20)
    parts.give(long)
    await until(lambda: replica._room_waiters)
    if then == "another part":
        parts.give(b"after")
    elif then == "the end":
        parts.end()
    else:
        parts.fail(ValueError("of the source"))
    await until(lambda: not parts.awaited)
    for _ in range(5):  # iterations of the loop in which what follows could overtake
        await asyncio.sleep(0)
    replica._unfinished -= taken
    replica._admit_waiters()
    assert join(await anext(reply.rest)) == long
    if then == "an error":
        with pytest.raises(ValueError, match="of the source"):
            await read(reply)
    else:
        parts.end()
        assert b"".join(await read(reply)) == (b"after" if then == "another part" else b"")


@on_every_wire
async def test_a_part_that_is_too_long_ends_its_stream(wire):
    """The stream fails instead of going on without the part; the others of the iteration go on."""
    limit = 2 << 20
    sources = {b"long": Parts(), b"other": Parts()}

    async def service(call):
        if call.method == "ping":
            return Reply((b"pong",))
        return Reply((b"head",), sources[bytes(call.payload[0])])

    desk = await wire.listen(service, max_message=limit)
    connection = await wire.connect(desk, max_message=limit)
    long, other = [await start(connection, name, streaming=True).reply for name in sources]
    await until(lambda: all(source.awaited for source in sources.values()))
    sources[b"long"].give(b"l" * (3 << 20))
    sources[b"other"].give(b"a")
    await settle(connection)
    sources[b"long"].give(b"next")
    sources[b"other"].give(b"b")
    await settle(connection)
    sources[b"other"].end()
    assert await read(other) == [b"a", b"b"]
    with pytest.raises(ConfigError, match="max_message_bytes"):
        await read(long)
    assert sources[b"long"].closed
    assert sources[b"long"].on_ready is None


@on_both_loops
async def test_a_source_that_fails_in_take_ready(wire):
    """An error of the source ends the stream."""
    parts, reply, _ = await start_parts(wire)

    def fail():
        raise ValueError("of the source")

    parts.take_ready = fail
    parts.give(b"a")
    with pytest.raises(ValueError, match="of the source"):
        await read(reply)


@on_both_loops
async def test_a_call_cancelled_as_its_part_is_too_long(wire):
    """An outside cancellation in the same iteration of the loop stays a cancellation."""
    parts, reply, replica = await start_parts(wire, max_message=2 << 20)
    [served] = replica._streams.values()
    tasks = []

    def send_long():
        take()
        tasks.append(served.task)
        served.task.cancel()
        raise ValueError("of the source")

    take, parts.take_ready = parts.take_ready, send_long
    parts.give(b"a")
    with pytest.raises(ServeError, match="the handler was cancelled"):
        await read(reply)
    assert tasks[0].cancelled()


@on_both_loops
async def test_an_error_of_one_sender_stops_no_other(wire):
    """A failing sender does not stop the others of the iteration; the loop reports its error."""
    connection = await wire.connect(await wire.listen(messages))
    heard, sent = [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context))

    def fail():
        raise ValueError("of a stream")

    connection.send_soon(fail)
    connection.send_soon(lambda: sent.append(True))
    await until(lambda: heard)
    assert sent == [True]
    assert str(heard[0]["exception"]) == "of a stream"


@on_every_wire
async def test_nothing_is_taken_for_a_reader_that_has_left(wire):
    """A part that gets ready in the iteration of the cancellation is not sent."""
    parts, reply, replica = await start_parts(wire)
    [served] = replica._streams.values()
    parts.give(b"a")
    assert len(replica._deferred) == 1
    served.cancel()  # as CANCEL does; the iteration's end is still to come
    await until(lambda: parts.on_ready is None)
    assert not replica._deferred
    assert parts.taken == []
    assert reply.rest.ready() == []
    await reply.rest.aclose()


@on_every_wire
async def test_nothing_is_taken_once_the_stream_has_ended(wire):
    """The end of the stream takes its place in the source back."""
    parts, reply, _ = await start_parts(wire)
    await reply.rest.aclose()
    await until(lambda: parts.on_ready is None)
    parts.give(b"a")
    assert parts.taken == []
