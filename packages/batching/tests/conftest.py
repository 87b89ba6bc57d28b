"""A loop on which time passes only while everything waits, so that tests need no sleep."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it; fails where nothing could ever happen."""

    def __init__(self) -> None:
        self.now = 100.0
        loop = self

        class Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
            def select(self, timeout: float | None = None) -> Any:
                events = super().select(0)
                if not events:
                    assert timeout is not None, "everything waits, and nothing will ever happen"
                    # Timers may go off early by the clock's resolution; here they always do.
                    loop.now += max(0.0, timeout - loop._clock_resolution / 2)
                return events

        super().__init__(Selector())

    def time(self) -> float:
        return self.now

    def timers(self) -> list[asyncio.TimerHandle]:
        """Timers that have yet to go off."""
        return [timer for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


@pytest.fixture
def run() -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    """Run a coroutine function in virtual time; afterwards, no task and no timer may be left."""

    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def checked() -> None:
            await main()
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert loop.timers() == []

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked())

    return run
