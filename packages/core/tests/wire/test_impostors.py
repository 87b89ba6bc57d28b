"""Servers that are no replicas, and replicas that break the protocol."""

import asyncio

import pytest

from alacarte._wire import caller_connection as caller_module
from alacarte._wire.authentication import (
    AuthenticationError,
    ReplicaHandshake,
    welcome,
)
from alacarte._wire.caller_connection import ConnectionLost
from alacarte._wire.frames import (
    FINAL,
    HEADER,
    Kind,
    long_header,
)

from .adversaries import ENVELOPE, OTHER, REFERENCE
from .support import (
    MAX_MESSAGE,
    PATIENCE_S,
    REPLICA_ID,
    SECRET,
    ask,
    echo,
    frame,
    on_both_loops,
    on_every_wire,
    start,
    until,
    warnings_of,
)


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
