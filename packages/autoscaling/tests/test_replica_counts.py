from __future__ import annotations

import asyncio
import json
from typing import Any

from alacarte._control.scaling import SCALER_KEY
from alacarte.testing import FakeClock
from alacarte.types import DeploymentId
from alacarte_autoscaling._replica_counts import ReplicaCounts, read_counts
from alacarte_autoscaling.config import AutoscalingConfig

from .context_support import Context

WHO = DeploymentId("app", "D")


class Map:
    """A durable key-value store that can fail."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.refuses = 0
        self.writes = 0

    async def get(self, key: str) -> bytes | None:
        return self.data.get(key)

    async def put(self, key: str, value: bytes) -> None:
        await asyncio.sleep(0.01)
        if self.refuses:
            self.refuses -= 1
            raise OSError("the head node is away")
        self.data[key] = value
        self.writes += 1

    async def delete(self, key: str) -> None:
        self.data.pop(key, None)


def spec(name: str = "D", **scaling: Any) -> tuple[DeploymentId, AutoscalingConfig]:
    return DeploymentId("app", name), AutoscalingConfig(**{"max_replicas": 10, **scaling})


class Book:
    """Counts, and the applied changes."""

    def __init__(self, stored: Map, recovered: bytes | None = None) -> None:
        self.map: Any = stored
        self.acted: list[tuple[DeploymentId, int]] = []
        self.counts = ReplicaCounts(Context(self.map, self.act, recovered))

    def act(self, deployment: DeploymentId, number: int) -> None:
        stored = {(app, name): n for app, name, n, _ in json.loads(self.map.data[SCALER_KEY])}
        assert stored[tuple(deployment)] == number, "acted on before it was stored"
        self.acted.append((deployment, number))


def test_what_it_begins_with():
    """A new deployment gets its initial number; one with a fixed number keeps it in bounds."""

    async def main() -> None:
        book = Book(Map())
        assert book.counts.begin(*spec("a"), None) == 1
        assert book.counts.begin(*spec("b", min_replicas=2), None) == 2
        assert book.counts.begin(*spec("c", initial_replicas=4), None) == 4
        assert book.counts.begin(*spec("d"), 7) == 7
        assert book.counts.begin(*spec("e", max_replicas=5), 7) == 5
        assert book.counts.begin(*spec("f", initial_replicas=4), 7) == 4
        await asyncio.sleep(1)

    FakeClock().run(main())


def test_a_redeploy_keeps_the_number():
    """The number stays within bounds; `initial_replicas` applies again after a change only."""

    async def main() -> None:
        book = Book(Map())
        first = spec(initial_replicas=2)
        assert book.counts.begin(*first, None) == 2
        book.counts.set(WHO, 8)
        assert book.counts.begin(*first, 2) == 8
        assert book.counts.begin(*spec(initial_replicas=2, upscale_delay_s=1), 2) == 2
        book.counts.set(WHO, 8)
        assert book.counts.begin(*spec(max_replicas=6), 2) == 6
        assert book.counts.begin(*spec(min_replicas=7), 2) == 7
        book.counts.forget(WHO)
        assert book.counts.begin(*spec(min_replicas=1), None) == 1
        await asyncio.sleep(1)

    FakeClock().run(main())


def test_a_number_is_stored_before_it_is_acted_on():
    """Counts are stored despite failures, with as few writes as possible."""

    async def main() -> None:
        book = Book(Map())
        book.counts.begin(*spec(), None)
        await asyncio.sleep(1)
        book.acted.clear()
        book.map.refuses, book.map.writes = 3, 0
        for number in range(2, 8):
            book.counts.set(WHO, number)
            await asyncio.sleep(0.001)
        assert book.acted == []
        await asyncio.sleep(10)
        assert book.acted == [(WHO, 7)]
        assert book.map.writes == 1

    FakeClock().run(main())


def test_a_new_controller_goes_on():
    """Stored counts survive a restart; forgotten and cleared counts do not."""

    async def main() -> None:
        stored = Map()
        book = Book(stored)
        for name in ("D", "E"):
            book.counts.begin(*spec(name), None)
        book.counts.set(WHO, 5)
        book.counts.forget(DeploymentId("app", "E"))
        await asyncio.sleep(1)
        found = stored.data[SCALER_KEY]
        assert list(read_counts(found)) == [WHO]
        again = Book(stored, found)
        assert again.counts.begin(*spec(), None) == 5
        await again.counts.clear()
        assert stored.data == {}

    FakeClock().run(main())
