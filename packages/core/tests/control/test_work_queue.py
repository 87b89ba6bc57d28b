"""The deployments to reconcile next, in virtual time."""

from __future__ import annotations

import asyncio

from alacarte._control.work_queue import WorkQueue
from alacarte.testing import FakeClock
from alacarte.types import DeploymentId

A, B, C = (DeploymentId("app", name) for name in "abc")


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_deployment_is_queued_once():
    """A deployment that changes often is queued once, at its first position."""

    async def main() -> None:
        queue = WorkQueue()
        for deployment in (B, A, B, A):
            queue.add(deployment)
        assert await queue.take() == [B, A]
        taking = asyncio.create_task(queue.take())
        await asyncio.sleep(100)
        assert not taking.done()
        queue.add(C)
        assert await taking == [C]

    FakeClock().run(main())


def test_delays_end_in_order_and_the_last_one_counts():
    """A later delay replaces an earlier one, and None cancels it."""

    async def main() -> None:
        queue, began = WorkQueue(), now()
        queue.add_after(A, 3.0)
        queue.add_after(B, 2.0)
        queue.add_after(C, 1.0)
        queue.add_after(C, None)
        queue.add_after(A, 4.0)
        assert await queue.take() == [B]
        assert abs(now() - began - 2.0) < 0.01
        assert await queue.take() == [A]
        assert abs(now() - began - 4.0) < 0.01

    FakeClock().run(main())


def test_a_change_does_not_wait_for_a_delay():
    """A changed deployment is taken at once, and again after its delay."""

    async def main() -> None:
        queue, began = WorkQueue(), now()
        queue.add_after(A, 5.0)
        queue.add(A)
        assert await queue.take() == [A]
        assert now() == began
        assert await queue.take() == [A]
        assert abs(now() - began - 5.0) < 0.01

    FakeClock().run(main())


def test_no_delay_is_no_time_at_all():
    """A timer that goes off early must not make the loop spin without time passing."""

    async def main() -> None:
        queue, began = WorkQueue(), now()
        queue.add_after(A, 0.0)
        assert await queue.take() == [A]
        assert now() > began

    FakeClock().run(main())
