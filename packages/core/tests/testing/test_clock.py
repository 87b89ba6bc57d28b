"""`alacarte.testing.FakeClock` and `wait_until`."""

from __future__ import annotations

import asyncio

import pytest

from alacarte.testing import FakeClock, wait_until


def test_time_passes_only_when_told():
    """The time stands still until it is advanced, and cannot be set back."""
    clock = FakeClock(5)
    assert clock() == clock() == clock.now == 5
    clock.advance(2.5)
    assert clock() == 7.5
    with pytest.raises(ValueError, match=r"cannot be set back from 7\.5 to 7"):
        clock.now = 7


def test_a_coroutine_in_virtual_time():
    """An hour of sleep takes no time, and timers fire in order."""
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
    """A task that advances the clock fires the due timers of other tasks."""
    clock = FakeClock()

    async def main() -> None:
        sleeping = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        clock.advance(50)
        await sleeping
        assert clock() == 150

    clock.run(main())


def test_nothing_will_ever_happen():
    """Waiting for an event that cannot happen fails instead of hanging."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="no timer is set"):
        FakeClock().run(main())


def test_tasks_left_over():
    """The error names a task that is pending at the end."""

    async def forgotten() -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        main.task = asyncio.create_task(forgotten())  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match=r"tasks are still pending.*forgotten"):
        FakeClock().run(main())


def test_waiting_for_a_condition():
    """Returns the true value; the error shows the last false value."""
    numbers = iter([0, "", None, "there"])
    assert wait_until(lambda: next(numbers)) == "there"
    with pytest.raises(AssertionError, match=r"not within 0\.02 s: a rise; last seen: 0"):
        wait_until(lambda: 0, 0.02, "a rise")
