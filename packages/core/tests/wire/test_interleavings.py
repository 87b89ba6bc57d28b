"""Whenever callers give up and handlers are cancelled, nobody else on the connection notices.

Hypothesis chooses the order: which bytes are delivered when, and between which iterations of the
event loop a call begins, is cancelled, is closed by its reader, or is ended by its replica.
"""

import asyncio
import contextlib
import logging

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alacarte._wire.caller_stream import Rejected
from alacarte.errors import ServeError
from alacarte.types import Call, Reply

from .memory import Line
from .support import PATIENCE_S, join

LONG = bytes(900)
"""Sent in chunks here, and only three of them have room in the peer."""
MAX_MESSAGE = 3000
ITEMS = [b"a", b"", LONG, b"b" * 200, LONG, b"end"]
GONE = (asyncio.CancelledError, Rejected, KeyError, ValueError, ServeError)


async def items():
    for item in ITEMS:
        yield (item,)


class Handlers:
    """The handlers of the calls: each waits at its gate, then replies as its name says."""

    def __init__(self):
        self.gates = {}
        self.tasks = {}

    def gate(self, name):
        return self.gates.setdefault(name, asyncio.Event())

    async def __call__(self, call):
        name = bytes(call.payload[0]).rstrip(b"\0").decode()
        self.tasks[name] = asyncio.current_task()
        received = []
        if call.method == "upload":
            async for message in call.body:
                received.append(join(message))
        if call.method == "early":
            await anext(call.body)
        await self.gate(name).wait()
        if call.method == "error":
            raise KeyError(name)
        if call.method == "long error":
            raise ValueError("x" * 500)
        if call.method in ("stream", "broken stream"):
            return Reply((name.encode(),), self.broken() if call.method[0] == "b" else items())
        return Reply((name.encode(), *received))

    async def broken(self):
        yield (b"a",)
        yield (LONG,)
        raise ValueError("x" * 500)


METHODS = ["echo", "long", "error", "long error", "stream", "broken stream", "upload", "early"]


async def make_call(line, method, name):
    """Make a call as a router does, and read all of its reply."""
    payload = name.encode().ljust(1000 if method == "long" else 1, b"\0")
    body = items() if method in ("upload", "early") else None
    call = Call("test", (payload,), method=method, streaming="stream" in method, body=body)
    stream = line.caller.open(call, lambda _: None)
    try:
        reply = await stream.reply
    except asyncio.CancelledError:
        stream.cancel()
        raise
    whole = [join(reply.payload)]
    if reply.rest is not None:
        try:
            async for message in reply.rest:
                whole.append(join(message))
        finally:
            await reply.rest.aclose()
    return whole


INNOCENT = {
    "echo": lambda name: [name.encode()],
    "long": lambda name: [name.encode()],
    "stream": lambda name: [name.encode(), *ITEMS],
    "upload": lambda name: [name.encode() + b"".join(ITEMS)],
    "early": lambda name: [name.encode()],
}

which = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("call"), st.sampled_from(METHODS)),
    st.tuples(st.just("cancel"), which),
    st.tuples(st.just("cancel"), which),
    st.tuples(st.just("cancel handler"), which),
    st.tuples(st.just("open gate"), which),
    st.tuples(st.just("open gate"), which),
    st.tuples(st.just("turn"), st.integers(1, 4)),
    st.tuples(st.just("up"), st.sampled_from([1, 13, 100, 5000])),
    st.tuples(st.just("down"), st.sampled_from([1, 13, 100, 5000])),
)


class Play:
    """One order of events."""

    def __init__(self):
        self.handlers = Handlers()
        self.line = Line(self.handlers, max_message=MAX_MESSAGE, limit=20)
        self.innocents = {}
        self.calls = []

    async def run(self, script):
        for method in INNOCENT:
            name = f"innocent {method}"
            self.innocents[method] = asyncio.create_task(make_call(self.line, method, name))
        for step, argument in script:
            await self.take(step, argument)
            assert not self.line.broken
        await self.finish()

    async def take(self, step, argument):
        if step == "call":
            name = str(len(self.calls))
            self.calls.append(asyncio.create_task(make_call(self.line, argument, name)))
        elif step == "up":
            self.line.up.deliver(argument)
        elif step == "down":
            self.line.down.deliver(argument)
        elif step == "turn":
            for _ in range(argument):
                await asyncio.sleep(0)
        elif step == "open gate":
            self.handlers.gate(str(argument)).set()
        elif step == "cancel handler":
            if (task := self.handlers.tasks.get(str(argument))) is not None:
                task.cancel()
        elif argument < len(self.calls):
            self.calls[argument].cancel()

    async def finish(self):
        """Deliver everything: each call not cancelled has its reply, and nothing is held."""
        for each in self.calls[::2]:
            each.cancel()
        everything = [*self.innocents.values(), *self.calls]
        async with asyncio.timeout(PATIENCE_S):
            while not all(each.done() for each in everything):
                for gate in list(self.handlers.gates.values()):
                    gate.set()
                self.line.flush()
                assert not self.line.broken
                await asyncio.sleep(0)
            for method, task in self.innocents.items():
                assert await task == INNOCENT[method](f"innocent {method}")
            for each in self.calls:
                with contextlib.suppress(*GONE):
                    await each
            line = self.line
            while line.desk.ongoing or line.caller._pumps or line.replica._pumps:
                line.flush()
                await asyncio.sleep(0)
            line.flush()
        for end in (line.caller, line.replica):
            assert not end._streams
            assert not end._decoder._reserved
            assert not end._unfinished
            assert not end._room_waiters
        line.close()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example([("call", "stream"), ("turn", 1), ("up", 5000), ("open gate", 0), ("turn", 4),
          ("cancel", 0), ("down", 5000)])  # fmt: skip
@given(script=st.lists(steps, max_size=40))
def test_cancelled_calls_do_not_affect_others(monkeypatch, caplog, script):
    """In every order of events the other calls get whole replies, and all room is freed."""
    monkeypatch.setattr("alacarte._wire.connection._JOIN_BYTES", 64)
    monkeypatch.setattr("alacarte._wire.connection.CHUNK_BYTES", 100)
    monkeypatch.setattr("alacarte._wire.flow.WINDOW_BYTES", 1000)
    monkeypatch.setattr("alacarte._wire.replica_stream.WINDOW_BYTES", 1000)
    caplog.clear()
    accidents = []

    async def play():
        asyncio.get_running_loop().set_exception_handler(lambda _, it: accidents.append(it))
        await Play().run(script)

    asyncio.run(play())
    assert not accidents
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
