"""Reports to observers and policies: each call ends once, with its outcome and its times."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alacarte._routing.builtin_policies import RoundRobin
from alacarte._wire.caller_connection import ConnectionLost
from alacarte.errors import ErrorCode, PluginError, ServeError
from alacarte.types import Outcome, ReplicaLoad, Reply, RouterObserver

from .support import POLICIES, Bench, settle


def times(outcome: Outcome) -> tuple[float | None, float]:
    """Return when the reply began and the call ended, to the millisecond."""
    first = outcome.first_part_s
    return None if first is None else round(first, 3), round(outcome.total_s, 3)


def name(call: Any) -> str:
    return bytes(call.payload[0]).decode()


class Noted(RouterObserver):
    """An observer that records its events."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.outcomes: dict[str, Outcome] = {}

    def began(self, call):
        self.heard.append(f"began {name(call)}")

    def queued(self, call):
        self.heard.append(f"queued {name(call)}")

    def sent(self, call, replica):
        self.heard.append(f"sent {name(call)}@{replica.replica_id}")

    def rejected(self, call, replica):
        self.heard.append(f"rejected {name(call)}@{replica.replica_id}")

    def retried(self, call, replica):
        self.heard.append(f"retried {name(call)}@{replica.replica_id}")

    def first_part(self, call, replica):
        self.heard.append(f"first_part {name(call)}@{replica.replica_id}")

    def ended(self, call, replica, outcome):
        at = replica.replica_id if replica else "-"
        self.heard.append(f"{outcome.kind} {name(call)}@{at}")
        assert name(call) not in self.outcomes, "ended twice"
        self.outcomes[name(call)] = outcome

    def broadcast(self, call, replicas):
        self.heard.append(f"broadcast {name(call)}@{'+'.join(r.replica_id for r in replicas)}")

    def joined(self, replica):
        self.heard.append(f"joined {replica.replica_id}")

    def left(self, replica):
        self.heard.append(f"left {replica.replica_id}")

    def ejected(self, replica):
        self.heard.append(f"ejected {replica.replica_id}")

    def restored(self, replica):
        self.heard.append(f"restored {replica.replica_id}")


@pytest.fixture
def observed(run):
    """Run a test with a bench and its observer; each of its calls must have ended once."""

    def go(test: Any, **options: Any) -> None:
        async def main() -> None:
            noted = Noted()
            b = Bench(observer=noted, **options)
            await test(b, noted)
            await b.router.close()
            await asyncio.gather(*b.calls.values(), return_exceptions=True)
            assert noted.outcomes.keys() == b.calls.keys()
            assert not b.router._calls._open

        run(main)

    return go


def test_without_an_observer(run):
    """A router with a core policy and without a plugin has no listener."""

    async def main():
        b = Bench()
        await b.update("a", policy="power_of_two")
        assert b.router._listener is None
        assert b.router.service == b.router.call
        await b.call("1")
        assert b.far.open[0].on_reply is None
        await b.answer("1")
        await b.router.close()

    run(main)


def test_a_call_that_succeeds(observed):
    """A call is reported as begun, sent and ended; a single reply began when it ended."""

    async def test(b, noted):
        await b.update("a")
        await b.call("1")
        await asyncio.sleep(2.0)
        await b.answer("1")
        assert noted.heard == ["joined a", "began 1", "sent 1@a", "success 1@a"]
        assert times(noted.outcomes["1"]) == (2.0, 2.0)
        assert noted.outcomes["1"].ok

    observed(test)


def test_a_call_that_waits(observed):
    """Queued, and sent when a slot frees; its time counts from its beginning."""

    async def test(b, noted):
        await b.update("a", room=1)
        await b.call("1", "2")
        await asyncio.sleep(1.0)
        await b.answer("1")
        await asyncio.sleep(1.0)
        await b.answer("2")
        assert noted.heard[3:] == ["began 2", "queued 2", "success 1@a", "sent 2@a", "success 2@a"]
        assert times(noted.outcomes["2"]) == (2.0, 2.0)

    observed(test)


def test_a_refusal_by_a_replica(observed):
    """A call that is rejected and then sent to another replica is one call."""

    async def test(b, noted):
        await b.update("a", "b", room=2)
        b.far.full = {"a"}
        await b.call("1")
        await b.answer("1")
        assert noted.heard[2:] == [
            "began 1", "sent 1@a", "rejected 1@a", "sent 1@b", "success 1@b",
        ]  # fmt: skip

    observed(test)


def test_a_lost_replica(observed):
    """The idempotent call is retried; the other one ends, and is no success."""

    async def test(b, noted):
        await b.update("a", "b", room=2)
        b.options = {"idempotent": True}
        await b.call("1")
        b.options = {}
        b.far.connections["a"].break_off()
        await settle()
        await b.call("2")
        b.far.connections["b"].break_off()
        await settle()
        assert noted.heard.index("retried 1@a") < noted.heard.index("sent 1@b")
        for outcome in noted.outcomes.values():
            assert outcome.kind == "error"
            assert outcome.code is ErrorCode.UNAVAILABLE
            assert outcome.error_type == "ReplicaUnavailableError"

    observed(test)


def test_errors_of_the_code(observed):
    """The exception's type, and the neutral code of a plugin's own error of requests."""

    async def test(b, noted):
        await b.update("a", room=3)
        await b.call("1")
        b.far.open[0].fail(ZeroDivisionError("x"))
        await settle()
        assert noted.heard[-1] == "error 1@a"
        assert noted.outcomes["1"].error_type == "ZeroDivisionError"
        assert noted.outcomes["1"].code is ErrorCode.INTERNAL
        assert noted.outcomes["1"].first_part_s is None

    observed(test)


def test_calls_without_a_free_replica(observed):
    """Back pressure, a deployment that is gone, a policy that fails: ended without a replica."""

    class Broken(RoundRobin):
        def choose(self, call, replicas):
            raise PluginError("a bug")

    async def test(b, noted):
        await b.update("a", queue=1)
        await b.call("1", "2", "3")
        assert noted.heard[-1] == "error 3@-"
        assert noted.outcomes["3"].code is ErrorCode.RESOURCE_EXHAUSTED
        await b.answer("1")
        await b.answer("2")
        await b.update(state="failed", reason="it failed to start")
        await b.call("4")
        assert noted.outcomes["4"].code is ErrorCode.UNAVAILABLE
        assert noted.outcomes["4"].error_type == "DeploymentUnavailableError"

    observed(test)


def test_a_caller_that_gives_up(observed):
    """A cancelled call, queued or in flight, is reported; a deadline is named as the reason."""

    async def test(b, noted):
        await b.update("a", room=2)
        await b.call("1")
        b.options = {"deadline": asyncio.get_running_loop().time() + 1.0}
        await b.call("2")
        b.options = {}
        await b.call("3")
        b.calls["1"].cancel()
        b.calls["3"].cancel()
        await asyncio.sleep(1.5)
        b.calls["2"].cancel()  # as the layer of deadlines does
        await settle()
        assert noted.outcomes["1"].kind == noted.outcomes["3"].kind == "cancelled"
        assert noted.outcomes["1"].code is ErrorCode.CANCELLED
        assert noted.outcomes["2"].kind == "error"
        assert noted.outcomes["2"].code is ErrorCode.DEADLINE_EXCEEDED

    observed(test)


def begin_reply(stream: Any) -> None:
    stream.reply.set_result(Reply((b"",), object()))
    stream.on_reply()


def test_a_reply_that_streams(observed):
    """The first part has its time, and the call ends when the stream does."""

    async def test(b, noted):
        await b.update("a", room=3)
        b.options = {"streaming": True}
        await b.call("1", "2", "3")
        await asyncio.sleep(1.0)
        whole, broken, left = b.far.open
        for stream in (whole, broken, left):
            begin_reply(stream)
        await settle()
        assert all(call.done() for call in b.calls.values())
        assert not noted.outcomes
        await asyncio.sleep(2.0)
        whole._end()
        broken.fail(ZeroDivisionError())
        left.cancel()
        assert noted.heard.count("first_part 1@a") == 1
        assert noted.outcomes["1"].ok
        assert times(noted.outcomes["1"]) == (1.0, 3.0)
        assert noted.outcomes["2"].kind == "error"
        assert times(noted.outcomes["2"]) == (1.0, 3.0)
        assert noted.outcomes["3"].kind == "cancelled"

    observed(test)


def test_a_reply_that_stands_for_an_error(observed):
    """The protocol of the call decides which reply is an error, such as an HTTP status of 500."""

    async def test(b, noted):
        await b.update("a")
        await b.call("1")
        await b.answer("1")
        assert noted.outcomes["1"].kind == "error"
        assert noted.outcomes["1"].code is ErrorCode.INTERNAL

    observed(test, failure_code=lambda call, reply: ErrorCode.INTERNAL)


def test_replicas_and_broadcasts(observed):
    """Replicas that join, are ejected, restored and leave are reported, and so are broadcasts."""

    async def test(b, noted):
        await b.update("a", "b", room=2)
        broadcast = asyncio.ensure_future(b.router.broadcast(_call()))
        await settle()
        assert noted.heard == ["joined a", "joined b", "broadcast all@a+b"]
        for stream in list(b.far.open):
            stream.answer()
        await broadcast
        b.far.mute = {"a"}
        b.options = {"idempotent": True}
        await b.call("1")
        await asyncio.sleep(10.0)
        assert "ejected a" in noted.heard
        assert "retried 1@a" in noted.heard
        b.far.mute = set()
        b.far.connections["a"].say()
        await asyncio.sleep(1.0)
        assert "restored a" in noted.heard
        await b.answer("1")
        await b.update("b")
        assert noted.heard[-1] == "left a"

    observed(test)


def _call() -> Any:
    from alacarte.types import Call

    return Call("python", (b"all",))


class Keen(RoundRobin):
    """A policy that writes down the outcomes."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[tuple[str, Outcome]] = []

    def finished(self, call, replica: ReplicaLoad, outcome: Outcome) -> None:
        self.outcomes.append((replica.replica_id, outcome))


def test_a_policy_gets_outcomes(run, monkeypatch):
    """The policy gets an outcome for each replica that had the call, with its seconds there."""

    async def main():
        keen = Keen()
        monkeypatch.setitem(POLICIES, "keen", lambda: keen)
        b = Bench()
        await b.update("a", "b", room=3, policy="keen")
        b.far.full = {"a"}
        await b.call("1")
        await asyncio.sleep(1.0)
        await b.answer("1")
        b.far.full = set()
        await b.call("2")
        b.far.open[0].fail(ServeError("x"))
        await b.call("3")
        b.calls["3"].cancel()
        await b.call("4")
        b.far.open[0].abandon(ConnectionLost("it has stopped answering"))
        await settle()
        assert [outcome.kind for _, outcome in keen.outcomes] == [
            "rejected", "success", "error", "cancelled", "unanswered",
        ]  # fmt: skip
        assert times(keen.outcomes[1][1]) == (1.0, 1.0)
        await b.router.close()
        await asyncio.gather(*b.calls.values(), return_exceptions=True)

    run(main)
