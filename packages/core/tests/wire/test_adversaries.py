"""Malicious or broken peers: each is closed and logged once, and disturbs no other connection."""

import asyncio
import logging
import pickle
import re
import sys
from struct import Struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alacarte._wire import caller_connection as caller_module
from alacarte._wire import connection as connection_module
from alacarte._wire import listener as listener_module
from alacarte._wire import replica_connection as replica_module
from alacarte._wire.authentication import (
    AuthenticationError,
    CallerHandshake,
    ReplicaHandshake,
    welcome,
)
from alacarte._wire.caller_connection import ConnectionLost
from alacarte._wire.envelope import pack_envelope
from alacarte._wire.frames import (
    CHUNK_BYTES,
    FINAL,
    HEADER,
    LONG,
    STREAMING,
    Kind,
    long_header,
)
from alacarte._wire.pending import MAX_PENDING, MAX_PENDING_PER_ADDRESS
from alacarte.types import Address, Call, Reply

from .support import (
    MAX_MESSAGE,
    PATIENCE_S,
    REPLICA_ID,
    SECRET,
    Wire,
    ask,
    echo,
    frame,
    join,
    on_both_loops,
    on_every_wire,
    start,
    until,
    warnings_of,
)

OTHER = b"o" * 32
REFERENCE = Struct("<IQQ")
ENVELOPE = pack_envelope(Call("test", (b"",)))

unpickled: list[str] = []
"""What was looked up for unpickling while somebody listened."""
listening = False


def _hear(event, arguments):
    if listening and event == "pickle.find_class":
        unpickled.append(f"{arguments[0]}.{arguments[1]}")


sys.addaudithook(_hear)


@pytest.fixture
def no_pickle():
    """Nothing may be unpickled during the test."""
    global listening
    unpickled.clear()
    listening = True
    yield
    listening = False
    assert unpickled == []


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


@pytest.fixture
def bomb(tmp_path):
    canary = tmp_path / "canary"
    yield pickle.dumps(Bomb(canary))
    assert not canary.exists()


class Bystander:
    """Another caller, with a call in flight before, during and after the attack."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.bodies = []

    async def service(self, call):
        if call.method == "wait":
            await self.gate.wait()
        elif call.method == "stream":
            return Reply((b"head",), self.endless())
        elif call.method == "body":
            self.bodies.append(call.body)
            await asyncio.Event().wait()
        return Reply(call.payload)

    async def endless(self):
        while True:
            yield (bytes(1000),)

    async def arrive(self, wire, **options):
        self.desk = await wire.listen(self.service, **options)
        self.connection = await wire.connect(self.desk)
        self.stream = start(self.connection, b"still here", method="wait")
        await until(lambda: self.desk.ongoing == 1)
        return self.desk

    async def unharmed(self):
        """The bystander's call succeeds, and nothing of the attacker is left."""
        await until(lambda: self.desk.ongoing == 1)
        await until(lambda: len(self.desk.listener.connections) == 1)
        assert not self.desk.listener.pending
        self.gate.set()
        assert join((await self.stream.reply).payload) == b"still here"
        assert await ask(self.connection, b"again") == b"again"


def request(method="__call__", stream=1, flags=FINAL, payload=b""):
    return frame(
        Kind.REQUEST, flags, stream, pack_envelope(Call("test", (b"",), method=method)) + payload
    )


# --- before authentication --------------------------------------------------------------

STRANGERS = {
    "garbage": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "bytes; 4096 are allowed"),
    "zeros": (bytes(64), "unknown kind 0"),
    "oversized": (HEADER.pack(4097, Kind.HELLO, 0, 0, 0), "a frame of 4097 bytes; 4096"),
    "gigabytes": (HEADER.pack(0xFFFFFFFF, Kind.HELLO, 0, 0, 0), "4096 are allowed"),
    "announced": (long_header(Kind.REQUEST, 0, 0, 1, 1 << 30), "0 are left|of 0"),
    "one byte announced": (long_header(Kind.REQUEST, 0, 0, 1, 1), "a message of 1 bytes"),
    "chunk": (frame(Kind.CHUNK, 0, 1, bytes(100)), "a chunk where no long message"),
    "request": (request(), "a frame of kind 5 before authentication"),
    "ping": (frame(Kind.PING), "a frame of kind 16 before authentication"),
    "welcome": (frame(Kind.WELCOME, payload=b"{}"), "before authentication"),
    "proof first": (frame(Kind.PROOF, payload=bytes(32)), "does not know our secret"),
    "no magic": (frame(Kind.HELLO, payload=bytes(60)), "does not speak alacarte's protocol"),
    "short hello": (frame(Kind.HELLO, payload=b"alacarte\1\0"), "does not speak"),
    "other version": (
        frame(Kind.HELLO, payload=b"alacarte\x63\0" + bytes(32) + REPLICA_ID.encode()),
        "speaks version 99 of the protocol, this process 1",
    ),
    "other replica": (
        frame(Kind.HELLO, payload=CallerHandshake(SECRET, "replica-2").hello()),
        "asks for another replica",
    ),
    "two hellos": (
        frame(Kind.HELLO, payload=CallerHandshake(SECRET, REPLICA_ID).hello()) * 2,
        "second hello",
    ),
}


@pytest.mark.parametrize("name", STRANGERS)
@on_every_wire
async def test_a_stranger(wire, name, caplog, no_pickle):
    """Any first bytes of a stranger close the connection with one line and its reason."""
    data, reason = STRANGERS[name]
    bystander = Bystander()
    desk = await bystander.arrive(wire)
    peer = await wire.raw(desk)
    peer.send(data)
    await peer.closed()
    await bystander.unharmed()
    assert desk.started == 2
    (line,) = warnings_of(caplog)
    assert line.startswith("closed a connection (")
    assert re.search(reason, line)


@on_every_wire
async def test_a_wrong_secret(wire, caplog, bomb, no_pickle):
    """A wrong proof closes the connection; frames that came with the proof are not handled."""
    bystander = Bystander()
    desk = await bystander.arrive(wire)
    peer = await wire.raw(desk)
    handshake = CallerHandshake(OTHER, REPLICA_ID)
    peer.send(frame(Kind.HELLO, payload=handshake.hello()))
    assert (await peer.receive()).kind == Kind.CHALLENGE
    peer.send(
        frame(Kind.PROOF, payload=bytes(32)),
        request(payload=bomb),
        frame(Kind.ERROR, FINAL, 1, bomb),
    )
    await peer.closed()
    await bystander.unharmed()
    assert desk.started == 2
    (line,) = warnings_of(caplog)
    assert line.endswith("the caller does not know our secret")


@on_both_loops
async def test_a_right_proof_after_a_wrong_one(wire, caplog):
    """Guessing ends with the first guess, also where the next is right."""
    desk = await wire.listen(echo)
    peer = await wire.raw(desk)
    handshake = CallerHandshake(SECRET, REPLICA_ID)
    peer.send(frame(Kind.HELLO, payload=handshake.hello()))
    proof = handshake.prove((await peer.receive()).payload)
    peer.send(frame(Kind.PROOF, payload=bytes(32)), frame(Kind.PROOF, payload=proof), request())
    await peer.closed()
    await until(lambda: not desk.listener.pending)
    assert not desk.listener.connections
    assert not desk.started
    assert len(warnings_of(caplog)) == 1


@on_both_loops
async def test_a_recorded_conversation(wire, caplog):
    """The recorded frames of an honest caller open no second connection."""
    desk = await wire.listen(echo)
    good = await wire.raw(desk)
    handshake = CallerHandshake(SECRET, REPLICA_ID)
    hello = frame(Kind.HELLO, payload=handshake.hello())
    good.send(hello)
    proof = frame(Kind.PROOF, payload=handshake.prove((await good.receive()).payload))
    good.send(proof)
    assert (await good.receive()).kind == Kind.WELCOME
    again = await wire.raw(desk)
    again.send(hello, proof, request())
    await again.closed()
    assert not desk.started
    assert len(warnings_of(caplog)) == 1


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.CHUNK])
@on_both_loops
async def test_pickles_before_authentication(wire, kind, bomb, no_pickle, caplog):
    """Nothing is unpickled for a stranger, in any kind of frame."""
    desk = await wire.listen(echo)
    for payload in (bomb, ENVELOPE + bomb, len(bomb).to_bytes(4, "little") + bomb):
        for first in (b"", frame(Kind.HELLO, payload=CallerHandshake(OTHER, REPLICA_ID).hello())):
            peer = await wire.raw(desk)
            peer.send(first, frame(kind, FINAL, 1, payload), frame(Kind.PING))
            await peer.closed()
    assert not desk.started
    await until(lambda: not desk.listener.pending)


@on_every_wire
async def test_a_silent_peer(wire, monkeypatch, caplog):
    """A peer that sends nothing, or only a HELLO, is closed after the handshake's timeout."""
    monkeypatch.setattr(replica_module, "HANDSHAKE_TIMEOUT_S", 0.05)
    bystander = Bystander()
    desk = await bystander.arrive(wire)
    silent, slow = await wire.raw(desk), await wire.raw(desk)
    slow.send(frame(Kind.HELLO, payload=CallerHandshake(SECRET, REPLICA_ID).hello()))
    dribbling = await wire.raw(desk)
    dribbling.send(b"\x20")
    for peer in (silent, slow, dribbling):
        await peer.closed()
    await bystander.unharmed()
    lines = warnings_of(caplog)
    assert len(lines) == 3
    assert all(line.endswith("the peer did not authenticate in time") for line in lines)


def test_the_bounds_are_those_we_promise():
    """4 KiB, two seconds; 128 silent peers of an address, 192 in all."""
    assert replica_module.MAX_HANDSHAKE_BYTES == caller_module.MAX_HANDSHAKE_BYTES == 4096
    assert replica_module.HANDSHAKE_TIMEOUT_S == caller_module.HANDSHAKE_TIMEOUT_S == 2.0
    assert MAX_PENDING_PER_ADDRESS == 128
    assert MAX_PENDING == 192


@on_every_wire
async def test_an_authenticated_peer_may_be_silent(wire, monkeypatch):
    """The time limit ends with the handshake."""
    monkeypatch.setattr(replica_module, "HANDSHAKE_TIMEOUT_S", 0.02)
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    silent = await wire.raw(desk)
    await silent.closed()  # it came later, and its time is up
    peer.send(request(payload=b"hello"))
    assert (await peer.receive()).payload == b"hello"


@on_every_wire
async def test_the_oldest_silent_peer_gives_way(wire, caplog):
    """One silent peer too many evicts the oldest only, and an honest peer gets in."""
    bystander = Bystander()
    desk = await bystander.arrive(wire)
    first = await wire.raw(desk)
    await until(lambda: len(desk.listener.pending) == 1)
    peers = [await wire.raw(desk) for _ in range(MAX_PENDING_PER_ADDRESS - 1)]
    await until(lambda: len(desk.listener.pending) == MAX_PENDING_PER_ADDRESS)
    late = await wire.connect(desk)
    assert await first.closed() == b""
    (line,) = warnings_of(caplog)
    assert line.endswith("evicted for a newer connection, because too many are authenticating")
    assert await ask(late, b"in") == b"in"
    assert len(desk.listener.pending) == MAX_PENDING_PER_ADDRESS - 1
    late.close()
    for peer in peers:
        peer.writer.close()
    await bystander.unharmed()


@pytest.mark.once
@on_both_loops
async def test_two_hundred_silent_strangers(wire):
    """Strangers that reconnect whenever they are closed keep no honest caller out.

    They come from the same address as the honest ones.
    """
    desk = await wire.listen(echo)
    here = Address("", "", await desk.listener.listen_tcp("127.0.0.1"))

    async def stranger():
        while True:
            peer = await wire.raw(here)
            await peer.reader.read(1)
            peer.writer.transport.abort()
            wire._peers.remove(peer)
            await asyncio.sleep(0.01)  # a round trip

    crowd = []
    for _ in range(200):
        crowd.append(asyncio.create_task(stranger()))
        await until(lambda: len(desk.listener.pending) >= min(len(crowd), MAX_PENDING_PER_ADDRESS))
    for number in range(100):
        connection = await wire.connect(here)
        assert await ask(connection, b"%d" % number) == b"%d" % number
        connection.close()
    for each in crowd:
        each.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    desk.listener.abort()


@on_both_loops
async def test_silent_peers_on_tcp_take_no_place_on_the_unix_socket(wire, caplog):
    """Each kind of socket has its own bound: a flood on one keeps no peer off the other."""
    desk = await wire.listen(echo)
    tcp = Address("", "", await desk.listener.listen_tcp("127.0.0.1"))
    local = [await wire.raw(desk) for _ in range(MAX_PENDING_PER_ADDRESS)]
    remote = [await wire.raw(tcp) for _ in range(MAX_PENDING_PER_ADDRESS)]
    await until(lambda: len(desk.listener.pending) == 2 * MAX_PENDING_PER_ADDRESS)
    assert warnings_of(caplog) == []
    for peer in local + remote:
        peer.writer.close()
    await until(lambda: not desk.listener.pending)


@on_both_loops
async def test_those_who_leave_are_not_pending(wire, caplog):
    """Hundreds that connect and go take up no place, and are nothing to speak of."""
    desk = await wire.listen(echo)
    for _ in range(200):
        peer = await wire.raw(desk)
        peer.writer.close()
    await until(lambda: not desk.listener.pending)
    assert await ask(await wire.connect(desk), b"x") == b"x"
    assert warnings_of(caplog) == []


@on_both_loops
async def test_another_users_process(wire, caplog, monkeypatch):
    """A peer on the Unix socket that runs as another user is sent away."""
    desk = await wire.listen(echo)
    user = listener_module.os.getuid()
    monkeypatch.setattr(listener_module.os, "getuid", lambda: user + 1)
    await (await wire.raw(desk)).closed()
    (line,) = warnings_of(caplog)
    assert line.endswith("the peer belongs to another user")


@on_both_loops
async def test_the_socket_is_private(wire):
    """Only its user may open a replica's Unix socket."""
    desk = await wire.listen(echo)
    path = desk.address.unix_path
    assert listener_module.os.stat(path).st_mode & 0o777 == 0o600
    desk.listener.close()
    assert not listener_module.os.path.exists(path)


# --- after authentication ---------------------------------------------------------------

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
async def test_frames_for_nobody(wire, caplog):
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
def test_whatever_an_authenticated_peer_sends(caplog, pieces):
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


# --- replicas that are none -------------------------------------------------------------


@on_every_wire
async def test_a_replica_that_skips_its_proof(wire, bomb, no_pickle, caplog):
    """A welcome without a challenge is no welcome: nothing is sent there, nothing unpickled."""
    heard = []

    async def impostor(peer):
        heard.append((await peer.receive()).kind)
        structure = b'{"type": "x", "message": "x", "traceback": "x"}'
        error = len(structure).to_bytes(4, "little") + structure + bomb
        peer.send(frame(Kind.WELCOME, payload=welcome({})), frame(Kind.ERROR, FINAL, 1, error))
        await peer.closed()

    with pytest.raises(AuthenticationError, match="replica-1 has not proved its identity"):
        await wire.connect(await wire.impersonate(impostor))
    assert heard == [Kind.HELLO]
    (line,) = warnings_of(caplog)
    assert line.endswith("replica replica-1 has not proved its identity")


@on_every_wire
async def test_a_replica_with_another_secret(wire, caplog, no_pickle):
    """A replica of another instance gets no proof and no call."""
    desk = await wire.listen(echo, secret=OTHER)
    with pytest.raises(AuthenticationError, match="does not know our secret"):
        await wire.connect(desk)
    await until(lambda: not desk.listener.pending)
    assert not desk.listener.connections
    assert len(warnings_of(caplog)) == 1


@on_both_loops
async def test_a_replica_that_reflects(wire, no_pickle, caplog):
    """A caller's own words, sent back, prove nothing."""

    async def mirror(peer):
        hello = await peer.receive()
        peer.send(frame(Kind.CHALLENGE, payload=bytes(hello.payload)[8:42] + bytes(32)))
        await peer.closed()

    with pytest.raises(AuthenticationError, match="does not know our secret"):
        await wire.connect(await wire.impersonate(mirror))


@pytest.mark.parametrize("late", [False, True])
@on_both_loops
async def test_pickles_of_an_impostor(wire, late, bomb, no_pickle, caplog):
    """No frame of an impostor is unpickled, before or after a wrong challenge."""

    async def impostor(peer):
        hello = await peer.receive()
        if late:
            challenge = ReplicaHandshake(OTHER, REPLICA_ID).challenge(hello.payload)
            peer.send(frame(Kind.CHALLENGE, payload=challenge))
        for kind in (Kind.ERROR, Kind.RESPONSE, Kind.DATA, Kind.WELCOME):
            peer.send(frame(kind, FINAL, 1, bomb))
        await peer.closed()

    with pytest.raises(AuthenticationError):
        await wire.connect(await wire.impersonate(impostor))


IMPOSTORS = {
    "garbage": b"SSH-2.0-OpenSSH_9.6\r\n",
    "oversized": HEADER.pack(4097, Kind.CHALLENGE, 0, 0, 0),
    "announced": long_header(Kind.RESPONSE, 0, 0, 1, 10),
    "chunk": frame(Kind.CHUNK, 0, 1, b"x"),
    "short challenge": frame(Kind.CHALLENGE, payload=b"x"),
    "other version": frame(Kind.CHALLENGE, payload=b"\x63\0" + bytes(64)),
    "ping": frame(Kind.PING),
    "nothing": b"",
}


@pytest.mark.parametrize("name", IMPOSTORS)
@on_both_loops
async def test_an_impostor(wire, name, caplog):
    """Something else that listens there is an error that `connect` documents."""

    async def impostor(peer):
        await peer.receive()
        peer.send(IMPOSTORS[name])
        if name == "nothing":
            peer.writer.close()
        await peer.closed()

    with pytest.raises((AuthenticationError, ConnectionLost)):
        await wire.connect(await wire.impersonate(impostor))
    assert len(warnings_of(caplog)) == (name != "nothing")


@on_both_loops
async def test_a_replica_that_is_silent(wire, monkeypatch):
    """A replica that does not answer is given up when the time is over."""
    monkeypatch.setattr(caller_module, "HANDSHAKE_TIMEOUT_S", 0.05)

    async def silent(peer):
        await peer.closed()

    with pytest.raises(ConnectionLost, match=r"no welcome within 0\.05 s"):
        await wire.connect(await wire.impersonate(silent))


@on_both_loops
async def test_a_welcome_that_cannot_be_read(wire, caplog):
    """A replica whose metadata are malformed is refused."""

    async def replica(peer):
        handshake = ReplicaHandshake(SECRET, REPLICA_ID)
        hello = await peer.receive()
        peer.send(frame(Kind.CHALLENGE, payload=handshake.challenge(hello.payload)))
        handshake.accept((await peer.receive()).payload)
        peer.send(frame(Kind.WELCOME, payload=b"[" * 3000))
        await peer.closed()

    with pytest.raises(AuthenticationError, match="cannot be read"):
        await wire.connect(await wire.impersonate(replica))


BROKEN = {
    "unknown kind": frame(77, 0, 1),
    "data first": frame(Kind.DATA, 0, 1, b"x"),
    "two responses": frame(Kind.RESPONSE, 0, 1, b"x") * 2,
    "request": frame(Kind.REQUEST, FINAL, 1, ENVELOPE),
    "cancel": frame(Kind.CANCEL, FINAL, 1),
    "no error": frame(Kind.ERROR, FINAL, 1),
    "error without structure": frame(Kind.ERROR, FINAL, 1, b"\x04\0\0\0null"),
    "error cut off": frame(Kind.ERROR, FINAL, 1, b"\xff\0\0\0{}"),
    "credit": frame(Kind.CREDIT, 0, 1, b"x"),
    "hello": frame(Kind.HELLO),
    "welcome again": frame(Kind.WELCOME, payload=b"{}"),
    "no advertisement": frame(Kind.ADVERTISE, payload=b"{"),
    "advertisement of numbers": frame(Kind.ADVERTISE, payload=b'{"models": [1]}'),
    "advertisement on a stream": frame(Kind.ADVERTISE, 0, 1, b"{}"),
    "announced too long": long_header(Kind.RESPONSE, 0, 0, 1, MAX_MESSAGE + 1),
    "no reference": frame(Kind.SHARED, FINAL, 1, b"x"),
    "shared nothing": frame(Kind.SHARED, FINAL, 1, REFERENCE.pack(0, 0, 0)),
    "shared too much": frame(Kind.SHARED, FINAL, 1, REFERENCE.pack(0, 0, MAX_MESSAGE + 1)),
    "release": frame(Kind.RELEASE, payload=bytes(8)),
    "no probe": frame(Kind.PROBE, payload=b"x"),
    "two probes": frame(Kind.PROBE, payload=REFERENCE.pack(0, 0, 0)) * 2,
    "copy": frame(Kind.COPY, payload=bytes(8)),
    "more than announced": long_header(Kind.RESPONSE, 0, 0, 1, 1) + frame(Kind.CHUNK, 0, 1, b"xx"),
}


class Forever:
    def __aiter__(self):
        return self

    async def __anext__(self):
        return (b"x",)


@pytest.mark.parametrize("name", BROKEN)
@on_both_loops
async def test_a_replica_that_breaks_the_rules(wire, name, caplog):
    """The caller closes the connection, logs one line, and fails every call in flight."""

    async def replica(peer):
        await peer.answer()
        while (await peer.receive()).stream != 2:
            pass
        peer.send(BROKEN[name], frame(Kind.PONG))
        await peer.closed()

    desk = await wire.listen(echo)
    good = await wire.connect(desk)
    connection = await wire.connect(await wire.impersonate(replica))
    lost = []
    connection.on_lost = lambda: lost.append(True)
    body = Forever() if name == "credit" else None
    streams = [start(connection, b"1", body=body, streaming=True), start(connection, b"2")]
    await until(lambda: lost)
    for stream in streams[::-1]:
        if stream.reply.done() and not stream.reply.exception():
            with pytest.raises(ConnectionLost):
                await anext(stream.reply.result().rest)
        else:
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(ConnectionLost):
                    await stream.reply
    assert lost == [True]
    assert await ask(good, b"fine") == b"fine"
    (line,) = warnings_of(caplog)
    assert line.startswith("closed a connection (")
