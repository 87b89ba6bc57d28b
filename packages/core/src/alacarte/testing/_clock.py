"""Fake clock for tests, and an event loop on its time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["FakeClock"]

T = TypeVar("T")


class FakeClock:
    """A monotonic clock for tests. Call the clock for the time in seconds.

        clock = FakeClock()
        limiter = Limiter(clock=clock)
        clock.advance(60)
        clock.run(main())      # asyncio.sleep(3600) in main takes no time

    Attributes:
        now: The current time; may be set to a later time.
    """

    def __init__(self, now: float = 100.0) -> None:
        self._now = now

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        """The clock's time, in seconds; it cannot be set back."""
        return self._now

    @now.setter
    def now(self, value: float) -> None:
        if value < self._now:
            raise ValueError(f"the time cannot be set back from {self._now} to {value}.")
        self._now = value

    def advance(self, seconds: float) -> None:
        """Advance the time. Due timers of the clock's loop fire in the loop's next iteration."""
        self.now += seconds

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on an event loop with this clock, and return its result.

        When all tasks wait, the time jumps to the next timer. The loop does not wait for other
        threads or sockets.

        Raises:
            AssertionError: All tasks wait and no timer is set, or tasks are still pending at the
                end.
        """

        async def checked() -> T:
            result = await work
            pending = asyncio.all_tasks() - {asyncio.current_task()}
            assert not pending, f"tasks are still pending: {pending}"
            return result

        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(checked())


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that advances a fake clock to its next timer instead of waiting."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_Selector(clock, self))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now


class _Selector(selectors.DefaultSelector):
    """A selector that advances a fake clock instead of blocking."""

    def __init__(self, clock: FakeClock, loop: Any) -> None:
        super().__init__()
        self._clock = clock
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if events:
            return events
        assert timeout is not None, "all tasks wait, and no timer is set"
        if timeout > 0:
            # A loop fires timers early, by up to its clock's resolution. Stop half a resolution
            # early, so that tests always see such early timers.
            self._clock.advance(max(0.0, timeout - self._loop._clock_resolution / 2))
        return events
