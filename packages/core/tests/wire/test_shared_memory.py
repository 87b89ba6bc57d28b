"""Long replies in shared memory: writing, reading, release and reuse."""

import asyncio
import contextlib
import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from alacarte._wire import shared_memory
from alacarte._wire.frames import FrameError, Kind
from alacarte._wire.shared_memory import (
    MAX_SHARED_BYTES,
    SHARED_BYTES,
    MappedSegment,
    Segment,
    SegmentMappings,
    SegmentPool,
    read_inode,
    read_reference,
    write_inode,
)
from alacarte.types import Reply

from .other_process import long_reply as call_other_process
from .other_process import serve
from .support import (
    PATIENCE_S,
    ask,
    frame,
    join,
    on_both_loops,
    on_every_wire,
    start,
    until,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create")
SIZE = 1_000_000
HEAD = b"head" * 25
BODY = bytes(range(256)) * (SIZE // 256)
MESSAGE = HEAD + BODY


# --- segments ---------------------------------------------------------------------------


class Reader:
    """The mappings of a connection to this process's own segments."""

    def __init__(self):
        self.released = []
        self.mappings = SegmentMappings(os.getpid(), self.released.append)

    def read(self, reference, max_size=1 << 30):
        return self.mappings.read(reference, max_size)


async def test_a_message_is_read_in_place():
    """A mapped message is the joined pieces, and read-only."""
    segment = SegmentPool().take(SIZE)
    numbers = memoryview(bytes(8)).cast("d")
    view = Reader().read(segment.write((b"ab", memoryview(b"cd"), numbers), 12))
    assert view == b"abcd" + bytes(8)
    assert view.readonly


async def test_a_segment_is_released_with_its_last_view():
    """Not before: slices of slices of a message refer to the segment as well."""
    reader = Reader()
    segment = SegmentPool().take(SIZE)
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
    segment = SegmentPool().take(SIZE)
    for mark in (b"a", b"b"):
        assert reader.read(segment.write((mark * SIZE,), SIZE)) == mark * SIZE
    await until(lambda: len(reader.released) == 2)
    assert len(reader.mappings._mappings) == 1


async def test_segments_are_used_again():
    """For messages that fill a fair part of them."""
    segments = SegmentPool()
    first = segments.take(4 * SHARED_BYTES)
    segments.release(first)
    assert segments.take(SHARED_BYTES) is not first
    assert segments.take(4 * SHARED_BYTES + 1) is not first
    assert segments.take(2 * SHARED_BYTES) is first


async def test_the_segment_used_last_is_used_first():
    """The memory of the last used segment is in the CPU's cache; another unused one is freed."""
    segments = SegmentPool()
    first, second = segments.take(SIZE), segments.take(SIZE)
    segments.release(first)
    segments.release(second)
    for _ in range(3):
        assert segments.take(SIZE) is second
        segments.release(second)


async def test_segments_are_bounded():
    """Unused segments are freed for a new one at the limit; used ones are not."""
    segments = SegmentPool(limit=10 * SHARED_BYTES)
    first = segments.take(8 * SHARED_BYTES)
    assert segments.take(3 * SHARED_BYTES) is None
    segments.release(first)
    assert segments.take(10 * SHARED_BYTES) is not None
    assert segments.take(1) is None
    segments.close()


async def test_unused_segments_are_freed():
    """A segment is freed at the second review that finds it unused."""
    segments = SegmentPool()
    segment = segments.take(SIZE)
    inode = segment.inode
    segments.release(segment)
    segments.review()
    assert segments.take(SIZE).inode == inode
    segments.release(segment)
    segments.review()
    segments.review()
    assert segments._size == 0
    assert segments._review is None


async def test_unused_mappings_are_unmapped():
    """A mapping goes at the second review; a message read from it stays readable."""
    reader = Reader()
    segment = SegmentPool().take(SIZE)
    view = reader.read(segment.write((MESSAGE,), len(MESSAGE)))
    reader.mappings.review()
    reader.mappings.review()
    assert not reader.mappings._mappings
    assert view == MESSAGE


async def test_memory_outlives_its_writer():
    """A mapped segment stays readable after its replica has closed it."""
    segment = Segment(SIZE)
    view = Reader().read(segment.write((MESSAGE[:SIZE],), SIZE))
    segment.close()
    assert view == MESSAGE[:SIZE]


def test_a_system_without_room(monkeypatch):
    """Where no segment can be made, there is none."""

    def full(*args):
        raise OSError("no memory")

    monkeypatch.setattr(os, "memfd_create", full)
    segments = SegmentPool()
    assert segments.take(SIZE) is None
    assert segments._size == 0


async def test_a_descriptor_of_another_file():
    """A descriptor that is another file by now is not read."""
    segment = Segment(SIZE)
    _, inode, _ = read_reference(segment.write((b"x",), 1))
    with tempfile.TemporaryFile() as other, pytest.raises(OSError, match="another file"):
        MappedSegment(os.getpid(), other.fileno(), inode)


async def test_other_files_are_not_opened(tmp_path, monkeypatch):
    """A pipe or empty file with the right number is not opened: opening may act or block."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    monkeypatch.setattr(os, "O_NONBLOCK", os.O_NONBLOCK | os.O_DIRECTORY)  # to open would fail
    for name, reason in (("pipe", "another file"), ("empty", "has 0 bytes")):
        fd = os.open(tmp_path / name, os.O_RDWR)
        try:
            with pytest.raises(OSError, match=reason):
                MappedSegment(os.getpid(), fd, os.fstat(fd).st_ino)
        finally:
            os.close(fd)


@pytest.mark.parametrize("size", [0, MAX_SHARED_BYTES + 1, 1 << 46])
async def test_segments_of_other_sizes(size):
    """An empty segment, or one longer than a shared reply may be, is not mapped."""
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        with pytest.raises(OSError, match=f"has {size} bytes"):
            MappedSegment(os.getpid(), fd, os.fstat(fd).st_ino)
    finally:
        os.close(fd)


async def test_segments_are_few():
    """Each takes descriptors."""
    segments = SegmentPool(max_segments=2)
    first, second = segments.take(SIZE), segments.take(SIZE)
    assert segments.take(SIZE) is None
    segments.release(first)
    assert segments.take(8 * SIZE) is not None  # the free one has given way
    segments.drop(second)
    assert segments.take(SIZE) is not None
    segments.close()


async def test_mappings_of_a_process_are_few(monkeypatch):
    """Referenced mappings of all connections of a process count towards its limit."""
    monkeypatch.setattr(shared_memory, "MAX_MAPPINGS", len(shared_memory._mapped) + 1)
    segments = SegmentPool()
    first, second = (
        segment.write((MESSAGE,), len(MESSAGE))
        for segment in (segments.take(len(MESSAGE)), segments.take(len(MESSAGE)))
    )
    reader, other = Reader(), Reader()
    view = reader.read(first)
    reader.mappings.close()
    with pytest.raises(OSError, match="are mapped"):
        other.read(second)
    del view
    assert other.read(second) == MESSAGE


async def test_a_mapping_sees_what_is_written_later():
    """A write into a mapping, against the rules, changes no other process's memory."""
    segment = Segment(SIZE)
    reader = Reader()
    view = reader.read(segment.write((b"a" * SIZE,), SIZE))
    for mark in (b"b", b"c"):
        segment.write((mark * SIZE,), SIZE)
        assert view == mark * SIZE
    memoryview(view.obj).cast("B")[0] = 0
    assert segment.read(1) == b"c"


async def test_a_segment_that_may_shrink():
    """Is not mapped: reading behind its end would kill the process."""
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, 4096)
        with pytest.raises(OSError, match="not sealed"):
            MappedSegment(os.getpid(), fd, os.fstat(fd).st_ino)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        MappedSegment(os.getpid(), fd, os.fstat(fd).st_ino)
    finally:
        os.close(fd)


async def test_references_that_are_none():
    """Sizes beyond the limit, or beyond the segment, and bytes that are no reference."""
    reader = Reader()
    segment = SegmentPool().take(SIZE)
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


async def sharing(wire, desk):
    """Return a connection whose caller has proved that it maps segments."""
    connection = await wire.connect(desk)
    await until(lambda: any(each._caller_maps for each in desk.listener.connections))
    return connection


def lent(desk):
    return [lease for each in desk.listener.connections for lease in each._leases]


@on_every_wire
async def test_a_long_reply(wire):
    """A long reply is the same over every socket, and on Unix sockets in shared memory."""
    desk = await wire.listen(long_reply)
    shares = str(wire).endswith("unix")
    connection = await (sharing(wire, desk) if shares else wire.connect(desk))
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
    """Short replies, and replies whose copy would block the loop, take the socket."""

    async def service(call):
        return Reply((bytes(size),))

    connection = await sharing(wire, await wire.listen(service))
    reply = await start(connection, streaming=True).reply
    assert isinstance(reply.payload[0], bytearray)
    assert reply.payload[0] == bytes(size)


@on_both_loops
async def test_a_caller_of_one_message_takes_the_socket(wire):
    """The user's arrays lie in memory of their own, which may be written to."""

    async def service(call):
        return Reply((BODY,))

    connection = await sharing(wire, await wire.listen(service))
    assert isinstance((await start(connection).reply).payload[0], bytearray)


@on_both_loops
async def test_many_replies_at_a_time(wire):
    """Beyond the limit on shared memory, replies take the socket; none is mixed with another."""

    async def service(call):
        return Reply((bytes(call.payload[0]) * SIZE,))

    desk = await wire.listen(service)
    desk.listener.segments = SegmentPool(limit=3 << 20)
    connection = await sharing(wire, desk)
    marks = [b"%d" % number for number in range(10)]
    replies = await asyncio.gather(*(start(connection, m, streaming=True).reply for m in marks))
    kinds = [type(reply.payload[0]) for reply in replies]
    assert (kinds.count(memoryview), kinds.count(bytearray)) == (3, 7)
    for mark, reply in zip(marks, replies, strict=True):
        assert reply.payload[0] == mark * SIZE
    del replies, reply
    await until(lambda: not lent(desk))


@on_both_loops
async def test_the_reply_of_an_abandoned_call_is_released(wire):
    """The segment is released, whether the caller cancels in this iteration or before."""
    desk = await wire.listen(long_reply)
    connection = await sharing(wire, desk)
    start(connection, streaming=True).reply.cancel()
    await until(lambda: desk.listener.segments._size)
    start(connection, streaming=True).cancel()
    await until(lambda: not lent(desk))
    assert await ask(connection) == b"pong"


@on_both_loops
async def test_the_end_of_a_call_follows_its_reply(wire):
    """The callback of a call's end finds the reply, or the cancellation."""
    desk = await wire.listen(long_reply)
    connection = await sharing(wire, desk)
    ends = []

    def done(stream):
        ends.append((stream.has_reply, type(stream.error)))

    await start(connection, streaming=True, done=done).reply
    start(connection, streaming=True, done=done).reply.cancel()
    await until(lambda: len(ends) == 2)
    assert ends == [(True, type(None)), (False, asyncio.CancelledError)]
    await until(lambda: not lent(desk))


@on_both_loops
async def test_memory_of_a_lost_connection_is_not_used_again(wire):
    """The segment is not reused, since its caller may read it and cannot release it."""
    desk = await wire.listen(long_reply)
    connection = await sharing(wire, desk)
    reply = await start(connection, streaming=True).reply
    connection.abort()
    await until(lambda: not desk.listener.connections)
    assert desk.listener.segments._size == 0
    assert desk.listener.segments._free == []
    other = await sharing(wire, desk)
    again = await start(other, streaming=True).reply
    assert join(reply.payload) == join(again.payload) == MESSAGE
    del reply, again
    await until(lambda: not lent(desk))


@on_both_loops
async def test_memory_that_cannot_be_mapped_once(wire, monkeypatch):
    """Replies that cannot be mapped come over the socket, and so do the next ones."""

    async def service(call):
        await gate.wait()
        return Reply((bytes(call.payload[0]) * SIZE,))

    gate = asyncio.Event()
    desk = await wire.listen(service)
    connection = await sharing(wire, desk)
    marks = [b"a", b"b", b"c"]
    calls = [start(connection, mark, streaming=True) for mark in marks]
    given_up = start(connection, b"d", streaming=True)
    await until(lambda: desk.ongoing == 4)
    with monkeypatch.context() as broken:
        broken.setattr(shared_memory, "MappedSegment", out_of_descriptors)
        gate.set()
        replies = await asyncio.gather(*(call.reply for call in calls))
    given_up.cancel()
    for mark, reply in zip(marks, replies, strict=True):
        assert isinstance(reply.payload[0], bytearray)
        assert reply.payload[0] == mark * SIZE
    await until(lambda: not lent(desk))
    reply = await start(connection, b"e", streaming=True).reply
    assert isinstance(reply.payload[0], bytearray)
    assert connection._mapping_retry is not None


@on_both_loops
async def test_a_caller_that_can_map_again(wire, monkeypatch):
    """The caller offers to map later, and proves it again."""
    monkeypatch.setattr("alacarte._wire.caller_connection.RETRY_S", 0.0)
    desk = await wire.listen(long_reply)
    connection = await sharing(wire, desk)
    with monkeypatch.context() as broken:
        broken.setattr(shared_memory, "MappedSegment", out_of_descriptors)
        reply = await start(connection, streaming=True).reply
        assert join(reply.payload) == MESSAGE
        assert isinstance(reply.payload[0], bytearray)
        broken.undo()
        await until(lambda: all(each._caller_maps for each in desk.listener.connections))
    reply = await start(connection, streaming=True).reply
    assert isinstance(reply.payload[0], memoryview)
    del reply
    await until(lambda: not lent(desk))


def out_of_descriptors(*args):
    raise OSError("too many open files")


@on_both_loops
@pytest.mark.parametrize("error", [OSError("no such process"), ValueError("an empty file")])
async def test_a_caller_that_cannot_map(wire, monkeypatch, error):
    """The replies of a caller in another container take the socket for good."""

    def broken(*args):
        raise error

    monkeypatch.setattr(shared_memory, "MappedSegment", broken)
    desk = await wire.listen(long_reply)
    connection = await wire.connect(desk)
    for _ in range(2):
        reply = await start(connection, streaming=True).reply
        assert isinstance(reply.payload[0], bytearray)
        assert join(reply.payload) == MESSAGE
    assert not any(each._caller_maps for each in desk.listener.connections)
    assert connection._mapping_retry is None


@on_both_loops
async def test_a_caller_that_maps_another_process(wire):
    """The bytes it read are not those of the probe, so no memory is shared."""
    desk = await wire.listen(long_reply)
    peer = await (await wire.raw(desk)).prove()
    peer.send(frame(Kind.MAPS))
    fd, inode, size = read_reference((await peer.receive()).payload)
    assert (
        bytes(MappedSegment(os.getpid(), fd, inode).view(size, int))
        == desk.listener.segments._nonce
    )
    peer.send(frame(Kind.PROBE, payload=bytes(size)), frame(Kind.PING))
    assert (await peer.receive()).kind == Kind.PONG
    assert not any(each._caller_maps for each in desk.listener.connections)


@on_both_loops
async def test_a_replica_that_shares_before_the_proof(wire):
    """The connection is closed, as after a probe without an offer."""

    async def replica(peer):
        await peer.answer()
        assert (await peer.receive()).kind == Kind.MAPS
        peer.send(frame(Kind.PROBE, payload=bytes(20)))
        answer = await peer.receive()
        assert (answer.kind, bytes(answer.payload)) == (Kind.PROBE, b"")
        peer.send(frame(Kind.PROBE, payload=bytes(20)))
        await peer.closed()

    connection = await wire.connect(await wire.impersonate(replica))
    await until(lambda: connection.transport is None)


@on_both_loops
async def test_a_replica_that_hangs_up(wire, monkeypatch):
    """A closing replica lingers, so that its caller can map the last replies."""
    desk = await wire.listen(long_reply)
    connection = await sharing(wire, desk)
    reply = await start(connection, streaming=True).reply
    desk.listener.close()
    assert await ask(connection) == b"pong"
    del reply
    await until(lambda: connection.transport is None)
    assert not desk.listener.connections


@on_both_loops
async def test_a_replica_does_not_wait_long(wire, monkeypatch):
    """A caller that holds a reply keeps it after the linger time."""
    monkeypatch.setattr("alacarte._wire.replica_connection.LINGER_S", 0.0)
    desk = await wire.listen(long_reply)
    connection = await sharing(wire, desk)
    reply = await start(connection, streaming=True).reply
    desk.listener.close()
    await until(lambda: connection.transport is None)
    assert join(reply.payload) == MESSAGE


# --- processes ----------------------------------------------------------------------------


def segments_open():
    """Return how many descriptors and mappings of segments this process has."""
    gc.collect()
    files = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            files += "memfd:alacarte" in os.readlink(f"/proc/self/fd/{name}")
    return files, Path("/proc/self/maps").read_text().count("memfd:alacarte")


def other_process(role, path, *before):
    """Start a replica, a caller or both in another process; return it and its first line."""
    command = [*before, sys.executable, "-m", "wire.other_process", role, path]
    folder = Path(__file__).parents[1]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def kill(process):
    process.kill()
    process.communicate()


async def test_a_caller_that_is_killed(tmp_path):
    """The descriptors, mappings and segments shared with the caller are freed."""
    before = segments_open()
    desk = await serve(str(tmp_path / "s"))
    caller, kind = await asyncio.to_thread(other_process, "caller", str(tmp_path / "s"))
    try:
        assert kind == "memoryview"
        assert len(lent(desk)) == 1
    finally:
        await asyncio.to_thread(kill, caller)
    await until(lambda: not desk.listener.connections)
    assert desk.listener.segments._size == desk.listener.segments._count == 0
    desk.listener.close()
    assert segments_open() == before


async def test_a_replica_that_is_killed(tmp_path):
    """The caller can read a reply of a dead replica, and frees it afterwards."""
    before = segments_open()
    replica, said = await asyncio.to_thread(other_process, "replica", str(tmp_path / "s"))
    try:
        assert said == "listening"
        connection, reply = await call_other_process(str(tmp_path / "s"), 1000)
    finally:
        await asyncio.to_thread(kill, replica)
    await until(lambda: connection.transport is None)
    assert isinstance(reply.payload[0], memoryview)
    assert reply.payload[0] == b"x" * len(reply.payload[0])
    del reply
    await asyncio.sleep(0)
    assert segments_open() == before


def test_other_process_ids_than_proc_shows(tmp_path):
    """A PID namespace of its own with an inherited `/proc`, as in some sandboxes, works."""
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("no namespace of process ids can be made here")
    process, kind = other_process("both", str(tmp_path / "s"), *unshare)
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    assert kind == "bytearray"
