"""Health checks and probes, in virtual time; see also `test_managed_replica.py`."""

from __future__ import annotations

import asyncio
from typing import Any

from alacarte._control.health_monitor import HealthMonitor, responds, wait_unresponsive
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte.actors import ActorDied, ActorUnresponsive, Liveness
from alacarte.config import DeploymentConfig
from alacarte.testing import FakeClock
from alacarte.types import DeploymentId

WELL = Liveness(0.1, 0, 0, 5)


class Process:
    """A replica's process.

    Attributes:
        answers_after: So many questions find nobody; None for all of them.
        is_dead: It has ended.
    """

    def __init__(self, answers_after: int | None = 0) -> None:
        self.answers_after = answers_after
        self.is_dead = False
        self.probes = 0
        self.checks = 0

    async def probe_liveness(self) -> Liveness:
        if self.is_dead:
            raise ActorDied("gone")
        self.probes += 1
        if self.answers_after is None or self.probes <= self.answers_after:
            await asyncio.sleep(2)  # the timeout of the stub
            raise ActorUnresponsive("no word")
        return WELL

    async def check_health(self) -> None:
        self.checks += 1


class Replica:
    """A replica that records its calls."""

    def __init__(self) -> None:
        config = DeploymentConfig(health_check_period_s=10, health_check_timeout_s=9)
        self.spec = DeploymentSpec(DeploymentId("a", "D"), "v", b"", b"", False, config)
        self.is_serving = True
        self.failed: list[str] = []
        self.changes = 0

    def fail(self, kind: str, error: Exception) -> None:
        self.failed.append(f"{kind}: {error}")

    def drain(self) -> None:
        self.is_serving = False

    def changed(self) -> None:
        self.changes += 1


def made(answers_after: int | None = 0) -> tuple[Any, Replica, HealthMonitor]:
    replica = Replica()
    return Process(answers_after), replica, HealthMonitor(replica)


async def ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


def test_a_process_that_is_silent_for_long_is_unfit_until_it_answers():
    """Three unanswered probes make the replica unhealthy, and an answer makes it healthy again."""

    async def main() -> None:
        process, replica, monitor = made(answers_after=4)
        monitor.probe(process)
        monitor.probe(process)  # one probe at a time
        await asyncio.sleep(5.9)
        assert monitor.is_healthy
        await asyncio.sleep(0.2)
        assert (monitor.is_healthy, monitor.is_degraded) == (False, True)
        assert monitor.message == "its process has not answered for 6 s"
        assert replica.failed == ["health: its process has not answered for 6 s"]
        await asyncio.sleep(2)
        assert (monitor.is_healthy, monitor.is_degraded, monitor.message) == (True, False, "")
        assert replica.changes == 2
        assert process.probes == 5

    FakeClock().run(main())


def test_a_probe_ends_with_the_service():
    """A draining replica is not probed."""

    async def main() -> None:
        process, replica, monitor = made(answers_after=None)
        monitor.probe(process)
        await asyncio.sleep(7)
        replica.is_serving = False
        await asyncio.sleep(20)
        asked = process.probes
        await asyncio.sleep(100)
        assert process.probes == asked
        monitor.probe(process)
        await asyncio.sleep(100)
        assert process.probes == asked

    FakeClock().run(main())


def test_a_check_waits_for_a_slow_probe():
    """A process that is silent for some seconds has not failed a check that may take longer."""

    async def main() -> None:
        process, replica, monitor = made(answers_after=3)
        monitoring = asyncio.create_task(monitor.monitor(process, has_health_check=True))
        await asyncio.sleep(17.5)  # the first check begins after 9 to 11 s, the second after 18
        await ended(monitoring)
        assert (process.probes, process.checks) == (4, 1)
        assert (monitor.health.failed_in_a_row, replica.failed) == (0, [])

    FakeClock().run(main())


def test_the_end_of_a_process_is_no_failed_check():
    """The death of the process is reported by its owner, not by a failed check."""

    async def main() -> None:
        process, replica, monitor = made()
        process.is_dead = True
        monitoring = asyncio.create_task(monitor.monitor(process, has_health_check=True))
        await asyncio.sleep(100)
        await ended(monitoring)
        assert (replica.failed, replica.changes) == ([], 0)
        assert not await responds(process, 2)

    FakeClock().run(main())


def test_a_constructor_may_stop_all_threads_for_minutes():
    """A starting process is given up after five minutes without an answer."""

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        message = await wait_unresponsive(made(answers_after=None)[0])
        assert message == "its process has not answered for 300 s"
        assert asyncio.get_running_loop().time() - began >= 300
        waiting = asyncio.create_task(wait_unresponsive(made(answers_after=100)[0]))
        await asyncio.sleep(3000)
        assert not waiting.done()
        await ended(waiting)

    FakeClock().run(main())
