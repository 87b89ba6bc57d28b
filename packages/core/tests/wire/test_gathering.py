"""Frames written while others are read: they leave together, and none stays behind."""

import asyncio

import pytest

from alacarte._wire.connection import _MAX_GATHERED_FRAMES, Connection
from alacarte._wire.envelope import pack_envelope
from alacarte._wire.frames import FINAL, Kind
from alacarte.types import Call, Reply

from .support import ask, echo, frame, on_both_loops, on_every_wire, until

PING = frame(Kind.PING)
UNKNOWN = frame(Kind.HELLO, stream=0)
"""What a trusted peer never sends."""


def request(stream, payload=b""):
    return frame(Kind.REQUEST, FINAL, stream, pack_envelope(Call("test", (b"",))) + payload)


async def frames_until_closed(peer):
    """Return the kinds of all that arrives until the other side hangs up."""
    kinds = []
    while True:
        try:
            kinds.append((await peer.receive()).kind)
        except (AssertionError, ConnectionError):
            return kinds


@on_every_wire
async def test_a_peer_that_is_refused_gets_its_answers_first(wire):
    """Replies before the frame that closes the connection are sent."""
    peer = await (await wire.raw(await wire.listen(echo))).prove()
    peer.send(PING * 3, UNKNOWN, PING)
    assert await frames_until_closed(peer) == [Kind.PONG] * 3


@on_every_wire
async def test_an_error_in_the_middle_of_a_read(wire):
    """A bug of alacarte closes the connection; replies before it are sent."""
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    [replica] = desk.listener.connections
    handle, seen = replica.frame_received, []

    def fail_at_the_third(received):
        seen.append(received)
        if len(seen) == 3:
            raise RuntimeError("a bug")
        handle(received)

    replica.frame_received = fail_at_the_third
    peer.send(PING * 4)
    assert await frames_until_closed(peer) == [Kind.PONG] * 2
    assert len(seen) == 3


@on_every_wire
@pytest.mark.parametrize("hang_up", ["close", "abort"])
async def test_closed_within_a_read(wire, hang_up):
    """Data written before the close is sent, a GOAWAY included; no later frame is."""
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    [replica] = desk.listener.connections
    handle, seen = replica.frame_received, []

    def hang_up_at_the_third(received):
        seen.append(received)
        handle(received)
        if len(seen) == 3:
            desk.listener.announce(Kind.GOAWAY)
            getattr(replica, hang_up)()

    replica.frame_received = hang_up_at_the_third
    peer.send(PING * 3)
    assert await frames_until_closed(peer) == [Kind.PONG] * 3 + [Kind.GOAWAY]


@on_every_wire
async def test_goaway_and_close_in_the_turn_of_a_call(wire):
    """The reply, the announcement and the end arrive in order."""
    desks = []

    async def service(call):
        desks[0].listener.announce(Kind.GOAWAY)
        asyncio.get_running_loop().call_soon(desks[0].listener.close)
        return Reply((b"last",))

    desks.append(await wire.listen(service))
    connection = await wire.connect(desks[0])
    heard, lost = [], []
    connection.on_goaway = lambda: heard.append(True)
    connection.on_lost = lambda: lost.append(True)
    assert await ask(connection) == b"last"
    await until(lambda: lost)
    assert heard == [True]


class Spy:
    """A transport that records the size of each write and the number of waiting frames."""

    def __init__(self, connection: Connection) -> None:
        self.transport = connection.transport
        self.written: list[int] = []
        connection.transport = self

    def __getattr__(self, name):
        return getattr(self.transport, name)

    def write(self, data):
        self.written.append(len(data))
        self.transport.write(data)


@on_both_loops
async def test_a_read_with_very_many_answers_is_bounded(wire):
    """Of thousands of frames that one read causes, 64 at most wait to be written together."""
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    [replica] = desk.listener.connections
    spy = Spy(replica)
    waiting = []
    handle = replica.frame_received

    def look(received):
        handle(received)
        waiting.append(len(replica._outgoing))

    replica.frame_received = look
    count = 5000
    peer.send(PING * count)
    for _ in range(count):
        assert (await peer.receive()).kind == Kind.PONG
    assert max(waiting) == _MAX_GATHERED_FRAMES - 1
    assert max(spy.written) == _MAX_GATHERED_FRAMES * len(PING)
    assert len(spy.written) < count // 8
    replica.transport = spy.transport


@on_both_loops
async def test_replies_of_one_read_are_bounded(wire):
    """Replies as long as frames may be that are gathered: 4 MiB at most."""
    reply = bytes((1 << 16) - 64)
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    [replica] = desk.listener.connections
    spy = Spy(replica)
    read, handle = [], replica.frame_received

    def answer(received):  # at once, as an eager task does
        replica.send_message(Kind.RESPONSE, FINAL, received.stream, (reply,))
        read.append(received)

    replica.frame_received = answer
    count = 500
    peer.send(*[PING] * count)
    for _ in range(count):
        assert len((await peer.receive()).payload) == len(reply)
    assert max(spy.written) == _MAX_GATHERED_FRAMES * (len(reply) + len(PING))
    assert len(read) == count
    replica.transport, replica.frame_received = spy.transport, handle


# --- requests and their cancellations ---------------------------------------------------

CANCEL = frame(Kind.CANCEL, FINAL, 1)


@on_every_wire
async def test_cancelled_in_the_same_read(wire):
    """A request that arrives together with its CANCEL is not started."""
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    body = frame(Kind.REQUEST, 0, 3, pack_envelope(Call("test", (b"",))))
    peer.send(request(1), request(2, b"kept"), body, CANCEL, frame(Kind.CANCEL, FINAL, 3), PING)
    kinds = [(await peer.receive()).kind for _ in range(2)]
    assert sorted(kinds) == [Kind.RESPONSE, Kind.PONG]
    assert desk.started == 1


@on_every_wire
async def test_a_cancel_concerns_earlier_frames_only(wire):
    """A later request on the stream is started, in the same read as well as in the next."""
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    peer.send(request(1, b"a"), CANCEL, request(1, b"b"))
    assert (await peer.receive()).payload == b"b"
    peer.send(CANCEL, request(1, b"c"))
    assert (await peer.receive()).payload == b"c"
    peer.send(request(1, b"d"))
    assert (await peer.receive()).payload == b"d"
    assert desk.started == 3
