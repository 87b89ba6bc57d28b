"""Peers that have not authenticated: closed and logged once, and no burden to others."""

import asyncio
import re

import pytest

from alacarte._wire import caller_connection as caller_module
from alacarte._wire import listener as listener_module
from alacarte._wire import replica_connection as replica_module
from alacarte._wire.authentication import (
    CallerHandshake,
)
from alacarte._wire.frames import (
    FINAL,
    HEADER,
    Kind,
    long_header,
)
from alacarte._wire.pending import MAX_PENDING, MAX_PENDING_PER_ADDRESS
from alacarte.types import Address

from .adversaries import ENVELOPE, OTHER, Bystander, request
from .support import (
    REPLICA_ID,
    SECRET,
    ask,
    echo,
    frame,
    on_both_loops,
    on_every_wire,
    until,
    warnings_of,
)

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


def test_the_documented_bounds():
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
async def test_the_oldest_silent_peer_is_evicted(wire, caplog):
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
async def test_silent_peers_on_tcp_take_no_place_on_the_unix_socket(wire, caplog, monkeypatch):
    """Each kind of socket has its own bound: a flood on one keeps no peer off the other."""
    # All of them must be pending at once, however long a busy machine takes to connect them.
    monkeypatch.setattr(replica_module, "HANDSHAKE_TIMEOUT_S", 60.0)
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
async def test_disconnected_peers_are_not_pending(wire, caplog):
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
