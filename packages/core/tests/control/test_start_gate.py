"""Limit of concurrent starts, and the order of waiting replicas."""

from __future__ import annotations

import asyncio
import math

import pytest

from alacarte._cluster.cluster_protocol import Node
from alacarte._control.start_gate import (
    PROCESS_PERMIT_S,
    StartGate,
    StartPermit,
    max_concurrent_starts,
)

HERE = Node("here", "10.0.0.1", cores=2)


@pytest.mark.parametrize(
    ("nodes", "limit"),
    [
        ([HERE], 2),
        ([Node("a", "10.0.0.1", cores=64)], 2),
        ([Node("a", "10.0.0.1", cores=1)], 1),
        ([Node("a", "10.0.0.1", cores=8), Node("b", "10.0.0.1", cores=8)], 2),
        ([HERE, Node("b", "10.0.0.2", cores=8)], 10),
        ([Node("b", "10.0.0.2", cores=4), Node("c", "10.0.0.2", cores=4)], 8),
        ([HERE, Node("b", "10.0.0.2")], math.inf),
    ],
)
def test_as_many_as_there_are_cores(nodes: list[Node], limit: float):
    """The controller's machine counts with its real cores; nodes with one address share cores."""
    assert max_concurrent_starts(nodes, HERE) == limit


class Starts:
    """Replicas that want to start, and the order in which they got their permits."""

    def __init__(self, limit: float) -> None:
        self.gate = StartGate(limit)
        self.order: list[str] = []
        self.permits: dict[str, StartPermit] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        for name in names:
            self.tasks[name] = asyncio.create_task(self._enter(name))
        await self.settle()

    async def _enter(self, name: str) -> None:
        self.permits[name] = await self.gate.acquire(name[0])
        self.order.append(name)

    async def release(self, name: str) -> None:
        self.permits[name].release()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        for permit in self.permits.values():
            permit.release()
        await self.settle()
        assert not self.gate.permits
        assert not self.gate._waiting


def test_no_more_than_the_limit_start_at_once(run):
    """A released permit admits one replica; a second release admits none."""

    async def main():
        starts = Starts(2)
        await starts.ask("a1", "a2", "a3", "a4", "a5")
        assert starts.order == ["a1", "a2"]
        assert starts.gate.is_full
        await starts.release("a1")
        await starts.release("a1")
        assert starts.order == ["a1", "a2", "a3"]
        starts.gate.resize(4)
        await starts.settle()
        assert starts.order == ["a1", "a2", "a3", "a4", "a5"]
        await starts.close()

    run(main)


def test_deployments_get_permits_in_rotation(run):
    """A deployment with a hundred replicas does not delay the first replica of another one."""

    async def main():
        starts = Starts(1)
        await starts.ask("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        for _ in range(6):
            await starts.release(starts.order[-1])
        assert starts.order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]
        await starts.close()

    run(main)


def test_a_permit_expires(run):
    """A permit expires, so that a hanging start does not block others."""

    async def main():
        starts = Starts(1)
        await starts.ask("a1", "b1", "c1")
        await asyncio.sleep(PROCESS_PERMIT_S + 1)
        assert starts.order == ["a1", "b1"]
        starts.permits["b1"].extend(2)
        starts.permits["a1"].extend(100)  # it is over
        await asyncio.sleep(3)
        assert starts.order == ["a1", "b1", "c1"]
        await starts.close()

    run(main)


def test_a_cancelled_waiter_keeps_no_permit(run):
    """A cancelled waiter keeps no permit, even if it was just admitted."""

    async def main():
        starts = Starts(1)
        await starts.ask("a1", "a2", "b1", "c1")
        starts.tasks["a2"].cancel()
        starts.permits["a1"].release()  # lets a2 in, which does not know it yet
        starts.tasks["b1"].cancel()
        await starts.settle()
        assert starts.order == ["a1", "c1"]
        await starts.close()

    run(main)
