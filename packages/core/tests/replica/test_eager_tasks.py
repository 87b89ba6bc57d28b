"""Eager tasks: the first step runs at once, and all else is as with any task."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from alacarte._replica.eager_tasks import EagerTasks

number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


def run(scenario: Any) -> None:
    """Call a scenario with a starter of tasks from a callback of the loop, and await the rest."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        eager = EagerTasks(loop)
        called: asyncio.Future[Any] = loop.create_future()

        def callback() -> None:
            try:
                called.set_result(scenario(eager))
            except BaseException as error:
                called.set_exception(error)

        loop.call_soon(callback)
        rest = await called
        if rest is not None:
            await rest

    asyncio.run(main())


def test_a_coroutine_that_never_suspends_is_complete_at_once():
    """The task is done when it is returned."""

    async def work() -> None:
        seen.append(asyncio.current_task())

    def scenario(eager: EagerTasks) -> None:
        task = eager.start(work(), contextvars.copy_context())
        assert task.done()
        assert seen == [task]
        assert asyncio.current_task() is None

    seen: list[Any] = []
    run(scenario)


def test_a_coroutine_that_suspends_goes_on_in_its_task():
    """A deadline that the first step sets holds in the later steps."""

    async def work() -> None:
        try:
            async with asyncio.timeout(0):
                seen.append("before")
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("after")

    def scenario(eager: EagerTasks) -> Any:
        task = eager.start(work(), contextvars.copy_context())
        assert seen == ["before"]
        return task

    seen: list[str] = []
    run(scenario)
    assert seen == ["before", "after"]


def test_a_task_runs_in_the_given_context():
    """Variables are set in the given context, not in that of the starter."""
    context = contextvars.copy_context()

    async def work() -> None:
        number.set(number.get() + 1)
        await asyncio.sleep(0)
        number.set(number.get() + 1)

    def scenario(eager: EagerTasks) -> Any:
        return eager.start(work(), context)

    run(scenario)
    assert context[number] == 2
    assert number.get() == 0


def test_an_error_of_the_first_step_is_the_tasks():
    """The error is the task's, and not raised by `start`."""

    async def work() -> None:
        raise ValueError("no")

    def scenario(eager: EagerTasks) -> None:
        task = eager.start(work(), contextvars.copy_context())
        assert isinstance(task.exception(), ValueError)

    run(scenario)


def test_a_task_that_is_cancelled_after_its_first_step_is_cancelled():
    """A task that was started eagerly is cancelled as any other task."""

    async def work() -> None:
        await asyncio.Event().wait()

    def scenario(eager: EagerTasks) -> Any:
        task = eager.start(work(), contextvars.copy_context())
        task.cancel()
        return asyncio.wait([task])

    run(scenario)


def test_from_within_a_task_the_first_step_comes_later():
    """No task can run within another before Python 3.12."""

    async def work() -> None:
        seen.append("step")

    async def main() -> None:
        eager = EagerTasks(asyncio.get_running_loop())
        task = eager.start(work(), contextvars.copy_context())
        assert seen == []
        await task

    seen: list[str] = []
    asyncio.run(main())
    assert seen == ["step"]


def test_other_callbacks_reach_the_loop(monkeypatch: pytest.MonkeyPatch):
    """A finalizer may schedule something while the task is made."""

    class Task(asyncio.Task):  # type: ignore[type-arg]
        def __init__(self, coroutine: Any, *, loop: Any, context: Any, **options: Any) -> None:
            loop.call_soon(seen.append, "finalizer", context=contextvars.copy_context())
            super().__init__(coroutine, loop=loop, context=context, **options)

    async def work() -> None:
        seen.append("step")

    def scenario(eager: EagerTasks) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "Task", Task)
            eager.start(work(), contextvars.copy_context())
        assert seen == ["step"]
        assert "call_soon" not in vars(asyncio.get_running_loop())
        return asyncio.sleep(0)

    seen: list[str] = []
    run(scenario)
    assert seen == ["step", "finalizer"]
