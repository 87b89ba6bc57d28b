"""A router on fake connections, in virtual time.

`Far` has the fake replicas: it records the frames of connections, and replies as a test says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from alacarte._plugins.plugin_failures import PluginFailures
from alacarte._routing.builtin_policies import PowerOfTwo, RoundRobin
from alacarte._routing.chooser import Chooser
from alacarte._routing.router import Router
from alacarte._wire.caller_connection import ConnectionLost, Rejected
from alacarte.actors import DeploymentSnapshot, ReplicaEntry
from alacarte.types import Address, Call, DeploymentId, Reply

HERE = DeploymentId("shop", "model")


class FakeStream:
    """One call at a fake replica, which ends as the test says."""

    def __init__(self, connection: FakeConnection, call: Call, done: Callable[[Any], None]):
        self.connection = connection
        self.call = call
        self.done: Callable[[Any], None] | None = done
        self.rejected = False
        self.error: BaseException | None = None
        self.on_reply: Callable[[], None] | None = None
        self.replica_id = ""
        self.is_repeatable = True
        self.cancelled = False
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    @property
    def has_reply(self) -> bool:
        reply = self.reply
        return reply.done() and not reply.cancelled() and reply.exception() is None

    def answer(self) -> None:
        self.connection.say()
        if not self.reply.done():
            self.reply.set_result(Reply(self.call.payload))
        self._end()

    def reject(self) -> None:
        self.rejected = True
        self.connection.say()
        self.fail(Rejected())

    def fail(self, error: Exception) -> None:
        self.error = error
        self._end()
        if not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()

    def abandon(self, error: Exception) -> None:
        if self.done is not None and not self.reply.done():
            self.cancelled = True
            self.fail(error)

    def cancel(self) -> None:
        if self.done is not None:
            self.cancelled = True
            self.error = asyncio.CancelledError()
            self._end()
            if not self.reply.done():
                self.reply.cancel()

    def _end(self) -> None:
        self.connection.streams.remove(self)
        done, self.done = self.done, None
        assert done is not None
        done(self)


class FakeConnection:
    def __init__(self, far: Far, replica_id: str):
        self.far = far
        self.replica_id = replica_id
        self.replica_load = 0
        self.streams: list[FakeStream] = []
        self.advertised: dict[str, frozenset[str]] = {}
        self.on_advertised = self.on_load = self.on_goaway = self.on_lost = lambda: None
        self.on_pong: Callable[[], None] = lambda: None
        self.has_received = True
        self.pings = 0
        self.aborted = False
        self.transport: object | None = object()
        self.closed = False

    def open(self, call: Call, done: Callable[[Any], None]) -> FakeStream:
        if self.transport is None:
            raise ConnectionLost("not connected")
        stream = FakeStream(self, call, done)
        self.streams.append(stream)
        self.far.sent.append(stream)
        if self.replica_id in self.far.full:
            asyncio.get_running_loop().call_soon(stream.reject)
        return stream

    def ping(self) -> None:
        """Answered at once, unless the replica is mute."""
        self.pings += 1
        if self.replica_id not in self.far.mute:
            self.say()
            self.on_pong()

    def say(self) -> None:
        """Something arrives."""
        self.has_received = True

    def abort(self) -> None:
        self.aborted = True
        self.break_off()

    def close(self) -> None:
        self.closed = True
        self.break_off()

    def break_off(self) -> None:
        """Break as a real connection does: disconnect, fail the streams, then report the loss."""
        if self.transport is not None:
            self.transport = None
            for stream in list(self.streams):
                stream.fail(ConnectionLost("reset by peer"))
            self.on_lost()


class Far:
    """The fake replicas and their connections.

    Attributes:
        full: Replicas that reject what they are sent.
        down: Replicas nobody can connect to.
        mute: Replicas that do not answer a PING.
    """

    def __init__(self) -> None:
        self.connections: dict[str, FakeConnection] = {}
        self.sent: list[FakeStream] = []
        self.full: set[str] = set()
        self.mute: set[str] = set()
        self.down: dict[str, Exception] = {}
        self.attempts = 0

    async def connect(self, replica_id: str, address: Address) -> FakeConnection:
        self.attempts += 1
        if replica_id in self.down:
            raise self.down[replica_id]
        connection = self.connections[replica_id] = FakeConnection(self, replica_id)
        return connection

    @property
    def open(self) -> list[FakeStream]:
        return [stream for stream in self.sent if stream.done is not None]

    def names(self) -> list[str]:
        """Return the calls sent so far, in order, as `call@replica`."""
        return [f"{bytes(s.call.payload[0]).decode()}@{s.connection.replica_id}" for s in self.sent]


def snapshot(*replicas: str, room: int = 1, queue: int = 100, **more: Any) -> DeploymentSnapshot:
    entries = tuple(ReplicaEntry(name, Address("", ""), "node", room) for name in replicas)
    return DeploymentSnapshot(HERE, 1, more.pop("state", "up"), more.pop("reason", ""), entries,
                              queue, more.pop("policy", "round_robin"))  # fmt: skip


def choose_by(policies: Mapping[str, Callable[[], Any]]) -> Callable[[DeploymentSnapshot], Chooser]:
    """Return a function that creates the policy that a snapshot names."""
    failures = PluginFailures()
    return lambda at: Chooser(policies[at.policy](), at.policy, "test", at.id, failures)


POLICIES = {"round_robin": RoundRobin, "power_of_two": PowerOfTwo}


class Bench:
    """A router, the far ends, and calls by name."""

    def __init__(self, **options: Any) -> None:
        self.far = Far()
        self.router = Router(HERE, choose_by(POLICIES), self.far.connect, "node",
                             clock=asyncio.get_running_loop().time, **options)  # fmt: skip
        self.calls: dict[str, asyncio.Task[Reply]] = {}
        self.options: dict[str, Any] = {}

    async def update(self, *replicas: str, **more: Any) -> None:
        self.router.update(snapshot(*replicas, **more))
        await settle()

    async def call(self, *names: str) -> None:
        for name in names:
            self.calls[name] = asyncio.create_task(
                self.router.service(Call("python", (name.encode(),), **self.options))
            )
        await settle()

    async def answer(self, *names: str) -> None:
        for stream in self.far.open:
            if bytes(stream.call.payload[0]).decode() in names:
                stream.answer()
        await settle()

    async def result(self, name: str) -> str:
        return bytes((await self.calls[name]).payload[0]).decode()

    def check_clean(self) -> None:
        """No trace of any call is left."""
        assert (self.router.queued, self.router.in_flight) == (0, 0)
        assert [load.in_flight for load in self.router.replicas] == [0] * len(self.router.replicas)
        assert not self.far.open


async def settle() -> None:
    """Let everything run that needs no time to pass."""
    for _ in range(20):
        await asyncio.sleep(0)


def benches(run, make):
    """Return a function that runs a test with a bench, and checks that nothing is left."""

    def with_bench(main):
        async def inside():
            bench = make()
            await main(bench)
            await bench.router.close()
            await asyncio.gather(*bench.calls.values(), return_exceptions=True)
            await settle()
            assert (bench.router.queued, bench.router.in_flight) == (0, 0)

        run(inside)

    return with_bench
