"""The start of a replica, in virtual time: permit, placement, constructor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from alacarte._cluster.cluster_protocol import ActorDied, ActorSpec, ClusterUnresponsive
from alacarte._control.replica_start import ReplicaStart
from alacarte._control.start_gate import StartGate
from alacarte.errors import DeployError
from alacarte.testing import FakeClock

PATIENCE_S = 60.0
SPEC = ActorSpec("r", "a:B", group="app#D")


class Process:
    """An actor whose constructor takes a while."""

    name = "r"

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.killed = False

    async def call(self, method: str, *args: Any) -> str:
        if method == "start":
            await asyncio.sleep(self.takes_s)
            return "up"
        return "probe_liveness"

    def kill(self) -> None:
        self.killed = True


class Site:
    """A start on a cluster that has room after a while and reports missing resources until then."""

    def __init__(self, place_s: float = 0.0, constructor_s: float = 0.0) -> None:
        self.place_s = place_s
        self.process = Process(constructor_s)
        self.lacks: dict[str, tuple[float, float]] | None = {}
        self.gate = StartGate()
        self.waited: list[float] = []
        self.came_up: Callable[[], object] = lambda: None
        cluster: Any = self
        self.start = ReplicaStart(cluster, self.gate, PATIENCE_S, lambda: None, self.wait)

    def wait(self) -> None:
        self.waited.append(asyncio.get_running_loop().time())

    async def start_actor(self, spec: ActorSpec) -> Process:
        await asyncio.sleep(self.place_s)
        self.came_up()
        return self.process

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        if self.lacks is None:
            raise ClusterUnresponsive("no word")
        return self.lacks

    async def run(self, limit_s: float | None = None) -> Any:
        return await self.start.run(SPEC, limit_s)


def play(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def settled() -> None:
        await main()
        await asyncio.sleep(1)  # what was cancelled ends

    FakeClock().run(settled())


def test_a_start_passes_turn_place_and_constructor():
    """The message names the current step; the permit is released at the end."""

    async def main() -> None:
        site = Site(place_s=3, constructor_s=3)
        site.gate.resize(1)
        other = await site.gate.acquire("other")
        running = asyncio.create_task(site.run())
        await asyncio.sleep(1)
        assert site.start.message.startswith("waits for other replicas to start")
        other.release()
        await asyncio.sleep(1)
        assert site.start.message == "waits for a process"
        assert site.start.admitted_at == pytest.approx(101)
        await asyncio.sleep(3)
        assert site.start.message == "its constructor has not returned yet"
        assert (site.start.is_placed, site.start.actor) == (True, site.process)
        assert await running == "up"
        assert not site.gate.is_full

    play(main)


def test_a_start_without_a_place_says_what_is_missing():
    """Each poll reports the missing resources, without a permit; `had_resources` stays False."""

    async def main() -> None:
        site = Site(place_s=27)
        site.gate.resize(1)
        site.lacks = {"GPU": (1.0, 0.0)}
        running = asyncio.create_task(site.run())
        await asyncio.sleep(1)
        assert not site.gate.is_full
        assert site.start.had_resources is False
        assert "GPU" in site.start.message
        assert site.start.missing == {"GPU": (1.0, 0.0)}
        assert await running == "up"
        assert site.waited == pytest.approx([100, 105, 115, 125])
        assert site.start.missing == {}

    play(main)


def test_a_process_that_does_not_come_up_though_there_is_room():
    """The start fails after its timeout, unless the cluster does not say whether it has room."""

    async def main() -> None:
        site = Site(place_s=1e6)
        with pytest.raises(ActorDied, match="not come up within 60 s, though .* has room"):
            await site.run()
        assert asyncio.get_running_loop().time() < 100 + PATIENCE_S + 11
        silent = Site(place_s=1000)
        silent.lacks = None
        assert await silent.run() == "up"
        assert (silent.start.had_resources, silent.waited) == (None, [])

    play(main)


def test_a_constructor_has_its_limit():
    """The start fails after `start_timeout_s`; without that option it may take any time."""

    async def main() -> None:
        site = Site(constructor_s=1000)
        with pytest.raises(DeployError, match="start_timeout_s=7 s"):
            await site.run(7)
        assert site.start.actor is site.process
        patient = Site(constructor_s=1000)
        assert await patient.run(None) == "up"

    play(main)


def test_a_process_that_comes_up_for_nobody_is_killed():
    """A start that is cancelled at the moment of its process's start kills the process."""

    async def main() -> None:
        site = Site(place_s=5)
        running = asyncio.create_task(site.run())
        site.came_up = running.cancel
        await asyncio.wait([running])
        assert running.cancelled()
        assert (site.process.killed, site.start.actor) == (True, None)
        assert not site.gate.is_full

    play(main)
