"""Unresponsive replicas: detected, ejected, reported, and restored by their first byte.

On connections that are not there, in virtual time.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from alacarte._routing.ejection import max_ejected
from alacarte._routing.router import Router
from alacarte.errors import ReplicaUnavailableError
from alacarte.types import Call

from .support import HERE, POLICIES, Bench, benches, choose_by, settle, snapshot


class Watched(Bench):
    """A bench that records the reports to the controller."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[float, str]] = []
        loop = asyncio.get_running_loop()
        self.router = Router(
            HERE,
            choose_by(POLICIES),
            self.far.connect,  # type: ignore[arg-type]
            "node",
            clock=loop.time,
            on_suspect=lambda replica_id, reason: self.told.append((loop.time(), replica_id)),
        )

    def ready(self) -> set[str]:
        return {load.replica_id for load in self.router.replicas}

    def idempotent(self, name: str) -> None:
        call = Call("python", (name.encode(),), idempotent=True)
        self.calls[name] = asyncio.create_task(self.router.call(call))


@pytest.fixture
def bench(run):
    return benches(run, Watched)


async def until(condition: Any, limit_s: float) -> float:
    """Return after how many seconds `condition` holds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)
    return loop.time() - began


def test_an_unresponsive_replica_is_ejected_within_two_seconds(bench):
    """Later calls go to other replicas; calls in flight stay, and may be answered."""

    async def main(b):
        await b.update("a", "b", room=5)
        await b.call("1", "2")
        b.far.mute = {"a"}
        b.far.connections["b"].streams[0].answer()
        assert await until(lambda: b.ready() == {"b"}, 3) <= 2.01
        await b.call("3", "4", "5")
        assert b.far.names() == ["1@a", "2@b", "3@b", "4@b", "5@b"]
        b.far.connections["a"].streams[0].answer()
        assert await b.result("1") == "1"

    bench(main)


def test_the_first_byte_restores_a_replica(bench):
    """The answer to the PING restores the replica, and a waiting call is sent to it."""

    async def main(b):
        await b.update("a", "b", room=1)
        await b.call("1", "2")
        b.far.mute = {"a"}
        hung = b.far.connections["a"]
        await until(lambda: b.ready() == {"b"}, 3)
        hung.streams[0].answer()  # it goes on
        await b.call("3")
        assert b.router.queued == 1
        hung.say()
        hung.on_pong()
        assert b.ready() == {"a", "b"}
        await settle()
        assert b.far.names()[2:] == ["3@a"]

    bench(main)


def test_a_restored_replica_gets_waiting_calls(bench):
    """When the only other replica leaves, a waiting call goes to the restored one."""

    async def main(b):
        await b.update("a", "b", room=2)
        await b.call("1", "2")
        b.far.mute = {"a"}
        hung, other = b.far.connections["a"], b.far.connections["b"]
        await until(lambda: b.ready() == {"b"}, 3)
        await b.call("3", "4")
        assert b.router.queued == 1
        other.on_goaway()
        await settle()
        assert b.ready() == {"a"}
        assert b.router.queued == 0
        assert b.far.names()[-1] == "4@a"
        await b.answer("1", "2", "3", "4")
        assert not hung.streams

    bench(main)


def test_a_slow_replica_that_answers_the_ping_stays(bench):
    """Long calls do not eject a replica that answers; an idle replica gets no PING."""

    async def main(b):
        await b.update("a", "b", "idle", room=5)
        b.far.mute = {"idle"}
        await b.call("1", "2")
        await asyncio.sleep(60)
        assert b.ready() == {"a", "b", "idle"}
        assert b.told == []
        assert b.far.connections["idle"].pings == 0
        # About one PING a second, and none to a replica that has nothing to do.
        assert 40 <= b.far.connections["a"].pings <= 80
        await b.answer("1", "2")
        pings = b.far.connections["a"].pings
        await asyncio.sleep(60)
        assert b.far.connections["a"].pings == pings

    bench(main)


def test_idle_connections_cost_nothing(bench):
    """Without calls in flight there is no timer, so virtual time has no next event."""

    async def main(b):
        await b.update("a", "b", room=5)
        await b.call("1")
        await b.answer("1")
        await asyncio.sleep(1)
        assert not b.router._sweep.awake

    bench(main)


def test_a_replica_that_stopped_while_idle_is_found_by_the_next_call(bench):
    """The rounds are counted from the next call on, since nothing was due before."""

    async def main(b):
        await b.update("a", "b", room=5)
        b.far.mute = {"a", "b"}
        await asyncio.sleep(100)
        assert b.ready() == {"a", "b"}
        await b.call("1")
        assert await until(lambda: b.ready() == {"b"}, 3) <= 2.26

    bench(main)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_half_of_the_replicas_stay(bench, count):
    """If no replica answers, the cause may be this process: half of them still get calls."""

    async def main(b):
        names = [chr(ord("a") + n) for n in range(count)]
        b.far.mute = set(names)
        await b.update(*names, room=1)
        await b.call(*map(str, range(count)))
        await asyncio.sleep(5)
        assert len(b.ready()) == count - max_ejected(count)
        assert {name for _, name in b.told} == set(names)

    bench(main)


def test_ejected_replicas_are_restored_as_others_go(bench):
    """Of two replicas, an ejected one is restored as soon as the other has gone."""

    async def main(b):
        await b.update("a", "b", room=5)
        b.far.mute = {"a"}
        await b.call("1", "2")
        await b.answer("2")
        await until(lambda: b.ready() == {"b"}, 3)
        await b.update("a", room=5)
        assert b.ready() == {"a"}

    bench(main)


def test_reports_to_the_controller_are_repeated(bench):
    """A report comes at once, and then every five seconds while the replica is unresponsive."""

    async def main(b):
        loop = asyncio.get_running_loop()
        await b.update("a", "b", room=5)
        b.far.mute = {"a"}
        began = loop.time()
        await b.call("1", "2")
        await b.answer("2")
        await asyncio.sleep(13)
        assert [name for _, name in b.told] == ["a"] * 3
        assert b.told[0][0] - began <= 2.01
        assert b.told[2][0] - b.told[0][0] == pytest.approx(10, abs=0.1)

    bench(main)


def test_idempotent_calls_leave_an_unresponsive_replica(bench):
    """An idempotent call is retried; other calls, and replies that have begun, stay."""

    async def main(b):
        await b.update("a", "b", room=5)
        b.far.mute = {"a"}
        b.idempotent("1")
        await settle()
        await b.call("2")
        b.idempotent("3")
        await settle()
        assert b.far.names() == ["1@a", "2@b", "3@a"]
        used = b.far.connections["a"].streams[1]
        used.is_repeatable = False  # its body has been read
        await b.answer("2")
        await until(lambda: b.ready() == {"b"}, 3)
        await settle()
        assert b.far.names()[3:] == ["1@b"]
        assert b.far.sent[0].cancelled
        await b.answer("1")
        assert await b.result("1") == "1"
        assert used.done is not None

    bench(main)


def test_an_unresponsive_removed_replica_is_aborted(bench):
    """Half a minute later they fail: a frozen machine does not even close its connections."""

    async def main(b):
        await b.update("a", "b", room=5)
        b.far.mute = {"a"}
        await b.call("1", "2")
        await b.answer("2")
        await until(lambda: b.ready() == {"b"}, 3)
        await b.update("b", room=5)
        await asyncio.sleep(20)
        assert not b.calls["1"].done()
        await asyncio.sleep(12)
        with pytest.raises(ReplicaUnavailableError, match="replica a"):
            await b.calls["1"]

    bench(main)


def test_connections_that_break_again_and_again(bench):
    """The third consecutive break with calls in flight ejects for a second, the next for two."""

    async def main(b):
        loop = asyncio.get_running_loop()
        await b.update("a", "b", room=1000)
        for rest_s in (1, 2, 4):
            for _ in range(3):
                await b.call("x", "y")
                b.far.connections["a"].break_off()
                await settle()
            assert b.ready() == {"b"}
            began = loop.time()
            await until(lambda: b.ready() == {"a", "b"}, 40)
            assert 0.74 * rest_s <= loop.time() - began <= 1.02 * rest_s
        for stream in b.far.open:
            stream.answer()
        await settle()
        for _ in range(2):
            await b.call("x", "y")
            b.far.connections["a"].break_off()
            await settle()
        assert b.ready() == {"a", "b"}

    bench(main)


def test_a_connection_that_breaks_idle_is_no_failure(bench):
    """A replica may close the connection of an idle caller."""

    async def main(b):
        await b.update("a", "b")
        for _ in range(10):
            b.far.connections["a"].break_off()
            await settle()
        assert b.ready() == {"a", "b"}

    bench(main)


def test_timeouts_on_an_unresponsive_replica_count(bench):
    """Three timeouts in a row after an unanswered PING eject a replica early."""

    async def main(b):
        loop = asyncio.get_running_loop()
        await b.update("a", "b", room=10)
        b.far.mute = {"a"}
        for n in range(20):
            call = Call("python", (b"x",), deadline=loop.time() + 1.4)
            b.calls[f"{n}"] = asyncio.create_task(b.router.call(call))
        await settle()
        for stream in list(b.far.connections["b"].streams):
            stream.answer()
        await asyncio.sleep(1.4)
        for task in b.calls.values():
            task.cancel()
        await settle()
        assert b.ready() == {"b"}

    bench(main)


def test_exceptions_of_user_code_are_no_failures(bench):
    """A replica whose user code always raises stays."""

    async def main(b):
        await b.update("a", "b", room=5)
        for _ in range(10):
            await b.call("x", "y")
            for stream in b.far.open:
                stream.connection.say()
                stream.fail(ValueError("of the user's"))
            await settle()
        assert b.ready() == {"a", "b"}

    bench(main)


def test_a_broadcast_to_an_unresponsive_replica(bench):
    """A broadcast counts as a call in flight, so an unresponsive replica is detected."""

    async def main(b):
        await b.update("a", "b", room=5)
        b.far.mute = {"a"}
        everyone = asyncio.create_task(b.router.broadcast(Call("python", (b"all",))))
        await settle()
        b.far.connections["b"].streams[0].answer()
        assert await until(functools.partial(lambda: b.ready() == {"b"}), 3) <= 2.01
        b.far.connections["a"].break_off()
        await everyone

    bench(main)


def test_one_sweep_serves_all_routers(run):
    """A process has one timer, for the routers of all deployments."""

    async def main():
        first = Watched()
        sweep = first.router._sweep
        second = Router(
            HERE,
            choose_by(POLICIES),
            first.far.connect,  # type: ignore[arg-type]
            "node",
            sweep=sweep,
        )
        second.update(snapshot("c", "d", room=5))
        await first.update("a", "b", room=5)
        first.far.mute = {"c"}
        calls = [asyncio.create_task(second.call(Call("python", (b"x",)))) for _ in range(2)]
        await settle()
        first.far.connections["d"].streams[0].answer()
        await until(lambda: [load.replica_id for load in second.replicas] == ["d"], 3)
        assert sweep.awake
        await second.close()
        await first.router.close()
        assert not sweep.awake
        await asyncio.gather(*calls, return_exceptions=True)

    run(main)
