"""Responses on a replica's own loop, where calls take the shortest way."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import BackPressureError, DeadlineExceededError, RequestCancelledError

from . import gates
from .gates import WAIT_S

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="")


@serve.deployment(max_ongoing_requests=4)
class Inner:
    def __init__(self) -> None:
        self.count = 0

    async def add(self, left: Any, right: Any) -> Any:
        self.count += 1
        return left + right

    async def counted(self) -> int:
        return self.count

    async def wait(self, value: Any) -> Any:
        await gates.GATE.pass_async()
        return value

    async def stay(self) -> None:
        await gates.GATE.wait_cancelled()

    async def fail(self) -> None:
        raise KeyError("inner")


@serve.deployment(max_ongoing_requests=8)
class Outer:
    """One method for each way to use a response."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def twice(self) -> Any:
        response = self.inner.add.remote(1, 2)
        return [await response, await response]

    async def two_waiters(self) -> Any:
        response = self.inner.wait.remote("x")
        tasks = [asyncio.create_task(_await(response)) for _ in range(2)]
        await asyncio.to_thread(gates.GATE.entered)
        gates.GATE.open.set()
        return await asyncio.gather(*tasks)

    async def late_waiter(self) -> Any:
        """Await a response that has arrived long before."""
        response = self.inner.add.remote(1, 2)
        assert await self.inner.counted.remote() >= 0
        return await response

    async def one_failure_for_two(self) -> list[str]:
        response = self.inner.fail.remote()
        results = await asyncio.gather(_await(response), _await(response), return_exceptions=True)
        return [type(result).__name__ for result in results]

    async def later(self) -> Any:
        """Calls made one after another and awaited in the other order."""
        responses = [self.inner.add.remote(i, i) for i in range(30)]
        return [await response for response in reversed(responses)]

    async def forgotten(self, number: int) -> int:
        for i in range(number):
            self.inner.add.remote(i, i)
            self.inner.fail.remote()
        gc.collect()
        while (count := await self.inner.counted.remote()) < number:
            pass
        return count

    async def from_thread(self) -> Any:
        response = self.inner.add.remote(1, 2)
        return await asyncio.to_thread(response.result, timeout_s=WAIT_S)

    async def with_timeout(self) -> str:
        response = self.inner.stay.remote()
        await asyncio.to_thread(gates.GATE.entered)
        try:
            async with asyncio.timeout(0.01):
                await response
        except TimeoutError:
            return await asyncio.to_thread(gates.GATE.next_note)
        return "no timeout"

    async def cancelled_waiter(self) -> list[Any]:
        response = self.inner.stay.remote()
        first, second = (asyncio.create_task(_await(response)) for _ in range(2))
        await asyncio.to_thread(gates.GATE.entered)
        first.cancel()
        ends = await asyncio.gather(first, second, return_exceptions=True)
        note = await asyncio.to_thread(gates.GATE.next_note)
        return [*(type(end).__name__ for end in ends), note]

    async def cancelled_before(self) -> str:
        """Cancel at once, and only then await."""
        response = self.inner.stay.remote()
        response.cancel()
        try:
            await response
        except RequestCancelledError:
            return f"told {response.cancelled()}"
        return "not told"

    async def cancelled_while_awaited(self) -> list[str]:
        response = self.inner.stay.remote()
        waiting = asyncio.create_task(_await(response))
        await asyncio.to_thread(gates.GATE.entered)
        response.cancel()
        [end] = await asyncio.gather(waiting, return_exceptions=True)
        return [type(end).__name__, await asyncio.to_thread(gates.GATE.next_note)]

    async def gathered(self) -> Any:
        results = await asyncio.gather(
            self.inner.add.remote(1, 2), self.inner.fail.remote(), return_exceptions=True
        )
        return [results[0], type(results[1]).__name__]

    async def wait_for(self) -> Any:
        return await asyncio.wait_for(self.inner.add.remote(1, 2), WAIT_S)

    async def shielded(self) -> Any:
        return await asyncio.shield(self.inner.add.remote(1, 2))

    async def context(self) -> list[str]:
        """Check that a call's context variables do not leak into its caller."""
        MARK.set("mine")
        response = self.inner.add.remote(1, 2)
        MARK.set("changed")
        await response
        return [MARK.get()]

    async def deadline(self) -> str:
        try:
            await self.inner.stay.options(timeout_s=0.05).remote()
        except DeadlineExceededError:
            return await asyncio.to_thread(gates.GATE.next_note)
        return "no deadline"

    async def full(self) -> list[Any]:
        first = [self.inner.wait.remote(i) for i in range(4)]
        for _ in first:
            await asyncio.to_thread(gates.GATE.entered)
        rest = [self.inner.add.remote(i, 0) for i in range(3)]
        late = asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)
        gates.GATE.open.set()
        results = [*await asyncio.gather(*first), *await late]
        return ["refused" if isinstance(r, BackPressureError) else r for r in results]


async def _await(response: Any) -> Any:
    return await response


@pytest.fixture
def outer(local):
    return local.run(Outer.bind(Inner.options(max_queued_requests=2).bind()))


@pytest.fixture
def roomy(local):
    return local.run(Outer.bind(Inner.bind()))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("twice", [3, 3]),
        ("two_waiters", ["x", "x"]),
        ("late_waiter", 3),
        ("one_failure_for_two", ["KeyError", "KeyError"]),
        ("later", [2 * i for i in reversed(range(30))]),
        ("from_thread", 3),
        ("gathered", [3, "KeyError"]),
        ("wait_for", 3),
        ("shielded", 3),
        ("context", ["changed"]),
    ],
)
def test_waiting(roomy, method, expected):
    """A handler gets the result of its nested call, however it waits."""
    assert getattr(roomy, method).remote().result(timeout_s=WAIT_S) == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("with_timeout", "cancelled"),
        ("cancelled_waiter", ["CancelledError", "CancelledError", "cancelled"]),
        ("cancelled_before", "told True"),
        ("cancelled_while_awaited", ["RequestCancelledError", "cancelled"]),
        ("deadline", "cancelled"),
    ],
)
def test_giving_up(roomy, method, expected):
    """However a handler cancels, its waiters get the error, and the nested handler is cancelled."""
    assert getattr(roomy, method).remote().result(timeout_s=WAIT_S) == expected
    assert roomy.late_waiter.remote().result(timeout_s=WAIT_S) == 3


def test_responses_that_are_not_awaited(roomy):
    """More calls than the inner deployment takes at a time run to their end, failing ones too."""
    assert roomy.forgotten.remote(100).result(timeout_s=WAIT_S) == 100


def test_a_full_queue(outer):
    """The calls beyond the queue are refused, and all others answered, in a handler as outside."""
    found = outer.full.remote().result(timeout_s=WAIT_S)
    assert found == [0, 1, 2, 3, 0, 1, "refused"]
