"""A driver detects that another process has ended the instance."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alacarte._cluster.cluster_protocol import ActorDied, ClusterUnresponsive
from alacarte._process import controller_client
from alacarte._process.controller_client import ControllerClient
from alacarte.actors import InstanceInfo


class Controller:
    """A controller that dies on request."""

    def __init__(self, instance: str, *, answers: bool = True) -> None:
        self.answers = answers
        self.info: InstanceInfo | None = InstanceInfo(instance, b"", {}, (), "node")
        self.dead = asyncio.Event()

    async def call(self, method: str, *args: Any) -> Any:
        assert method == "join"
        if not self.answers:
            raise ActorDied("on its way in")
        return self.info

    async def wait_closed(self) -> str:
        await self.dead.wait()
        return "dead"


class Lost(Exception):
    """An unexpected error of the cluster."""


class Cluster:
    """A cluster with a sequence of answers to `find_actor`; the last one stays."""

    def __init__(self, *found: Controller | Exception | None) -> None:
        self._found = list(found)
        self.looked = 0

    async def find_actor(self, name: str) -> Controller | None:
        self.looked += 1
        found = self._found.pop(0) if len(self._found) > 1 else self._found[0]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller_client, "_PROBE_PAUSE_S", 0.0)


async def ends(cluster: Any) -> bool:
    """Whether the watch ends as soon as nothing else happens."""
    watch = asyncio.create_task(ControllerClient(cluster, "mine").wait_ended())
    for _ in range(50):
        await asyncio.sleep(0)
    if watch.done():
        return True
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    return False


def test_it_runs(run: Any):
    """As long as the controller lives, nothing is noticed."""

    async def main() -> None:
        assert not await ends(Cluster(Controller("mine")))

    run(main)


def test_it_is_ended(run: Any):
    """Once the controller's name is unknown for good, the instance has ended."""

    async def main() -> None:
        died = Controller("mine")
        died.dead.set()
        assert await ends(Cluster(died, None))

    run(main)


def test_another_one_has_its_place(run: Any):
    """An instance that was shut down and started again counts as ended."""

    async def main() -> None:
        died = Controller("mine")
        died.dead.set()
        assert await ends(Cluster(died, Controller("another's")))

    run(main)


def test_a_restart_and_a_silent_cluster_are_waited_for(run: Any):
    """A restart of the controller or an outage of the control store is not an end."""

    async def main() -> None:
        died = Controller("mine")
        died.dead.set()
        coming = Controller("mine", answers=False)
        silent = ClusterUnresponsive("the control store is away")
        assert not await ends(Cluster(died, None, coming, None, silent, None, Controller("mine")))

    run(main)


def test_an_unexpected_error_is_told_once_and_survived(run: Any, caplog: pytest.LogCaptureFixture):
    """An unexpected error is logged once, and the end is still detected."""

    async def main() -> None:
        cluster = Cluster(Lost("what now"), Lost("what now"), Lost("what now"), None)
        assert await ends(cluster)
        assert cluster.looked == 6

    run(main)
    told = [each for each in caplog.records if "whether the instance still runs" in each.message]
    assert len(told) == 1
    assert told[0].exc_info is not None
    assert isinstance(told[0].exc_info[1], Lost)


def test_an_instance_that_was_forgotten_has_ended(run: Any):
    """A controller without an instance means the end."""

    async def main() -> None:
        empty = Controller("")
        empty.info = None
        assert await ends(Cluster(empty))

    run(main)
