"""Long replies in shared memory: who writes, who reads, and when the memory is used again."""

import asyncio
import fcntl
import gc
import os
import tempfile

import pytest

from alacarte._wire import shared
from alacarte._wire.caller import ConnectionLost
from alacarte._wire.frames import FrameError
from alacarte._wire.shared import (
    MAX_SHARED_BYTES,
    SHARED_BYTES,
    Mapping,
    Mappings,
    Segment,
    Segments,
    read_inode,
    read_reference,
    write_inode,
)
from alacarte.types import Reply

from .support import PATIENCE_S, ask, join, on_both_loops, on_every_wire, start, until

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create")
SIZE = 1_000_000
HEAD = b"head" * 25
BODY = bytes(range(256)) * (SIZE // 256)
MESSAGE = HEAD + BODY


# --- segments ---------------------------------------------------------------------------


class Reader:
    """What a connection maps of this process's own segments."""

    def __init__(self):
        self.released = []
        self.mappings = Mappings(os.getpid(), self.released.append)

    def read(self, reference, max_size=1 << 30):
        return self.mappings.read(reference, max_size)


async def test_a_message_is_read_where_it_was_written():
    """All pieces, one behind the other, whatever they are; nobody can change them."""
    segment = Segments().take(SIZE)
    numbers = memoryview(bytes(8)).cast("d")
    view = Reader().read(segment.write((b"ab", memoryview(b"cd"), numbers), 12))
    assert view == b"abcd" + bytes(8)
    assert view.readonly


async def test_a_segment_is_released_with_its_last_view():
    """Not before: slices of slices of a message refer to the segment as well."""
    reader = Reader()
    segment = Segments().take(SIZE)
    view = reader.read(segment.write((MESSAGE,), len(MESSAGE)))
    part = memoryview(view[100:])[5:]
    del view
    gc.collect()
    await asyncio.sleep(0)
    assert reader.released == []
    assert part[:5] == BODY[5:10]
    del part
    await until(lambda: reader.released)
    assert reader.released == [segment.inode]


async def test_each_message_of_a_segment_is_released():
    """The second message in a segment is another, though the segment is mapped once."""
    reader = Reader()
    segment = Segments().take(SIZE)
    for mark in (b"a", b"b"):
        assert reader.read(segment.write((mark * SIZE,), SIZE)) == mark * SIZE
    await until(lambda: len(reader.released) == 2)
    assert len(reader.mappings._mappings) == 1


async def test_segments_are_used_again():
    """For messages that fill a fair part of them."""
    segments = Segments()
    first = segments.take(4 * SHARED_BYTES)
    segments.give_back(first)
    assert segments.take(SHARED_BYTES) is not first
    assert segments.take(4 * SHARED_BYTES + 1) is not first
    assert segments.take(2 * SHARED_BYTES) is first


async def test_the_segment_used_last_is_used_first():
    """Its memory is in the cache, and another one that is not needed is let go in time."""
    segments = Segments()
    first, second = segments.take(SIZE), segments.take(SIZE)
    segments.give_back(first)
    segments.give_back(second)
    for _ in range(3):
        assert segments.take(SIZE) is second
        segments.give_back(second)


async def test_segments_are_bounded():
    """What is free makes room for what is needed; what is lent does not."""
    segments = Segments(limit=10 * SHARED_BYTES)
    first = segments.take(8 * SHARED_BYTES)
    assert segments.take(3 * SHARED_BYTES) is None
    segments.give_back(first)
    assert segments.take(10 * SHARED_BYTES) is not None
    assert segments.take(1) is None
    segments.close()


async def test_a_segment_that_is_not_used_is_let_go():
    """At the second review that finds it unused."""
    segments = Segments()
    segment = segments.take(SIZE)
    inode = segment.inode
    segments.give_back(segment)
    segments.review()
    assert segments.take(SIZE).inode == inode
    segments.give_back(segment)
    segments.review()
    segments.review()
    assert segments._size == 0
    assert segments._review is None


async def test_mappings_that_are_not_used_are_let_go():
    """At the second review; what is read from one stays readable."""
    reader = Reader()
    segment = Segments().take(SIZE)
    view = reader.read(segment.write((MESSAGE,), len(MESSAGE)))
    reader.mappings.review()
    reader.mappings.review()
    assert not reader.mappings._mappings
    assert view == MESSAGE


async def test_memory_outlives_its_writer():
    """Who reads a segment that its replica has closed reads on."""
    segment = Segment(SIZE)
    view = Reader().read(segment.write((MESSAGE[:SIZE],), SIZE))
    segment.close()
    assert view == MESSAGE[:SIZE]


def test_a_system_without_room(monkeypatch):
    """Where no segment can be made, there is none."""

    def full(*args):
        raise OSError("no memory")

    monkeypatch.setattr(os, "memfd_create", full)
    segments = Segments()
    assert segments.take(SIZE) is None
    assert segments._size == 0


async def test_a_descriptor_that_is_another_file_by_now():
    """Is not read, whatever it is."""
    segment = Segment(SIZE)
    _, inode, _ = read_reference(segment.write((b"x",), 1))
    with tempfile.TemporaryFile() as other, pytest.raises(OSError, match="another file"):
        Mapping(os.getpid(), other.fileno(), inode)


async def test_a_segment_that_may_shrink():
    """Is not mapped: reading behind its end would kill the process."""
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, 4096)
        with pytest.raises(OSError, match="may shrink"):
            Mapping(os.getpid(), fd, os.fstat(fd).st_ino)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        Mapping(os.getpid(), fd, os.fstat(fd).st_ino)
    finally:
        os.close(fd)


async def test_references_that_are_none():
    """Sizes beyond the limit, or beyond the segment, and bytes that are no reference."""
    reader = Reader()
    segment = Segments().take(SIZE)
    with pytest.raises(FrameError, match="in 1 bytes"):
        reader.read(b"x")
    with pytest.raises(FrameError, match="2 are allowed"):
        reader.read(segment.write((b"abc",), 3), max_size=2)
    with pytest.raises(FrameError, match="holds"):
        reader.read(segment.write((b"abc",), segment.size + 1))
    with pytest.raises(FrameError, match="release in 1 bytes"):
        read_inode(b"x")
    assert read_inode(write_inode(segment.inode)) == segment.inode


# --- over connections -------------------------------------------------------------------


async def long_reply(call):
    return Reply((HEAD, BODY)) if call.streaming else Reply((b"pong",))


def lent(desk):
    return [lease for each in desk.listener.connections for lease in each._leases]


@on_every_wire
async def test_a_long_reply(wire):
    """Is the same over every wire; on Unix sockets it is in shared memory until it is let go of."""
    desk = await wire.listen(long_reply)
    connection = await wire.connect(desk)
    shares = str(wire).endswith("unix")
    for _ in range(5):
        reply = await start(connection, streaming=True).reply
        assert reply.rest is None
        assert isinstance(reply.payload[0], memoryview) == shares
        assert len(lent(desk)) == shares
        assert join(reply.payload) == MESSAGE
        del reply
        await until(lambda: not lent(desk))
    assert (desk.listener.segments._size > 0) == shares


@on_both_loops
@pytest.mark.parametrize("size", [SHARED_BYTES - 1, MAX_SHARED_BYTES + 1])
async def test_other_replies_take_the_socket(wire, size):
    """Short ones, and those that would keep the loop waiting."""

    async def service(call):
        return Reply((bytes(size),))

    connection = await wire.connect(await wire.listen(service))
    reply = await start(connection, streaming=True).reply
    assert isinstance(reply.payload[0], bytearray)
    assert reply.payload[0] == bytes(size)


@on_both_loops
async def test_a_caller_of_one_message_takes_the_socket(wire):
    """The user's arrays lie in memory of their own, which may be written to."""

    async def service(call):
        return Reply((BODY,))

    connection = await wire.connect(await wire.listen(service))
    assert isinstance((await start(connection).reply).payload[0], bytearray)


@on_both_loops
async def test_many_replies_at_a_time(wire):
    """Beyond the limit on shared memory, replies take the socket; none is mixed with another."""

    async def service(call):
        return Reply((bytes(call.payload[0]) * SIZE,))

    desk = await wire.listen(service)
    desk.listener.segments = Segments(limit=3 << 20)
    connection = await wire.connect(desk)
    marks = [b"%d" % number for number in range(10)]
    replies = await asyncio.gather(*(start(connection, m, streaming=True).reply for m in marks))
    kinds = [type(reply.payload[0]) for reply in replies]
    assert (kinds.count(memoryview), kinds.count(bytearray)) == (3, 7)
    for mark, reply in zip(marks, replies, strict=True):
        assert reply.payload[0] == mark * SIZE
    del replies, reply
    await until(lambda: not lent(desk))


@on_both_loops
async def test_a_reply_that_nobody_awaits_is_released(wire):
    """Whether its caller gives it up in this turn of the loop, or has said so before."""
    desk = await wire.listen(long_reply)
    connection = await wire.connect(desk)
    start(connection, streaming=True).reply.cancel()
    await until(lambda: desk.listener.segments._size)
    start(connection, streaming=True).cancel()
    await until(lambda: not lent(desk))
    assert await ask(connection) == b"pong"


@on_both_loops
async def test_the_end_of_a_call_is_told_with_its_reply(wire):
    """Who hears that a call has ended finds the reply there, or that it was given up."""
    desk = await wire.listen(long_reply)
    connection = await wire.connect(desk)
    ends = []

    def done(stream):
        ends.append((stream.answered, type(stream.error)))

    await start(connection, streaming=True, done=done).reply
    start(connection, streaming=True, done=done).reply.cancel()
    await until(lambda: len(ends) == 2)
    assert ends == [(True, type(None)), (False, asyncio.CancelledError)]
    await until(lambda: not lent(desk))


@on_both_loops
async def test_memory_of_a_lost_connection_is_not_used_again(wire):
    """Its caller may still read it, and can no longer say when it is done."""
    desk = await wire.listen(long_reply)
    connection = await wire.connect(desk)
    reply = await start(connection, streaming=True).reply
    connection.abort()
    await until(lambda: not desk.listener.connections)
    assert desk.listener.segments._size == 0
    assert desk.listener.segments._free == []
    other = await wire.connect(desk)
    again = await start(other, streaming=True).reply
    assert join(reply.payload) == join(again.payload) == MESSAGE
    del reply, again
    await until(lambda: not lent(desk))


@on_both_loops
async def test_memory_that_cannot_be_mapped(wire, monkeypatch):
    """The call fails as one whose connection was lost, other calls go on."""
    desk = await wire.listen(long_reply)
    connection = await wire.connect(desk)

    def full(*args):
        raise OSError("too many open files")

    monkeypatch.setattr(shared, "Mapping", full)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionLost, match="too many open files"):
            await start(connection, streaming=True).reply
    assert await ask(connection) == b"pong"
    await until(lambda: not lent(desk))


@on_both_loops
async def test_a_caller_that_cannot_map(wire, monkeypatch):
    """In another container, say: its replies take the socket."""
    monkeypatch.setattr("alacarte._wire.caller.process_of", lambda transport: 0)
    connection = await wire.connect(await wire.listen(long_reply))
    reply = await start(connection, streaming=True).reply
    assert isinstance(reply.payload[0], bytearray)
    assert join(reply.payload) == MESSAGE
