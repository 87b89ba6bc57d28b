"""The router, on fake connections and in virtual time, where any timer would show."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from alacarte._model.snapshots import delta
from alacarte._routing.builtin_policies import RoundRobin
from alacarte._routing.router import Router
from alacarte.errors import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)
from alacarte.types import Call, Shed

from .support import HERE, Far, choose_by, settle, snapshot


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


def test_no_call_overtakes_waiting_ones(bench):
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


def test_a_rejected_call_goes_to_another_replica(bench):
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


def test_a_rejected_call_waits_at_the_front(bench):
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


def test_a_replica_that_rejected_gets_no_call_before_load(bench):
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


def test_capacity_lost_and_regained(bench):
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
    """A call cancelled in the iteration in which it gets a slot passes the slot on."""

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


def test_closing_fails_every_call(bench):
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
