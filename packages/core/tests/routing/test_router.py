"""The router, on connections that are not there: every promise of its docstring.

`Far` stands for the far ends: it takes what connections send and answers as a test likes. Time is
virtual, so a test that took a timer would show it.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte._model.snapshots import delta
from alacarte._plugins.plugin_failures import PluginFailures
from alacarte._routing.builtin_policies import PowerOfTwo, RoundRobin
from alacarte._routing.chooser import Chooser
from alacarte._routing.queue import WaitingCalls
from alacarte._routing.router import Router
from alacarte._wire.authentication import AuthenticationError
from alacarte._wire.caller_connection import ConnectionLost, Rejected
from alacarte.actors import DeploymentSnapshot, ReplicaEntry
from alacarte.errors import (
    BackPressureError,
    DeploymentUnavailableError,
    PluginError,
    ReplicaUnavailableError,
)
from alacarte.testing import FakeClock
from alacarte.types import Address, Call, DeploymentId, Reply, Shed

HERE = DeploymentId("shop", "model")


class FakeStream:
    """One call at a fake replica, which ends as the test says."""

    def __init__(self, connection: FakeConnection, call: Call, done: Callable[[Any], None]):
        self.connection = connection
        self.call = call
        self.done: Callable[[Any], None] | None = done
        self.refused = False
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
        self.refused = True
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


@pytest.fixture
def bench(run):
    """Run a coroutine function with a bench, in virtual time, and see that nothing is left."""
    return benches(run, Bench)


def test_calls_wait_in_order_and_a_completion_sends_the_oldest(bench):
    """Calls are served in order, and a replica never has more than its limit."""

    async def main(b):
        await b.update("a")
        await b.call("1", "2", "3", "4")
        assert (b.far.names(), b.router.queued) == (["1@a"], 3)
        for name in "1234":
            await b.answer(name)
            assert await b.result(name) == name
        assert b.far.names() == ["1@a", "2@a", "3@a", "4@a"]
        b.check_clean()

    bench(main)


def test_calls_before_the_first_replica(bench):
    """Calls before the first replica wait for its connection, and are sent in order."""

    async def main(b):
        await b.call("1", "2")
        await b.update()
        assert (b.far.names(), b.router.queued) == ([], 2)
        await b.update("a", "b")
        assert b.far.names() == ["1@a", "2@b"]

    bench(main)


def test_nobody_overtakes_those_who_wait(bench):
    """A call that comes when a slot is free but others wait goes behind them."""

    async def main(b):
        await b.update("a", room=2)
        await b.call("1", "2", "3")
        b.far.open[0].answer()  # its slot is free, and "3" not yet back on the loop
        await b.call("4")
        assert b.far.names() == ["1@a", "2@a", "3@a"]
        await b.answer("2")
        assert b.far.names()[-1] == "4@a"

    bench(main)


def test_what_was_rejected_goes_elsewhere_at_once(bench):
    """A rejected call, which has not started, is sent to the next replica."""

    async def main(b):
        b.far.full = {"a"}
        await b.update("a", "b")
        await b.call("1")
        assert b.far.names() == ["1@a", "1@b"]
        await b.answer("1")
        assert await b.result("1") == "1"
        b.check_clean()

    bench(main)


def test_what_was_rejected_waits_at_the_front(bench):
    """A rejected call waits before the calls that came later, even in a full queue."""

    async def main(b):
        await b.update("a", queue=2)
        await b.call("1")
        await b.call("2", "3")
        assert b.router.queued == 2
        b.far.open[0].reject()
        await settle()
        assert (b.far.names(), b.router.queued) == (["1@a"], 3)
        b.far.connections["a"].on_load()
        await settle()
        assert b.far.names() == ["1@a", "1@a"]
        await b.answer("1")
        assert b.far.names()[2:] == ["2@a"]

    bench(main)


def test_a_replica_that_rejected_gets_nothing_until_it_says_so(bench):
    """LOAD unblocks the replica, without a timer or a probe."""

    async def main(b):
        loop = asyncio.get_running_loop()
        b.far.full = {"a"}
        await b.update("a", room=5)
        began = loop.time()
        await b.call("1", "2", "3")
        sent = len(b.far.sent)
        assert (sent, b.router.queued) == (3, 3)
        await b.call("4")
        assert len(b.far.sent) == sent
        b.far.full = set()
        b.far.connections["a"].on_load()
        await settle()
        assert (len(b.far.open), b.router.queued) == (4, 0)
        assert loop.time() - began < 0.001

    bench(main)


def test_capacity_taken_away_and_given_back(bench):
    """Whenever a replica is back, the waiting calls are sent at once, without a timer.

    (Ray Serve's router sleeps in backoff then, and half of all requests fail for as long as load
    goes on.)
    """

    async def main(b):
        loop = asyncio.get_running_loop()
        await b.update("a", "b", room=50)
        for round_ in range(5):
            replicas = [f"a{round_}", f"b{round_}"]
            await b.update(room=50)  # all gone
            await asyncio.sleep(2)
            await b.call(*(f"{round_}-{n}" for n in range(60)))
            assert b.router.queued == 60
            began = loop.time()
            await b.update(*replicas, room=50)
            assert (b.router.queued, b.router.in_flight) == (0, 60)
            assert loop.time() == began
            for stream in b.far.open:
                stream.answer()
            await settle()
            b.check_clean()
            for n in range(60):
                assert await b.result(f"{round_}-{n}") == f"{round_}-{n}"

    bench(main)


def test_a_full_queue_pushes_back(bench):
    """The error names the deployment, the number that waits and the limit to raise."""

    async def main(b):
        await b.update("a", queue=2)
        await b.call("1", "2", "3", "4")
        with pytest.raises(
            BackPressureError,
            match=r"shop#model: 2 requests queued, limit 2; retry in 1 s or raise max_queued_req",
        ) as caught:
            await b.calls["4"]
        assert (caught.value.queued, caught.value.limit) == (2, 2)
        await b.answer("1")
        await b.call("5")
        assert b.router.queued == 2

    bench(main)


def test_a_limit_that_comes_late(bench):
    """Calls above a limit that came late or was lowered are shed, the newest first."""

    async def main(b):
        await b.call("1", "2", "3", "4", "5")
        assert b.router.queued == 5
        await b.update("a", room=1, queue=2)
        assert (b.router.in_flight, b.router.queued) == (1, 2)
        for name in ("4", "5"):
            with pytest.raises(BackPressureError):
                await b.calls[name]
        await b.answer("1")
        await b.answer("2")
        await b.answer("3")

    bench(main)


def test_a_queue_without_bound(bench):
    """-1 is no limit."""

    async def main(b):
        await b.update("a", queue=-1)
        await b.call(*map(str, range(3000)))
        assert b.router.queued == 2999

    bench(main)


def test_a_policy_may_shed(run):
    """A call that the policy sheds fails at once with its retry time, in the queue too."""

    class Sheds(RoundRobin):
        shedding = True

        def choose(self, call, replicas):
            return Shed(7.0) if self.shedding else super().choose(call, replicas)

    async def main():
        far, policy = Far(), Sheds()
        router = Router(HERE, choose_by({"round_robin": lambda: policy}), far.connect, "node")
        early = asyncio.create_task(router.call(Call("python", (b"0",))))
        await settle()
        router.update(snapshot("a"))
        await settle()
        for task in (early, router.call(Call("python", (b"1",)))):
            with pytest.raises(BackPressureError) as caught:
                await task
            assert caught.value.retry_after_s == 7.0
        assert (router.queued, router.in_flight) == (0, 0)
        await router.close()

    run(main)


def test_cancelled_in_the_queue(bench):
    """A call cancelled in the queue leaves no trace, and the next one takes its turn."""

    async def main(b):
        await b.update("a")
        await b.call("1", "2", "3")
        b.calls["2"].cancel()
        await settle()
        assert b.router.queued == 1
        await b.answer("1")
        assert b.far.names() == ["1@a", "3@a"]
        await b.answer("3")
        b.check_clean()

    bench(main)


def test_cancelled_while_it_is_sent(bench):
    """A call cancelled in the turn in which it gets a slot passes the slot on."""

    async def main(b):
        await b.update("a")
        await b.call("1", "2", "3")
        b.far.open[0].answer()  # sends "2", whose caller has not run since
        b.calls["2"].cancel()
        await settle()
        assert b.far.sent[1].cancelled
        assert b.far.names() == ["1@a", "2@a", "3@a"]
        await b.answer("3")
        b.check_clean()

    bench(main)


def test_cancelled_in_flight(bench):
    """The replica gets a CANCEL, and the next call gets the slot."""

    async def main(b):
        await b.update("a")
        await b.call("1", "2")
        b.calls["1"].cancel()
        await settle()
        assert b.far.sent[0].cancelled
        assert b.far.names() == ["1@a", "2@a"]
        await b.answer("2")
        b.check_clean()

    bench(main)


def test_a_connection_that_breaks_fails_what_was_sent(bench):
    """A sent call may have run and is not retried; waiting calls go to other replicas."""

    async def main(b):
        await b.update("a", "b")
        await b.call("1", "2", "3")
        assert b.far.names() == ["1@a", "2@b"]
        b.far.down["a"] = OSError("gone")
        b.far.connections["a"].break_off()
        with pytest.raises(ReplicaUnavailableError, match=r"shop#model: replica a .*reset by peer"):
            await b.calls["1"]
        assert b.router.queued == 1
        await b.answer("2")
        assert b.far.names()[2:] == ["3@b"]

    bench(main)


def test_a_broken_connection_is_made_again(bench):
    """A connection is made again while the controller lists the replica, for waiting calls."""

    async def main(b):
        await b.update("a")
        await b.call("1", "2")
        b.far.connections["a"].break_off()
        await settle()
        assert b.far.attempts == 2
        assert b.far.names() == ["1@a", "2@a"]
        await b.answer("2")
        assert await b.result("2") == "2"
        b.check_clean()

    bench(main)


@pytest.mark.parametrize(
    "error", [OSError("refused"), ConnectionLost("x"), AuthenticationError("y")]
)
def test_a_replica_that_cannot_be_reached_is_tried_again(bench, error):
    """Retries have growing pauses of a second at most, and delay no other replica's calls."""

    async def main(b):
        loop = asyncio.get_running_loop()
        b.far.down["a"] = error
        await b.update("a", "b")
        await b.call("1", "2")
        assert b.far.names() == ["1@b"]
        began, before = loop.time(), b.far.attempts
        await asyncio.sleep(8)
        assert 8 <= b.far.attempts - before <= 12
        b.far.down.clear()
        await asyncio.sleep(1)
        assert b.far.names() == ["1@b", "2@a"]
        assert loop.time() - began < 9.1

    bench(main)


def test_a_connection_that_is_dead_when_it_is_used(bench):
    """Nothing was sent on the dead connection, so the call goes to another replica."""

    async def main(b):
        await b.update("a", "b")
        b.far.connections["a"].transport = None  # and nobody has told the router yet
        b.far.down["a"] = OSError("gone")
        await b.call("1")
        assert b.far.names() == ["1@b"]
        assert [load.replica_id for load in b.router.replicas] == ["b"]

    bench(main)


def test_a_replica_that_goes_away_finishes_what_it_has(bench):
    """GOAWAY and then its absence from the list: nothing new is sent, nothing in flight is lost."""

    async def main(b):
        await b.update("a", "b")
        await b.call("1", "2")
        leaving = b.far.connections["a"]
        leaving.on_goaway()
        await b.call("3")
        assert b.far.names() == ["1@a", "2@b"]
        await b.update("b")
        assert not leaving.closed
        await b.answer("1")
        assert await b.result("1") == "1"
        assert leaving.closed
        assert b.far.names() == ["1@a", "2@b"]
        await b.answer("2")
        assert b.far.names()[2:] == ["3@b"]

    bench(main)


def test_an_idle_replica_that_goes_away_is_hung_up_on(bench):
    """The connection of an idle leaving replica is closed at once, and not made again."""

    async def main(b):
        await b.update("a", "b")
        b.far.connections["a"].on_goaway()
        assert b.far.connections["a"].closed
        await b.update("a", "b")
        await asyncio.sleep(10)
        assert b.far.attempts == 2
        await b.call("1")
        assert b.far.names() == ["1@b"]

    bench(main)


def test_an_idle_replica_that_is_retired_is_hung_up_on(bench):
    """The connection is closed and not made again."""

    async def main(b):
        await b.update("a")
        await b.update()
        assert b.far.connections["a"].closed
        await asyncio.sleep(10)
        assert b.far.attempts == 1

    bench(main)


def test_a_replica_that_is_retired_before_it_is_connected(bench):
    """The attempts to connect end with the replica."""

    async def main(b):
        b.far.down["a"] = OSError("refused")
        await b.update("a")
        await b.update()
        attempts = b.far.attempts
        await asyncio.sleep(10)
        assert b.far.attempts == attempts

    bench(main)


def test_a_changed_limit_applies_to_the_next_call(bench):
    """A raised `max_ongoing_requests` of a running replica lets waiting calls go."""

    async def main(b):
        await b.update("a", room=1)
        await b.call("1", "2", "3")
        await b.update("a", room=2)
        assert (b.router.in_flight, b.router.queued) == (2, 1)
        assert b.far.attempts == 1

    bench(main)


@pytest.mark.parametrize("state", ["absent", "failed"])
def test_a_deployment_that_will_not_come(bench, state):
    """Waiting and later calls fail at once, with the reason."""

    async def main(b):
        await b.call("1")
        await b.update(state=state, reason="it was deleted")
        await b.call("2")
        for name in "12":
            with pytest.raises(
                DeploymentUnavailableError, match="shop#model is unavailable: it was deleted"
            ):
                await b.calls[name]
        await b.update("a")
        await b.call("3")
        assert b.far.names() == ["3@a"]

    bench(main)


def test_a_deleted_deployment_that_still_has_a_replica(bench):
    """The error is that of a deleted deployment, on which a split acts, not of an overload."""

    async def main(b):
        await b.update("a")
        await b.call("1", "2")
        await b.update("a", state="absent", reason="it was deleted", queue=0)
        assert not b.calls["2"].done()
        await b.update(state="absent", reason="it was deleted", queue=0)
        with pytest.raises(DeploymentUnavailableError, match="it was deleted"):
            await b.calls["2"]
        await b.answer("1")
        await b.calls["1"]

    bench(main)


def test_closing_fails_everyone(bench):
    """The end of a process fails every waiting call."""

    async def main(b):
        await b.update("a")
        await b.call("1", "2")
        await b.router.close()
        with pytest.raises(ReplicaUnavailableError):
            await b.calls["1"]
        with pytest.raises(DeploymentUnavailableError, match="shutting down"):
            await b.calls["2"]

    bench(main)


class Told(RoundRobin):
    """A policy that records its events, which must come in pairs for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def started(self, call, replica):
        self.heard.append(f"started {bytes(call.payload[0]).decode()}@{replica.replica_id}")

    def finished(self, call, replica, outcome):
        self.heard.append(f"{outcome.kind} {bytes(call.payload[0]).decode()}@{replica.replica_id}")

    def left(self, replica):
        self.heard.append(f"left {replica.replica_id}")


def test_a_policy_is_told_how_each_call_went(run, monkeypatch):
    """Started, then exactly once finished, with the outcome; and of a replica that is gone."""

    async def main():
        monkeypatch.setitem(POLICIES, "told", lambda: policy)
        policy = Told()
        b = Bench()
        await b.update("a", "b", room=2, policy="told")
        b.far.full = {"a"}
        await b.call("1")
        await b.answer("1")
        await b.call("2")
        b.far.connections["b"].break_off()
        await settle()
        assert policy.heard == [
            "started 1@a", "rejected 1@a", "started 1@b", "success 1@b",
            "started 2@b", "lost 2@b",
        ]  # fmt: skip
        await b.update("a", policy="told")
        assert policy.heard[-1] == "left b"
        await b.router.close()
        await asyncio.gather(*b.calls.values(), return_exceptions=True)

    run(main)


def test_a_change_of_policy_keeps_each_call_with_its_own(run, monkeypatch):
    """The policy that has chosen gets the end of its call; a new policy gets its own calls only."""

    async def main():
        before, after = Told(), Told()
        monkeypatch.setitem(POLICIES, "before", lambda: before)
        monkeypatch.setitem(POLICIES, "after", lambda: after)
        b = Bench()
        await b.update("a", room=5, policy="before")
        await b.call("1")
        await b.update("a", room=5, policy="after")
        await b.call("2")
        await b.answer("1", "2")
        assert before.heard == ["started 1@a", "success 1@a"]
        assert after.heard == ["started 2@a", "success 2@a"]
        await b.router.close()

    run(main)


@pytest.mark.parametrize("broken", ["started", "finished"])
def test_a_policy_that_raises_costs_nobody_a_slot(run, monkeypatch, caplog, broken):
    """A policy's observing methods may raise: the log has a line, calls and counters go on."""

    class Broken(RoundRobin):
        pass

    def fail(self, *what):
        raise RuntimeError("a bug of the policy")

    setattr(Broken, broken, fail)

    async def main():
        monkeypatch.setitem(POLICIES, "broken", Broken)
        b = Bench()
        await b.update("a", policy="broken")
        await b.call("1", "2")
        await b.answer("1")
        await b.answer("2")
        assert [await b.result("1"), await b.result("2")] == ["1", "2"]
        [record] = caplog.records
        told = f"plugin test failed in routing policy broken: {broken} for deployment 'shop#model'"
        assert re.match(told, record.message)
        b.check_clean()
        await b.router.close()

    run(main)


def test_a_policy_that_cannot_choose_answers_the_call(run, monkeypatch):
    """The policy's error is raised to the caller, in the queue too; nothing is left."""

    class Broken(RoundRobin):
        def choose(self, call, replicas):
            raise RuntimeError("a bug of the policy")

    async def main():
        monkeypatch.setitem(POLICIES, "broken", Broken)
        b = Bench()
        await b.call("1")
        await b.update("a", policy="broken")
        await b.call("2")
        for name in "12":
            told = "shop#model: routing policy 'broken' of plugin 'test' raised RuntimeError: a bug"
            with pytest.raises(PluginError, match=told):
                await b.calls[name]
        b.check_clean()
        await b.router.close()

    run(main)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), policy=st.sampled_from(sorted(POLICIES)))
def test_invariants_under_anything(run_anything, seed: int, policy: str):
    """In any order of events the counters add up, and no call waits beside a free replica."""
    run_anything(seed, policy)


@pytest.fixture(scope="module")
def run_anything():
    def run_once(seed: int, policy: str) -> None:
        FakeClock().run(anything(random.Random(seed), policy))

    return run_once


EVENTS = [
    *["call"] * 4, *["answer"] * 2, "cancel", "reject", "load", "break", "add", "drop", "goaway",
    "repeatable", "mute", "speak", *["wait"] * 2,
]  # fmt: skip


async def anything(rng: random.Random, policy: str) -> None:
    b = Bench()
    replicas: list[str] = []
    room = {}
    made = 0
    known = snapshot()
    for step in range(60):
        event = rng.choice(EVENTS)
        connections = [c for c in b.far.connections.values() if c.transport]
        if event == "call":
            made += 1
            await b.call(*(f"{made}.{n}" for n in range(rng.randint(1, 4))))
        elif event == "repeatable":
            made += 1
            call = Call("python", (b"%d" % made,), idempotent=True)
            b.calls[f"{made}"] = asyncio.create_task(b.router.call(call))
        elif event in ("answer", "reject") and b.far.open:
            stream = rng.choice(b.far.open)
            if stream.connection.replica_id not in b.far.mute:
                getattr(stream, event)()
        elif event == "mute" and connections:
            b.far.mute.add(rng.choice(connections).replica_id)
        elif event == "speak" and b.far.mute:
            name = rng.choice(sorted(b.far.mute))
            b.far.mute.remove(name)
            b.far.connections[name].ping()
        elif event == "wait":
            await asyncio.sleep(rng.uniform(0.1, 4))
        elif event == "cancel" and b.calls:
            rng.choice(list(b.calls.values())).cancel()
        elif event == "load" and connections:
            rng.choice(connections).on_load()
        elif event == "break" and connections:
            rng.choice(connections).break_off()
        elif event == "goaway" and connections and rng.random() < 0.3:
            rng.choice(connections).on_goaway()
        elif event in ("add", "drop"):
            if event == "add" and len(replicas) < 4:
                replicas.append(f"r{step}")
            elif event == "drop" and replicas:
                replicas.remove(rng.choice(replicas))
            room = {"room": rng.randint(1, 3)}
            before, known = (
                known,
                replace(snapshot(*replicas, queue=6, policy=policy, **room), version=step),
            )
            # The first time everything, and later again and again.
            whole = b.router._version != before.version or rng.random() < 0.2
            b.router.update(known if whole else delta(before, known))
        await settle()
        check_invariants(b)
    b.far.mute.clear()
    for connection in b.far.connections.values():
        if connection.transport:
            connection.ping()
            connection.on_load()
    while b.far.open:
        b.far.open[0].answer()
        await settle()
        check_invariants(b)
    if not b.router.queued:
        b.check_clean()
    await b.router.close()
    outcomes = await asyncio.gather(*b.calls.values(), return_exceptions=True)
    expected = (Reply, BackPressureError, ReplicaUnavailableError, DeploymentUnavailableError,
                asyncio.CancelledError)  # fmt: skip
    assert not [outcome for outcome in outcomes if not isinstance(outcome, expected)]


def check_invariants(b: Bench) -> None:
    router = b.router
    by_replica = {c.replica_id: len(c.streams) for c in b.far.connections.values() if c.transport}
    assert router.in_flight == len(b.far.open)
    for load in router.replicas:
        assert load.in_flight == by_replica[load.replica_id]
    assert len({load.replica_id for load in router.replicas}) == len(router.replicas)
    if any(load.free for load in router.replicas):
        assert not router.queued
    waiting = [task for task in b.calls.values() if not task.done()]
    assert len(waiting) == router.queued + router.in_flight
    usable = {
        link.replica_id
        for link in router._replicas.links.values()
        if link.connection is not None and not link.leaving
    }
    ready = {load.replica_id for load in router.replicas}
    out = {link.replica_id for link in router._replicas._ejected}
    assert ready | out == usable
    assert not ready & out
    assert len(ready) >= len(out)


def test_the_queue(run):
    """Calls join at the end or the front, and leave from anywhere."""

    async def main():
        queue: WaitingCalls[str] = WaitingCalls()
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(4)]
        calls = [Call("python", (bytes([n]),)) for n in range(4)]
        for n in (0, 1, 2):
            queue.add(calls[n], futures[n], front=False)
        queue.add(calls[3], futures[3], front=True)
        assert (len(queue), queue.peek_oldest()) == (4, (calls[3], futures[3]))
        queue.remove(futures[3])
        queue.remove(futures[1])
        queue.remove(futures[1])
        assert (len(queue), queue.peek_oldest()) == (2, (calls[0], futures[0]))
        futures[0].set_result("sent meanwhile")
        queue.fail_all(RuntimeError("no more"))
        assert (len(queue), queue.peek_oldest()) == (0, None)
        with pytest.raises(RuntimeError, match="no more"):
            await futures[2]

    run(main)


def test_a_delta_changes_what_it_names(bench):
    """Replicas come, change and go; the others are not touched, and calls there go on."""

    async def main(b):
        first = replace(snapshot("a", "b", "c"), version=5)
        b.router.update(first)
        await settle()
        await b.call("1")
        kept = b.far.connections["a"]
        second = replace(snapshot("a", "c", "d", room=2), version=6)
        second = replace(second, replicas=(*first.replicas[:1], *second.replicas[1:]))
        b.router.update(delta(first, second))
        await settle()
        assert b.far.attempts == 4
        assert b.far.connections["a"] is kept
        assert not kept.closed
        assert b.far.connections["b"].closed
        rooms = {load.replica_id: load.max_ongoing for load in b.router.replicas}
        assert rooms == {"a": 1, "c": 2, "d": 2}

    bench(main)


def test_a_delta_that_does_not_fit_is_refused(bench):
    """A delta to another version is refused, and a whole snapshot is needed."""

    async def main(b):
        one, two, three = (
            replace(snapshot(*names), version=n) for n, names in enumerate(["a", "ab", "abc"])
        )
        b.router.update(one)
        with pytest.raises(ValueError, match="a delta to version 1 cannot be applied to version 0"):
            b.router.update(delta(two, three))
        b.router.update(delta(one, three))
        await settle()
        assert {load.replica_id for load in b.router.replicas} == set("abc")

    bench(main)
