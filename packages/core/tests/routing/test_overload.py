"""Overload and lost capacity, in virtual time: accepted calls succeed, others fail at once.

Calls arrive on a schedule, whether or not earlier ones have ended, as those of real clients do.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from alacarte._routing.builtin_policies import PowerOfTwo
from alacarte._routing.router import Router
from alacarte.actors import DeploymentSnapshot
from alacarte.errors import BackPressureError, DeadlineExceededError
from alacarte.types import Call, Reply, Service

from .support import HERE, FakeConnection, FakeStream, Far, choose_by, settle, snapshot

pytestmark = pytest.mark.once

SLOTS = 5
SERVICE_S = 0.02
CAPACITY = SLOTS / SERVICE_S


class Working(Far):
    """Far ends that take `SERVICE_S` for a call, `SLOTS` at a time each; none while `stuck`."""

    def __init__(self, rng: random.Random, spread: float = 0.2) -> None:
        super().__init__()
        self.rng = rng
        self.spread = spread
        self.stuck = False

    async def connect(self, replica_id: str, address: Any) -> FakeConnection:
        connection = await super().connect(replica_id, address)
        send = connection.open

        def open_and_work(call: Call, done: Any) -> FakeStream:
            stream = send(call, done)
            took = SERVICE_S * self.rng.uniform(1 - self.spread, 1 + self.spread)
            asyncio.get_running_loop().call_later(took, self._answer, stream)
            return stream

        connection.open = open_and_work  # type: ignore[method-assign]
        return connection

    def _answer(self, stream: FakeStream) -> None:
        if stream.done is not None and not self.stuck:
            stream.answer()


def virtual_deadline(service: Service) -> Service:
    """The deadline layer, on the loop's clock."""

    async def serve(call: Call) -> Reply:
        try:
            async with asyncio.timeout_at(call.deadline):
                return await service(call)
        except TimeoutError as error:
            if isinstance(error, DeadlineExceededError):
                raise
            raise DeadlineExceededError(str(HERE), 0) from None

    return serve


@dataclass
class Outcome:
    """The outcome of one call: when it was due, and its duration."""

    due: float
    took: float
    error: BaseException | None


@dataclass
class Trial:
    """A router under load, with all random numbers from one seed."""

    router: Router
    far: Working
    service: Service
    rng: random.Random
    outcomes: list[Outcome] = field(default_factory=list)
    calls: set[asyncio.Task[None]] = field(default_factory=set)

    async def load(self, rate: float, seconds: float, timeout_s: float | None) -> None:
        """Make calls at random times, so many a second on average."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        end = due + seconds
        while (due := due + self.rng.expovariate(rate)) < end:
            await asyncio.sleep(due - loop.time())
            call = Call("python", (b"x",))
            if timeout_s is not None:
                call.deadline, call.timeout_s = loop.time() + timeout_s, timeout_s
            task = loop.create_task(self._call(call, due))
            self.calls.add(task)
            task.add_done_callback(self.calls.discard)

    async def _call(self, call: Call, due: float) -> None:
        error: BaseException | None = None
        try:
            await self.service(call)
        except (BackPressureError, DeadlineExceededError) as raised:
            error = raised
        loop = asyncio.get_running_loop()
        self.outcomes.append(Outcome(due, loop.time() - due, error))

    async def end(self) -> None:
        await asyncio.gather(*self.calls)
        assert (self.router.queued, self.router.in_flight) == (0, 0)
        await self.router.close()
        await settle()


def start(seed: int, spread: float = 0.2, queue: int = 1024) -> Trial:
    rng = random.Random(seed)
    far = Working(rng, spread)
    loop = asyncio.get_running_loop()
    policies = {"power_of_two": lambda: PowerOfTwo(rng)}
    router = Router(HERE, choose_by(policies), far.connect, "node", clock=loop.time)
    router.update(replicas("a", queue=queue))
    return Trial(router, far, virtual_deadline(router.call), rng)


def replicas(*names: str, room: int = SLOTS, queue: int = 1024) -> DeploymentSnapshot:
    return snapshot(*names, room=room, queue=queue, policy="power_of_two")


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


@pytest.mark.parametrize("timeout_s", [0.1, 1.0])
@pytest.mark.parametrize(("times", "least"), [(3, 0.9), (10, 0.75)])
def test_overload_costs_no_goodput(run, times, least, timeout_s):
    """Under a multiple of its capacity, a replica completes nearly as much as it can.

    Though its calls have little time, and the queue would hold more than that time allows.
    """

    async def main():
        trial = start(times)
        await settle()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await trial.load(times * CAPACITY, 5, timeout_s)
        await trial.end()
        good = [o for o in trial.outcomes if o.error is None and o.due - began >= 2]
        assert len(good) / 3 >= least * CAPACITY

    run(main)


def test_refused_calls_fail_at_once(run):
    """A refused call fails at once, with the time that the queue takes, at least a second."""

    async def main():
        trial = start(1, queue=500)
        await settle()
        await trial.load(3 * CAPACITY, 5, None)
        await trial.end()
        refused = [o for o in trial.outcomes if isinstance(o.error, BackPressureError)]
        assert len(refused) > 1000
        assert max(o.took for o in refused) < 0.001
        told = [o.error.retry_after_s for o in refused[-100:]]  # type: ignore[union-attr]
        assert all(500 / CAPACITY * 0.8 <= each <= 500 / CAPACITY * 1.2 for each in told)
        assert max(o.took for o in trial.outcomes) <= 2 * (500 / CAPACITY + SERVICE_S)

    run(main)


def test_a_call_that_cannot_be_in_time_is_refused_at_once(run):
    """The error names time and queue; a call with a longer timeout is accepted."""

    async def main():
        trial = start(1)
        await settle()
        await trial.load(2 * CAPACITY, 3, None)
        waiting = trial.router.queued
        assert 500 < waiting < 1024
        loop = asyncio.get_running_loop()
        brief = Call("python", (b"x",), deadline=loop.time() + 0.5, timeout_s=0.5)
        with pytest.raises(
            BackPressureError,
            match=rf"shop#model: {waiting} requests wait; the timeout of this request would expire "
            r"in 0\.5 s, before its turn; retry in \d",
        ):
            await trial.router.call(brief)
        long = Call("python", (b"x",), deadline=loop.time() + 60, timeout_s=60)
        await trial.router.call(long)
        await trial.end()

    run(main)


def test_no_call_is_refused_for_its_deadline_without_replicas(run):
    """Without a replica no call is refused for its deadline, however long the queue."""

    async def main():
        trial = start(1)
        await settle()
        await trial.load(2 * CAPACITY, 3, None)
        trial.router.update(replicas())
        await settle()
        waiting = trial.router.queued
        brief = Call("python", (b"x",), deadline=asyncio.get_running_loop().time() + 0.5)
        answered = asyncio.create_task(trial.router.call(brief))
        await settle()
        assert trial.router.queued == waiting + 1 > 500
        trial.router.update(replicas("b", room=2000))
        await answered
        await trial.end()

    run(main)


def test_an_expired_call_reaches_no_replica(run):
    """An expired call leaves the queue at once, and the next call takes its turn."""

    async def main():
        trial = start(1)
        trial.router.update(replicas("a", room=1))
        await settle()
        loop = asyncio.get_running_loop()
        trial.far.stuck = True
        first = asyncio.create_task(trial.router.call(Call("python", (b"1",))))
        await settle()
        brief = Call("python", (b"2",), deadline=loop.time() + 0.3, timeout_s=0.3)
        over = asyncio.create_task(trial.service(brief))
        behind = asyncio.create_task(trial.router.call(Call("python", (b"3",))))
        began = loop.time()
        with pytest.raises(DeadlineExceededError):
            await over
        assert loop.time() - began == pytest.approx(0.3, abs=0.001)
        assert trial.router.queued == 1
        trial.far.stuck = False
        trial.far.open[0].answer()
        await asyncio.gather(first, behind)
        assert trial.far.names() == ["1@a", "3@a"]
        await trial.end()

    run(main)


def test_after_overload_all_is_as_before(run):
    """Two seconds after an overload, calls take as long as before, and none fails."""

    async def main():
        trial = start(4)
        await settle()
        await trial.load(3 * CAPACITY, 5, 0.5)
        loop = asyncio.get_running_loop()
        over = loop.time()
        await trial.load(0.8 * CAPACITY, 8, 0.5)
        await trial.end()
        after = [o for o in trial.outcomes if o.due >= over + 2]
        assert [o.error for o in after if o.error] == []
        assert quantile([o.took for o in after], 0.99) <= 6 * SERVICE_S

    run(main)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_capacity_lost_for_two_seconds(run, share):
    """No call fails, and three seconds later latencies are as before.

    The overload does not outlast its cause.
    """

    async def main():
        trial = start(5)
        await settle()
        loop = asyncio.get_running_loop()

        async def take_away():
            await asyncio.sleep(5)
            trial.router.update(replicas())
            await asyncio.sleep(2)
            trial.router.update(replicas("b"))
            return loop.time()

        began = loop.time()
        taking = asyncio.create_task(take_away())
        await trial.load(share * CAPACITY, 30, 30.0)
        back = await taking
        await trial.end()
        assert [o.error for o in trial.outcomes if o.error] == []
        before = quantile([o.took for o in trial.outcomes if o.due < began + 5], 0.99)
        # What came meanwhile is worked off with what the load leaves: at 80 %, four times as long.
        calm = back + 3 + 2 * share / (1 - share)
        after = [o.took for o in trial.outcomes if o.due >= calm]
        assert quantile(after, 0.99) <= 1.5 * before

    run(main)
