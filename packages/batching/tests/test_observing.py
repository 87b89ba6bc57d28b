"""Observation of batches by plugins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alacarte.context import current_runtime
from alacarte.types import BatchObserver
from alacarte_batching import batch


class Noted(BatchObserver):
    """An observer that records its events."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def queued(self) -> None:
        self.heard.append("queued")

    def started(self, size: int, oldest_s: float) -> None:
        self.heard.append(f"started {size} after {oldest_s:.1f}")

    def ended(self, size: int, total_s: float, error: BaseException | None) -> None:
        self.heard.append(f"ended {size} after {total_s:.1f} {type(error).__name__}")


def test_nobody_is_asked_outside_of_a_replica(run: Any):
    """A batched function works without an instance."""

    @batch(max_batch_size=2, batch_wait_timeout_s=0.5)
    async def double(items: list[int]) -> list[int]:
        return [2 * item for item in items]

    async def main() -> None:
        assert current_runtime.get() is None
        assert await double(1) == 2

    run(main)


@pytest.fixture
def observed(run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a test whose batched functions are observed."""
    from alacarte_batching import _bound_queues

    def go(test: Any) -> None:
        noted = Noted()
        monkeypatch.setattr(_bound_queues, "_observer", lambda target: noted)

        async def main() -> None:
            await test(noted)

        run(main)

    return go


def test_a_batch_that_fills_up(observed: Any):
    """The observer gets each queued item, one start with the longest wait, and the duration."""

    @batch(max_batch_size=2, batch_wait_timeout_s=5.0)
    async def slow(items: list[int]) -> list[int]:
        await asyncio.sleep(2.0)
        return items

    async def test(noted: Noted) -> None:
        first = asyncio.ensure_future(slow(1))
        await asyncio.sleep(1.0)
        assert await slow(2) == 2
        assert await first == 1
        await asyncio.sleep(0.1)
        assert noted.heard[:3] == ["queued", "queued", "started 2 after 1.0"]
        assert noted.heard[3:] == ["ended 2 after 2.0 NoneType"]

    observed(test)


def test_a_batch_that_fails(observed: Any):
    """The observer gets the error of a batch."""

    @batch(max_batch_size=1, batch_wait_timeout_s=0.0)
    async def fail(items: list[int]) -> list[int]:
        raise ValueError("a bug")

    async def test(noted: Noted) -> None:
        with pytest.raises(ValueError, match="a bug"):
            await fail(1)
        await asyncio.sleep(0)
        assert noted.heard == ["queued", "started 1 after 0.0", "ended 1 after 0.0 ValueError"]

    observed(test)
