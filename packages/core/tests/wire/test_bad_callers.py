"""Authenticated callers that are malicious or broken: closed, logged once, no others affected."""

import asyncio
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alacarte._wire import connection as connection_module
from alacarte._wire.authentication import (
    CallerHandshake,
)
from alacarte._wire.frames import (
    CHUNK_BYTES,
    FINAL,
    HEADER,
    LONG,
    STREAMING,
    Kind,
    long_header,
)
from alacarte.types import Reply

from .adversaries import Bystander, request
from .support import (
    MAX_MESSAGE,
    REPLICA_ID,
    SECRET,
    Wire,
    ask,
    echo,
    frame,
    on_both_loops,
    on_every_wire,
    until,
    warnings_of,
)

MALFORMED = {
    "unknown kind": frame(99, 0, 1),
    "unknown flags": frame(Kind.DATA, 0x40, 1),
    "oversized": HEADER.pack(CHUNK_BYTES + 1, Kind.REQUEST, 0, 0, 5),
    "announced too long": long_header(Kind.REQUEST, 0, 0, 5, MAX_MESSAGE + 1),
    "announced together": long_header(Kind.REQUEST, 0, 0, 5, MAX_MESSAGE)
    + long_header(Kind.REQUEST, 0, 0, 7, 1),
    "announced nothing": long_header(Kind.REQUEST, 0, 0, 5, 0),
    "announced within": long_header(Kind.REQUEST, 0, 0, 5, 9) * 2,
    "announced in three bytes": frame(Kind.REQUEST, LONG, 5, b"abc"),
    "more than announced": long_header(Kind.REQUEST, 0, 0, 5, 9)
    + frame(Kind.CHUNK, 0, 5, bytes(10)),
    "no stream": request(stream=0),
    "stream in use": request(method="wait", stream=5) * 2,
    "no envelope": frame(Kind.REQUEST, FINAL, 5),
    "short envelope": frame(
        Kind.REQUEST, FINAL, 5, bytes(4) + b"\xff\xff" + b"a\0b\0c\0d\0e\0f\0g\0"
    ),
    "no text": frame(Kind.REQUEST, FINAL, 5, bytes(4) + b"\x04\0\xff\xfe\xff\xfe"),
    "long without envelope": long_header(Kind.REQUEST, FINAL, 0, 5, 3)
    + frame(Kind.CHUNK, 0, 5, b"abc"),
    "data without a body": request(method="wait", stream=5) + frame(Kind.DATA, 0, 5, b"x"),
    "end without a body": request(method="wait", stream=5) + frame(Kind.END, FINAL, 5),
    "response": request(method="wait", stream=5) + frame(Kind.RESPONSE, FINAL, 5, b"x"),
    "hello again": frame(Kind.HELLO, payload=CallerHandshake(SECRET, REPLICA_ID).hello()),
    "proof again": frame(Kind.PROOF, payload=bytes(32)),
    "load": frame(Kind.LOAD),
    "advertisement": frame(Kind.ADVERTISE, payload=b"{}"),
    "release of nothing": frame(Kind.RELEASE, payload=bytes(8)),
    "no release": frame(Kind.RELEASE, payload=b"x"),
    "copy of nothing": frame(Kind.COPY, payload=bytes(8)),
    "no copy": frame(Kind.COPY, payload=b"x"),
    "shared": frame(Kind.SHARED, FINAL, 1, bytes(20)),
    "data without a stream": frame(Kind.DATA, 0, 0, b"x"),
    "random": bytes(range(100, 256)),
}


@pytest.mark.parametrize("name", MALFORMED)
@on_both_loops
async def test_malformed_frames(wire, name, caplog):
    """A peer that breaks the rules is closed, once, with all its work; others go on."""
    bystander = Bystander()
    desk = await bystander.arrive(wire)
    peer = await (await wire.raw(desk)).prove()
    peer.send(request(method="wait", stream=1), request(method="wait", stream=3))
    await until(lambda: desk.ongoing == 3)
    peer.send(MALFORMED[name], frame(Kind.PING))
    await peer.closed()
    await bystander.unharmed()
    assert desk.cancelled in (2, 3)
    assert len(desk.hung) == 1
    (line,) = warnings_of(caplog)
    assert line.startswith("closed a connection (")


@pytest.mark.parametrize("size", [0, 3, 5])
@on_both_loops
async def test_a_credit_that_is_none(wire, size, caplog):
    """A credit of the wrong size for a stream that sends closes the connection."""
    bystander = Bystander()
    desk = await bystander.arrive(wire)
    peer = await (await wire.raw(desk)).prove()
    peer.send(request(method="stream", flags=FINAL | STREAMING))
    assert (await peer.receive()).kind == Kind.RESPONSE
    peer.send(frame(Kind.CREDIT, 0, 1, bytes(size)))
    await peer.closed()
    await bystander.unharmed()
    (line,) = warnings_of(caplog)
    assert f"a credit in {size} bytes" in line


@on_both_loops
async def test_frames_of_unknown_streams(wire, caplog):
    """Frames of streams that are over are no offence: they crossed with the end."""
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    for kind in (Kind.CANCEL, Kind.CREDIT, Kind.DATA, Kind.END):
        peer.send(frame(kind, FINAL, 9, b"x"))
    peer.send(frame(Kind.CHUNK, 0, 9, bytes(100)), frame(Kind.PONG), request(payload=b"hello"))
    assert (await peer.receive()).payload == b"hello"
    assert warnings_of(caplog) == []


@on_every_wire
async def test_a_peer_that_vanishes(wire, caplog):
    """A connection that ends within a frame cancels its work, and is nothing to warn of."""
    bystander = Bystander()
    desk = await bystander.arrive(wire)
    peer = await (await wire.raw(desk)).prove()
    peer.send(request(method="body", flags=0), long_header(Kind.REQUEST, 0, 0, 3, 1 << 20)[:15])
    await until(lambda: desk.ongoing == 2)
    peer.writer.close()
    await bystander.unharmed()
    with pytest.raises(asyncio.CancelledError):
        await anext(bystander.bodies[0])
    assert warnings_of(caplog) == []


@on_both_loops
async def test_a_peer_that_reads_nothing(wire):
    """A peer that reads none of its stream stops the producer, and is dropped at close."""
    produced = 0

    async def items():
        nonlocal produced
        while True:
            produced += 1
            yield (bytes(1 << 16),)

    async def service(call):
        return Reply((b"",), items()) if call.streaming else Reply(call.payload)

    desk = await wire.listen(service)
    peer = await (await wire.raw(desk)).prove()
    peer.send(request(flags=FINAL | STREAMING))
    await until(lambda: produced >= 16)
    other = await wire.connect(desk)
    for _ in range(5):
        await ask(other, b"x")
    assert produced <= 17
    peer.writer.transport.abort()
    await until(lambda: not desk.ongoing)


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.PING])
@on_both_loops
async def test_a_peer_that_sends_and_reads_nothing(wire, kind, monkeypatch):
    """A peer that sends requests and reads no reply is not read, so the unsent data is bounded.

    Others are served meanwhile. Once it reads, it gets every answer.
    """
    monkeypatch.setattr(connection_module, "_HIGH_WATER_BYTES", 1 << 16)
    monkeypatch.setattr(connection_module, "_SOCKET_BYTES", 1 << 16)
    number, size = (100, 32_000) if kind == Kind.REQUEST else (200_000, 0)
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    await until(lambda: desk.listener.connections)
    (connection,) = desk.listener.connections
    peer.writer.transport.pause_reading()
    if kind == Kind.REQUEST:
        for stream in range(1, number + 1):
            peer.send(request(stream=stream, payload=bytes(size)))
    else:
        peer.send(frame(kind) * number)
    other = await wire.connect(desk)
    await until(lambda: connection._writable is not None)
    for _ in range(20):
        assert await ask(other, b"x") == b"x"
    assert connection.transport.get_write_buffer_size() < 1 << 20
    assert desk.started < number
    peer.writer.transport.resume_reading()
    answers = [await peer.receive() for _ in range(number)]
    assert {(answer.kind, len(answer.payload)) for answer in answers} == {
        (Kind.RESPONSE if kind == Kind.REQUEST else Kind.PONG, size)
    }
    assert len({answer.stream for answer in answers}) == (number if kind == Kind.REQUEST else 1)


@on_both_loops
async def test_a_peer_that_vanishes_and_reads_nothing(wire, monkeypatch):
    """The end of a connection is noticed even while nothing is read from it."""
    monkeypatch.setattr(connection_module, "_HIGH_WATER_BYTES", 1 << 16)
    monkeypatch.setattr(connection_module, "_SOCKET_BYTES", 1 << 16)
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    await until(lambda: desk.listener.connections)
    (connection,) = desk.listener.connections
    peer.writer.transport.pause_reading()
    for stream in range(1, 101):
        peer.send(request(stream=stream, payload=bytes(32_000)))
    await until(lambda: connection._writable is not None)
    peer.writer.transport.abort()
    await until(lambda: desk.hung == [connection])


headers = st.builds(
    lambda size, kind, flags, stream: HEADER.pack(size, kind, flags, 0, stream),
    st.one_of(st.integers(0, 300), st.integers(0, 0xFFFFFFFF)),
    st.integers(0, 20),
    st.integers(0, 8),
    st.integers(0, 3),
)
kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.PING])
sensible = st.one_of(
    st.builds(
        lambda method, stream, flags, tail: request(method, stream, flags, tail),
        st.sampled_from(["__call__", "wait", "body", "stream"]),
        st.integers(0, 3),
        st.sampled_from([0, FINAL, STREAMING, FINAL | STREAMING]),
        st.binary(max_size=50),
    ),
    st.builds(frame, kinds, st.integers(0, 7), st.integers(0, 3), st.binary(max_size=80)),
    st.builds(
        lambda stream, size: long_header(Kind.REQUEST, FINAL, 0, stream, size),
        st.integers(0, 3),
        st.integers(0, 300),
    ),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(sensible, sensible, headers, st.binary(max_size=40)), max_size=12))
def test_any_bytes_of_an_authenticated_peer(caplog, pieces):
    """Any frames and bytes are answered, or close the connection with one line; nothing is left."""
    wire = Wire("uvloop", "unix")
    caplog.clear()

    async def test():
        bystander = Bystander()
        desk = await bystander.arrive(wire)
        peer = await (await wire.raw(desk)).prove()
        peer.send(*pieces)
        peer.writer.write_eof()
        await until(lambda: desk.hung)
        await bystander.unharmed()

    wire.run(test)
    assert len(warnings_of(caplog)) <= 1
    assert not [
        r for r in caplog.records if r.levelno >= logging.WARNING and r.name != "alacarte.wire"
    ]
