"""A call whose first step runs at once, and whose rest runs in the awaiting task."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from alacarte_handles._eager_call import EagerCall


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def begun(future: "asyncio.Future[int]", seen: list[str]) -> EagerCall[int]:
    async def work() -> int:
        seen.append("begun")
        try:
            value = await future
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        seen.append("ended")
        return value

    return EagerCall(work(), asyncio.get_running_loop())


def test_the_first_step_is_taken_at_once() -> None:
    """The steps before the first wait are done when `EagerCall` returns."""

    async def test() -> None:
        seen: list[str] = []
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        started = begun(future, seen)
        assert seen == ["begun"]
        future.set_result(1)
        assert await started == 1

    run(test)


def test_a_call_goes_on_without_a_waiter() -> None:
    """The next step of a call that is not awaited runs in a task."""

    async def test() -> None:
        seen: list[str] = []
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        started = begun(future, seen)
        future.set_result(2)
        while "ended" not in seen:
            await asyncio.sleep(0)
        assert await started == 2
        assert await started == 2

    run(test)


@pytest.mark.parametrize("iterations", range(5))
def test_a_waiter_may_come_at_any_iteration(iterations: int) -> None:
    """Before, while and after a task takes over, an awaiter gets the one result."""

    async def test() -> None:
        seen: list[str] = []
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        started = begun(future, seen)
        future.set_result(3)
        for _ in range(iterations):
            await asyncio.sleep(0)
        assert await started == 3
        assert seen == ["begun", "ended"]

    run(test)


def test_many_may_wait() -> None:
    """Every awaiter gets the result, and the work runs once."""

    async def test() -> None:
        seen: list[str] = []
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        started = begun(future, seen)
        waiters = asyncio.gather(*(_wait(started) for _ in range(3)))
        await asyncio.sleep(0)
        future.set_result(4)
        assert await waiters == [4, 4, 4]
        assert seen == ["begun", "ended"]

    run(test)


def test_every_waiter_gets_the_error() -> None:
    """An error is raised to every waiter, current and later."""

    async def test() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        started = begun(future, [])
        waiters = asyncio.gather(*(_wait(started) for _ in range(2)), return_exceptions=True)
        await asyncio.sleep(0)
        future.set_exception(ValueError("no"))
        assert [str(error) for error in await waiters] == ["no", "no"]

    run(test)


def test_an_outcome_of_the_first_step_is_kept() -> None:
    """Work that never waits gives its result, or its error, when awaited."""

    async def test() -> None:
        async def value() -> int:
            return 5

        async def error() -> int:
            raise LookupError("nothing")

        loop = asyncio.get_running_loop()
        assert await EagerCall(value(), loop) == 5
        failed = EagerCall(error(), loop)
        for _ in range(2):
            with pytest.raises(LookupError):
                await failed

    run(test)


def test_cancelling_a_waiter_cancels_the_work() -> None:
    """The cancellation of the waiter that runs the steps cancels the call."""

    async def test() -> None:
        seen: list[str] = []
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiter = asyncio.create_task(_wait(begun(future, seen)))
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert seen == ["begun", "cancelled"]

    run(test)


@pytest.mark.parametrize("awaited", [True, False])
def test_cancel_reaches_the_work(awaited: bool) -> None:
    """`cancel` cancels the call, awaited or not."""

    async def test() -> None:
        seen: list[str] = []
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        started = begun(future, seen)
        waiter = asyncio.create_task(_wait(started)) if awaited else None
        await asyncio.sleep(0)
        started.cancel()
        while "cancelled" not in seen:
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await (waiter or started)

    run(test)


async def _wait(started: EagerCall[int]) -> int:
    return await started
