"""What a frame means in every state of a call, at both ends; and what nobody may send.

The tables here are written out by hand, state by state, so that a change of either is seen.
"""

import asyncio
import json

import pytest

from alacarte._wire.caller_stream import CallerStreamState, ConnectionLost
from alacarte._wire.connection import Connection
from alacarte._wire.envelope import pack_envelope
from alacarte._wire.error_codec import encode_error
from alacarte._wire.flow import write_credit
from alacarte._wire.frames import FINAL, STREAMING, Kind
from alacarte._wire.replica_stream import ReplicaStreamState
from alacarte.types import Call, Reply

from .memory import Line
from .support import PATIENCE_S, echo, frame, join, messages, until

ERROR = encode_error(KeyError("k"))
PAYLOADS = {
    Kind.CREDIT: write_credit(100),
    Kind.ERROR: ERROR,
    Kind.REQUEST: pack_envelope(Call("test", (b"",))),
    Kind.ADVERTISE: json.dumps({}).encode(),
}
CLOSES = "closes the connection"
IGNORED = "is ignored"


async def forever():
    while True:
        await asyncio.Event().wait()
        yield (b"never",)


async def never(call):
    await asyncio.Event().wait()


def send(pipe, kind, flags=0, stream=1):
    pipe.written += frame(kind, flags, stream, PAYLOADS.get(kind, b"x"))


# --- at the caller ----------------------------------------------------------------------


async def bring_caller_to(state, body):
    """Return a line, and a stream on it whose call is in `state`."""
    line = Line(never, max_message=1 << 20)
    source = forever() if body else None
    stream = line.caller.open(Call("test", (b"",), streaming=True, body=source), lambda _: None)
    await asyncio.sleep(0)
    line.up.written.clear()
    if state is CallerStreamState.ACCEPTED:
        send(line.down, Kind.CREDIT)
        line.down.deliver(1000)
    elif state is CallerStreamState.REPLYING:
        send(line.down, Kind.RESPONSE)
        line.down.deliver(1000)
    elif state is CallerStreamState.ABANDONED:
        stream.reply.cancel()  # as a task does that is cancelled while it awaits it
    elif state is CallerStreamState.OVER:
        stream.cancel()
    assert stream.state is state
    line.up.written.clear()
    return line, stream


def outcome_at_caller(line, stream, kind):
    """Return the outcome of a frame, in the words of the table."""
    if line.broken:
        return CLOSES
    told = " and the replica is told" if Kind.CANCEL in sent(line.up) else ""
    if stream.state is CallerStreamState.OVER:
        if not stream.reply.done():
            return "ends without a reply"
        if stream.reply.cancelled():
            return f"ends{told}"
        error = stream.reply.exception()
        if error is not None:
            return f"raises {type(error).__name__}"
        rest = stream.reply.result().rest
        return "is the reply" if rest is None else f"ends the reply{last_words(rest)}"
    if stream.reply.done() and not stream.reply.cancelled() and kind == Kind.RESPONSE:
        return "begins the reply"
    if kind == Kind.CREDIT:
        return "grants"
    return "is read"


def last_words(inbox):
    return f" with {type(inbox._error).__name__}" if inbox._error else ""


def sent(pipe):
    kinds, data = set(), bytes(pipe.written)
    while data:
        kinds.add(data[4])
        data = data[12 + int.from_bytes(data[:4], "little") :]
    return kinds


STREAM_KINDS = [kind for kind in Kind if kind is not Kind.CHUNK]  # the decoder's own
CALLER = {
    CallerStreamState.SENT: {
        (Kind.RESPONSE, 0): "begins the reply",
        (Kind.RESPONSE, FINAL): "is the reply",
        (Kind.ERROR, FINAL): "raises KeyError",
        (Kind.REJECT, FINAL): "raises Rejected",
        (Kind.CREDIT, 0): "grants",
    },
    CallerStreamState.ACCEPTED: {
        (Kind.RESPONSE, 0): "begins the reply",
        (Kind.RESPONSE, FINAL): "is the reply",
        (Kind.ERROR, FINAL): "raises KeyError",
        (Kind.CREDIT, 0): "grants",
    },
    CallerStreamState.ABANDONED: {
        (Kind.RESPONSE, 0): "ends and the replica is told",
        (Kind.RESPONSE, FINAL): "ends",
        (Kind.ERROR, FINAL): "ends",
        (Kind.REJECT, FINAL): "ends",
        (Kind.CREDIT, 0): "ends and the replica is told",
    },
    CallerStreamState.REPLYING: {
        (Kind.DATA, 0): "is read",
        (Kind.DATA, FINAL): "ends the reply",
        (Kind.END, FINAL): "ends the reply",
        (Kind.ERROR, FINAL): "ends the reply with KeyError",
        (Kind.CREDIT, 0): "grants",
    },
    CallerStreamState.OVER: {
        (Kind.RESPONSE, 0): "ends",
        (Kind.RESPONSE, FINAL): "ends",
        (Kind.DATA, 0): "ends",
        (Kind.DATA, FINAL): "ends",
        (Kind.END, FINAL): "ends",
        (Kind.ERROR, FINAL): "ends",
        (Kind.REJECT, FINAL): "ends",
        (Kind.CREDIT, 0): "ends",
        (Kind.CANCEL, FINAL): "ends",
    },
}
FLAGS = {
    Kind.RESPONSE: (0, FINAL),
    Kind.DATA: (0, FINAL),
    Kind.CREDIT: (0,),
}


def every_frame():
    return [(kind, flags) for kind in STREAM_KINDS for flags in FLAGS.get(kind, (FINAL,))]


@pytest.mark.parametrize("body", [False, True], ids=["no body", "body"])
@pytest.mark.parametrize("state", CallerStreamState, ids=lambda state: state.name)
@pytest.mark.asyncio
async def test_every_frame_in_every_state_of_a_caller(state, body, caplog):
    """Each frame has the outcome in the table; every other frame closes the connection."""
    if state is CallerStreamState.ACCEPTED and not body:
        return  # the replica has nothing to read
    for kind, flags in every_frame():
        line, stream = await bring_caller_to(state, body)
        other = line.caller.open(Call("test", (b"",)), lambda _: None)
        line.up.written.clear()
        send(line.down, kind, flags)
        line.down.deliver(1000)
        await asyncio.sleep(0)  # what is to be sent leaves together
        expected = CALLER[state].get((kind, flags), CLOSES)
        if (
            kind == Kind.CREDIT
            and not body
            and state in (CallerStreamState.SENT, CallerStreamState.REPLYING)
        ):
            expected = CLOSES  # a credit for a call that has no body
        assert outcome_at_caller(line, stream, kind) == expected, (kind, flags)
        assert not other.reply.done()
        line.close()
        with pytest.raises(ConnectionLost):
            await other.reply
        await asyncio.sleep(0)


def test_the_table_of_the_caller_is_complete():
    """Every state is there, and every frame that a replica sends for a call is somewhere."""
    assert set(CALLER) == set(CallerStreamState)
    told = {kind for row in CALLER.values() for kind, _ in row}
    assert told == {
        Kind.RESPONSE, Kind.DATA, Kind.END, Kind.ERROR, Kind.REJECT, Kind.CREDIT, Kind.CANCEL,
    }  # fmt: skip


@pytest.mark.parametrize("follows", [Kind.DATA, Kind.END, Kind.ERROR, Kind.CREDIT])
@pytest.mark.asyncio
async def test_cancelled_as_the_reply_begins(follows):
    """A call cancelled in the iteration in which its stream begins affects no other call."""
    line = Line(echo, max_message=1 << 20)

    async def call():
        stream = line.caller.open(Call("test", (b"",), body=forever()), lambda _: None)
        try:
            return await stream.reply
        except asyncio.CancelledError:
            stream.cancel()
            raise

    leaving = asyncio.create_task(call())
    staying = asyncio.create_task(call())
    await asyncio.sleep(0)
    leaving.cancel()
    send(line.down, Kind.RESPONSE)
    send(line.down, follows, 0 if follows in (Kind.DATA, Kind.CREDIT) else FINAL)
    line.down.deliver(1000)
    assert not line.broken
    with pytest.raises(asyncio.CancelledError):
        await leaving
    send(line.down, Kind.RESPONSE, FINAL, stream=2)
    line.down.deliver(1000)
    assert join((await staying).payload) == b"x"
    line.close()


@pytest.mark.asyncio
async def test_a_call_cancelled_without_a_cancel_frame():
    """A caller that stops awaiting and forgets to say so is noticed when the reply begins."""
    line = Line(echo, max_message=1 << 20)
    ended = []
    stream = line.caller.open(Call("test", (b"",)), ended.append)
    stream.reply.cancel()
    send(line.down, Kind.RESPONSE)
    line.down.deliver(1000)
    assert ended == [stream]
    assert Kind.CANCEL in sent(line.up)
    line.close()


@pytest.mark.asyncio
async def test_a_reject_of_an_accepted_call():
    """A replica that has begun to read a body cannot reject the call."""
    line, stream = await bring_caller_to(CallerStreamState.ACCEPTED, True)
    send(line.down, Kind.REJECT, FINAL)
    line.down.deliver(1000)
    assert line.broken
    line.close()
    with pytest.raises(ConnectionLost):
        await stream.reply
    assert not stream.rejected


@pytest.mark.asyncio
async def test_the_number_of_a_call_that_goes_on_is_not_used_again():
    """After four billion calls the numbers start again, and skip those in use."""
    line = Line(never, max_message=1 << 20)
    first = line.caller.open(Call("test", (b"",)), lambda _: None)
    line.caller._next_stream = 0xFFFFFFFF
    last = line.caller.open(Call("test", (b"",)), lambda _: None)
    second = line.caller.open(Call("test", (b"",)), lambda _: None)
    assert [first.id, last.id, second.id] == [1, 0xFFFFFFFF, 2]
    await until(lambda: (line.flush(), line.desk.ongoing == 3)[1])
    assert not line.broken
    for stream in (first, last, second):
        stream.cancel()
    await until(lambda: (line.flush(), not line.desk.ongoing)[1])
    line.close()


# --- at the replica ---------------------------------------------------------------------

REPLICA = {
    (ReplicaStreamState.RECEIVING, False): {
        (Kind.DATA, 0): "is read",
        (Kind.DATA, FINAL): "ends the body",
        (Kind.END, FINAL): "ends the body",
        (Kind.CANCEL, FINAL): "cancels",
    },
    (ReplicaStreamState.RECEIVED, False): {
        (Kind.CANCEL, FINAL): "cancels",
    },
    (ReplicaStreamState.RECEIVING, True): {
        (Kind.DATA, 0): "is read",
        (Kind.DATA, FINAL): "ends the body",
        (Kind.END, FINAL): "ends the body",
        (Kind.CREDIT, 0): "grants",
        (Kind.CANCEL, FINAL): "cancels",
    },
    (ReplicaStreamState.RECEIVED, True): {
        (Kind.CREDIT, 0): "grants",
        (Kind.CANCEL, FINAL): "cancels",
    },
    (ReplicaStreamState.OVER, False): {
        (Kind.DATA, 0): IGNORED,
        (Kind.DATA, FINAL): IGNORED,
        (Kind.END, FINAL): IGNORED,
        (Kind.CREDIT, 0): IGNORED,
        (Kind.CANCEL, FINAL): IGNORED,
        (Kind.REQUEST, FINAL): "begins a call",
    },
}


async def bring_replica_to(state, replying):
    """Return a line whose replica has call 1 in `state`, optionally with its reply begun."""
    bodies = []

    async def service(call):
        if call.body is not None:
            bodies.append(call.body)
        if not replying:
            await asyncio.Event().wait()
        return Reply((b"head",), forever())

    line = Line(service, max_message=1 << 20)
    flags = STREAMING | (0 if state is ReplicaStreamState.RECEIVING else FINAL)
    line.up.written += frame(Kind.REQUEST, flags, 1, PAYLOADS[Kind.REQUEST])
    if state is ReplicaStreamState.OVER:
        send(line.up, Kind.CANCEL, FINAL)
    line.up.deliver(1000)
    if state is not ReplicaStreamState.OVER:
        stream = line.replica._streams[1]
        assert stream.state is state
        if replying:
            await until(lambda: stream._window is not None)
    await until(lambda: line.desk.ongoing == (state is not ReplicaStreamState.OVER))
    line.down.written.clear()
    return line


def outcome_at_replica(line, state, kind):
    if line.broken:
        return CLOSES
    stream = line.replica._streams.get(1)
    if state is ReplicaStreamState.OVER:
        return IGNORED if stream is None else "begins a call"
    if stream is None:
        return "cancels"
    if stream.state is not state:
        return "ends the body"
    return "grants" if kind == Kind.CREDIT else "is read"


@pytest.mark.parametrize(
    ("state", "replying"), REPLICA, ids=lambda each: getattr(each, "name", str(each))
)
@pytest.mark.asyncio
async def test_every_frame_in_every_state_of_a_replica(state, replying, caplog):
    """Each frame has the outcome in the table; every other frame closes the connection."""
    for kind, flags in every_frame():
        line = await bring_replica_to(state, replying)
        send(line.up, kind, flags)
        line.up.deliver(1000)
        expected = REPLICA[state, replying].get((kind, flags), CLOSES)
        assert outcome_at_replica(line, state, kind) == expected, (kind, flags)
        line.close()
        async with asyncio.timeout(PATIENCE_S):
            await until(lambda line=line: not line.desk.ongoing)


def test_the_table_of_the_replica_is_complete():
    """Every state is there."""
    assert {state for state, _ in REPLICA} == set(ReplicaStreamState)


@pytest.mark.asyncio
async def test_a_message_after_the_end_of_the_body(caplog):
    """A message after the end of the body closes the connection."""
    line = await bring_replica_to(ReplicaStreamState.RECEIVING, False)
    send(line.up, Kind.END, FINAL)
    send(line.up, Kind.DATA)
    line.up.deliver(1000)
    assert line.broken
    line.close()
    await until(lambda: not line.desk.ongoing)


# --- long messages that are not sent to their end ---------------------------------------


def shorten(monkeypatch):
    """Let messages of some hundred bytes be long, so that they are sent in chunks."""
    monkeypatch.setattr("alacarte._wire.connection._JOIN_BYTES", 64)
    monkeypatch.setattr("alacarte._wire.connection.CHUNK_BYTES", 100)


@pytest.mark.asyncio
async def test_a_long_item_that_the_reply_interrupts(monkeypatch):
    """A reply that comes within a long message of the body leaves nothing held in the replica.

    Else the room for the messages of everybody on this connection would be gone for good.
    """
    shorten(monkeypatch)
    gate = asyncio.Event()

    async def service(call):
        if call.body is not None:
            await gate.wait()
        return Reply((b"early",))

    line = Line(service, max_message=5000)
    body = messages(bytes(4000))
    stream = line.caller.open(Call("test", (b"",), body=body), lambda _: None)
    await until(lambda: (line.flush(), line.desk.ongoing)[1])
    # Announced, and on its way:
    await until(lambda: (line.down.deliver(1000), len(line.up.written) > 200)[1])
    gate.set()  # the reply crosses with it
    await until(lambda: line.down.written)
    line.down.deliver(1000)
    assert join((await stream.reply).payload) == b"early"
    await until(lambda: (line.flush(), not line.caller._pumps)[1])
    assert not line.replica._decoder._reserved
    again = line.caller.open(Call("test", (bytes(4000),)), lambda _: None)
    await until(lambda: (line.flush(), again.reply.done())[1])
    assert join((await again.reply).payload) == b"early"
    assert not line.broken
    line.close()


@pytest.mark.asyncio
async def test_a_long_error_within_a_long_item(monkeypatch):
    """An error of any size takes the place of a message that is being sent, and harms no other."""
    shorten(monkeypatch)

    async def items():
        yield (bytes(4000),)

    async def service(call):
        return Reply((b"head",), items())

    line = Line(service, max_message=9000)
    stream = line.caller.open(Call("test", (b"",), streaming=True), lambda _: None)
    await until(lambda: (line.up.deliver(1000), len(line.down.written) > 700)[1])
    served = line.replica._streams[1]
    served.fail(ValueError("x" * 1000))
    await until(lambda: (line.flush(), stream.state is CallerStreamState.OVER)[1])
    assert not line.broken
    rest = (await stream.reply).rest
    with pytest.raises(ValueError, match="xxx"):
        async for _ in rest:
            pass
    await until(lambda: (line.flush(), not line.replica._pumps)[1])
    assert not line.caller._decoder._reserved
    assert isinstance(line.replica, Connection)
    line.close()
    await until(lambda: not line.desk.ongoing)
