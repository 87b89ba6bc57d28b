"""`alacarte.testing.FakeClock` and `wait_until`."""

from __future__ import annotations

import asyncio

import pytest

from alacarte.testing import FakeClock, wait_until


def test_time_passes_only_when_told():
    """The clock stands still until it is advanced, and never goes back."""
    clock = FakeClock(5)
    assert clock() == clock() == clock.now == 5
    clock.advance(2.5)
    assert clock() == 7.5
    with pytest.raises(ValueError, match=r"time does not go back: it is 7\.5, not 7"):
        clock.now = 7


def test_a_coroutine_in_virtual_time():
    """An hour of sleep takes no time, and timers go off in their order."""
    clock = FakeClock()
    order = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(seconds)

    async def main() -> str:
        await asyncio.gather(sleep(3600), sleep(1), sleep(60))
        return "done"

    assert clock.run(main()) == "done"
    assert order == [1, 60, 3600]
    assert clock() == pytest.approx(3700, abs=0.001)


def test_advancing_from_inside():
    """Time that a task lets pass counts for the others: what became due goes off."""
    clock = FakeClock()

    async def main() -> None:
        sleeping = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        clock.advance(50)
        await sleeping
        assert clock() == 150

    clock.run(main())


def test_nothing_will_ever_happen():
    """Waiting for what nobody does fails instead of hanging."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="nothing will ever happen"):
        FakeClock().run(main())


def test_tasks_left_over():
    """A task that nobody waits for is named."""

    async def forgotten() -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        main.task = asyncio.create_task(forgotten())  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match=r"these tasks are left.*forgotten"):
        FakeClock().run(main())


def test_waiting_for_a_condition():
    """The condition's value is returned; when it stays false, its last value is told."""
    numbers = iter([0, "", None, "there"])
    assert wait_until(lambda: next(numbers)) == "there"
    with pytest.raises(AssertionError, match=r"not within 0\.02 s: a rise; last seen: 0"):
        wait_until(lambda: 0, 0.02, "a rise")
