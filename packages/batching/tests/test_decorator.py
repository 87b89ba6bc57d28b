"""The behaviour of batched functions for their callers and authors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

import pytest

from alacarte.context import current_call
from alacarte.errors import ServeError
from alacarte.types import Call, NestedCalls
from alacarte_batching import BatchSizeError, ItemTooLargeError, batch

from .gate import Gate, Run


def test_calls_share_a_batch(run: Run) -> None:
    """Concurrent calls become one call with a list, and each gets its own result."""
    batches = []

    @batch(max_batch_size=3)
    async def double(items: list[int]) -> list[int]:
        batches.append(items)
        return [2 * item for item in items]

    async def main() -> None:
        assert await asyncio.gather(*(double(n) for n in range(7))) == [2 * n for n in range(7)]

    run(main)
    assert batches == [[0, 1, 2], [3, 4, 5], [6]]


def test_bare_decorator_has_the_defaults() -> None:
    """Without parentheses the defaults are Ray Serve's: ten items, ten milliseconds."""

    @batch
    async def f(items: list[int]) -> list[int]:
        return items

    assert f._get_max_batch_size() == 10  # type: ignore[attr-defined]
    assert f._get_batch_wait_timeout_s() == 0.01  # type: ignore[attr-defined]


def test_lone_item_waits_for_the_timeout_and_no_longer(run: Run) -> None:
    """A batch that does not fill runs at the timeout of its first item."""

    @batch(batch_wait_timeout_s=2.0)
    async def f(items: list[int]) -> list[float]:
        return [asyncio.get_running_loop().time()] * len(items)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        first = asyncio.create_task(f(1))
        await asyncio.sleep(1.5)
        assert await f(2) == pytest.approx(start + 2.0)
        assert await first == pytest.approx(start + 2.0)

    run(main)


def test_calls_of_one_moment_share_a_batch_without_any_wait(run: Run) -> None:
    """With a timeout of zero, calls of one iteration of the loop share a batch."""

    @batch(batch_wait_timeout_s=0)
    async def f(items: list[int]) -> list[int]:
        return [len(items)] * len(items)

    async def main() -> None:
        start = asyncio.get_running_loop().time()
        assert await asyncio.gather(f(1), f(2), f(3)) == [3, 3, 3]
        assert asyncio.get_running_loop().time() == start

    run(main)


def test_real_loops_batch_too() -> None:
    """On asyncio's own loop and clock, a batch that does not fill runs."""

    @batch(batch_wait_timeout_s=0.001)
    async def f(items: list[int]) -> list[int]:
        return [len(items)] * len(items)

    async def main() -> None:
        assert await asyncio.gather(f(1), f(2)) == [2, 2]

    asyncio.run(main())


def test_wrong_number_of_results_is_told_to_every_caller(run: Run) -> None:
    """Every caller gets the function and both numbers; the next batch works."""
    short = True

    @batch(max_batch_size=3)
    async def f(items: list[int]) -> list[int]:
        return items[:1] if short else items

    async def main() -> None:
        nonlocal short
        errors = await asyncio.gather(f(1), f(2), f(3), return_exceptions=True)
        for error in errors:
            assert isinstance(error, BatchSizeError)
            assert isinstance(error, ServeError)
            assert (error.given, error.returned) == (3, 1)
            assert error.function == f.__qualname__  # type: ignore[attr-defined]
            assert "returned 1 result for a batch of 3 items" in str(error)
        short = False
        assert await f(4) == 4

    run(main)


@pytest.mark.parametrize("result", [None, 5, {"a": 1}, {1}])
def test_result_that_is_no_list_is_told_to_every_caller(run: Run, result: object) -> None:
    """A result without a length or an index fails every caller of its batch only."""

    @batch(max_batch_size=1)
    async def f(items: list[Any]) -> Any:
        return items if items == ["good"] else result

    async def main() -> None:
        with pytest.raises((TypeError, KeyError)):
            await f("bad")
        assert await f("good") == "good"

    run(main)


def test_result_may_be_any_sequence(run: Run) -> None:
    """Any object with a length and an index is a valid result."""

    @batch(max_batch_size=2)
    async def f(items: list[int]) -> tuple[int, ...]:
        return tuple(items)

    async def main() -> None:
        assert await asyncio.gather(f(1), f(2)) == [1, 2]

    run(main)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_batch_that_ends_the_program(run: Run, kind: type[BaseException]) -> None:
    """SystemExit in a batch fails the batch with an explanation; the next one runs."""

    @batch(max_batch_size=2)
    async def f(items: list[int]) -> list[int]:
        if 1 in items:
            raise kind(3)
        return items

    async def main() -> None:
        errors = await asyncio.gather(f(1), f(2), return_exceptions=True)
        assert [type(error) for error in errors] == [RuntimeError, RuntimeError]
        assert kind.__name__ in str(errors[0])
        assert await asyncio.gather(f(3), f(4)) == [3, 4]

    run(main)


@pytest.mark.parametrize("kind", [ValueError, type("Fatal", (BaseException,), {})])
def test_exception_is_raised_at_every_caller(run: Run, kind: type[BaseException]) -> None:
    """An exception reaches each caller unchanged; the next batch runs."""

    @batch(max_batch_size=2)
    async def f(items: list[int]) -> list[int]:
        if 1 in items:
            raise kind("no good")
        return items

    async def main() -> None:
        errors = await asyncio.gather(f(1), f(2), return_exceptions=True)
        assert [type(error) for error in errors] == [kind, kind]
        assert await asyncio.gather(f(3), f(4)) == [3, 4]

    run(main)


def test_no_more_batches_run_than_may(run: Run) -> None:
    """A third batch waits for the end of one of two, and has all items that arrived meanwhile."""

    async def main() -> None:
        gate = Gate(max_batch_size=3, batch_wait_timeout_s=0, max_concurrent_batches=2)
        callers = []
        for n in range(4):
            callers.append(asyncio.create_task(gate.call(n)))
            await asyncio.sleep(1)
        assert gate.batches == [[0], [1]]
        gate.open.set()
        assert await asyncio.gather(*callers) == [0, 10, 20, 30]
        assert gate.batches == [[0], [1], [2, 3]]

    run(main)


def test_each_instance_has_its_own_queue(run: Run) -> None:
    """Calls on two instances never share a batch, equal and unhashable instances included."""

    class Model:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, factor: int) -> None:
            self.factor = factor

        def __eq__(self, other: object) -> bool:
            return True

        @batch(max_batch_size=2)
        async def scale(self, items: list[int]) -> list[tuple[int, int]]:
            return [(self.factor * item, len(items)) for item in items]

    async def main() -> None:
        a, b = Model(1), Model(100)
        results = await asyncio.gather(a.scale(1), b.scale(1), a.scale(2), b.scale(2))
        assert results == [(1, 2), (100, 2), (2, 2), (200, 2)]

    run(main)


def test_slots_without_weak_references_are_named(run: Run) -> None:
    """The error for an instance without weak references names the remedy."""

    class Model:
        __slots__ = ()

        @batch
        async def f(self, items: list[int]) -> list[int]:
            return items

    async def main() -> None:
        with pytest.raises(TypeError, match="__weakref__"):
            await Model().f(1)

    run(main)


def test_several_arguments(run: Run) -> None:
    """Each parameter gets a list, also for keyword arguments."""
    calls = []

    @batch(max_batch_size=2)
    async def f(a: list[int], b: list[int], *, c: list[int]) -> list[int]:
        calls.append((a, b, c))
        return [x + y + z for x, y, z in zip(a, b, c, strict=True)]

    async def main() -> None:
        assert await asyncio.gather(f(1, 10, c=100), f(2, b=20, c=200)) == [111, 222]

    run(main)
    assert calls == [([1, 2], [10, 20], [100, 200])]


def test_odd_call_alone_is_refused(run: Run) -> None:
    """A call with other parameters than its batch gets a TypeError; the batch runs."""

    @batch(max_batch_size=3)
    async def f(a: list[int], b: list[int] | None = None) -> list[int]:
        assert b is None
        return a

    async def main() -> None:
        results = await asyncio.gather(f(1), f(2, 3), f(4), return_exceptions=True)
        assert results[0] == 1
        assert isinstance(results[1], TypeError)
        assert results[2] == 4

    run(main)


def test_wrong_call_is_refused_at_once(run: Run) -> None:
    """A call the function could not take raises at the caller and reaches no batch."""

    @batch
    async def f(a: list[int]) -> list[int]:
        return a

    async def main() -> None:
        with pytest.raises(TypeError, match="too many positional"):
            await f(1, 2)

    run(main)


def test_batch_size_fn_bounds_the_joint_size(run: Run) -> None:
    """With a size of their own, items fill a batch by size and stay in order."""
    batches = []

    @batch(max_batch_size=10, batch_size_fn=sum)
    async def f(items: list[int]) -> list[int]:
        batches.append(items)
        return items

    async def main() -> None:
        await asyncio.gather(*(f(n) for n in (4, 4, 4, 6, 9, 1)))

    run(main)
    assert batches == [[4, 4], [4, 6], [9, 1]]


def test_item_too_large_for_any_batch_is_refused(run: Run) -> None:
    """An item above the limit fails its caller only, with a RuntimeError."""

    @batch(max_batch_size=10, batch_size_fn=sum)
    async def f(items: list[int]) -> list[int]:
        return items

    async def main() -> None:
        good, bad = await asyncio.gather(f(1), f(11), return_exceptions=True)
        assert good == 1
        assert isinstance(bad, ItemTooLargeError)
        assert isinstance(bad, RuntimeError)
        assert (bad.size, bad.limit) == (11, 10)

    run(main)


def test_batch_size_fn_that_raises_wedges_nothing(run: Run) -> None:
    """An error of `batch_size_fn` fails the waiting callers, and batching continues."""

    def size(items: list[int]) -> int:
        if len(items) > 1 and 13 in items:
            raise ArithmeticError
        return len(items) // items[0]

    @batch(batch_size_fn=size)
    async def f(items: list[int]) -> list[int]:
        return items

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await f(0)
        results = await asyncio.gather(f(1), f(13), return_exceptions=True)
        assert [type(result) for result in results] == [ArithmeticError, ArithmeticError]
        assert await asyncio.gather(f(1), f(2)) == [1, 2]

    run(main)


def test_limits_change_while_it_runs(run: Run) -> None:
    """The setters, of the function or an instance's method, take effect at the next batch."""
    batches = []

    class Model:
        @batch(max_batch_size=2, batch_wait_timeout_s=5)
        async def f(self, items: list[int]) -> list[int]:
            batches.append(items)
            return items

    async def main() -> None:
        model = Model()
        await asyncio.gather(model.f(1), model.f(2))
        model.f.set_max_batch_size(3)
        model.f.set_batch_wait_timeout_s(1)
        start = asyncio.get_running_loop().time()
        await asyncio.gather(*(model.f(n) for n in range(4)))
        assert asyncio.get_running_loop().time() == pytest.approx(start + 1)
        with pytest.raises(ValueError, match="max_batch_size"):
            model.f.set_max_batch_size(0)

    run(main)
    assert batches == [[1, 2], [0, 1, 2], [3]]


def test_one_decorator_two_functions() -> None:
    """Two functions decorated by one object have separate limits."""
    decorate = batch(max_batch_size=2)

    @decorate
    async def f(items: list[int]) -> list[int]:
        return items

    @decorate
    async def g(items: list[int]) -> list[int]:
        return items

    f.set_max_batch_size(7)
    assert g._get_max_batch_size() == 2  # type: ignore[attr-defined]


class Callable_:
    async def __call__(self, items: list[int]) -> list[int]:
        return items


def test_only_async_functions_can_be_batched() -> None:
    """The TypeError names the object that is no `async def` function."""

    def plain(items: list[int]) -> list[int]:
        return items

    for wrong in (plain, lambda items: items, 10, Callable_, Callable_()):
        with pytest.raises(TypeError, match="async def"):
            batch(wrong)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"plain must be"):
        batch(max_batch_size=2)(plain)  # type: ignore[call-overload]


def test_bad_option_is_refused_before_a_function_is_given() -> None:
    """An invalid option raises where it is written."""
    with pytest.raises(ValueError, match="max_batch_size"):
        batch(max_batch_size=0)
    with pytest.raises(TypeError, match="batch_size_fn"):
        batch(batch_size_fn=5)  # type: ignore[call-overload]


def test_it_looks_like_what_it_wraps() -> None:
    """Name, signature and kind of function are those of the wrapped function."""

    @batch
    async def f(items: list[int]) -> list[int]:
        """Say what it does."""
        return items

    @batch
    async def g(items: list[int]) -> AsyncGenerator[list[int], None]:
        yield items

    assert f.__doc__ == "Say what it does."
    assert list(inspect.signature(f).parameters) == ["items"]
    assert inspect.iscoroutinefunction(f)
    assert inspect.isasyncgenfunction(inspect.unwrap(g))


request_id: ContextVar[str] = ContextVar("request_id", default="none")


def test_batch_runs_in_the_first_callers_context(run: Run) -> None:
    """The function has the first caller's context variables, and changes no caller's."""
    seen = []

    @batch(max_batch_size=2)
    async def f(items: list[str]) -> list[str]:
        seen.append(request_id.get())
        request_id.set("changed")
        return items

    async def call(name: str) -> None:
        request_id.set(name)
        await f(name)
        assert request_id.get() == name

    async def main() -> None:
        await asyncio.gather(*(call(name) for name in "abcd"))

    run(main)
    assert seen == ["a", "c"]


def test_models_are_not_mixed(run: Run) -> None:
    """Items for several models run as one concurrent batch per model."""
    gate = Gate(max_batch_size=4, batch_wait_timeout_s=60.0)

    async def ask(model_id: str, item: int) -> Any:
        current_call.set(Call("python", (b"",), model_id=model_id))
        return await gate.call(item)

    async def main() -> None:
        asked = [asyncio.create_task(ask(model, i)) for i, model in enumerate("abaabbba")]
        await gate.entered.acquire()
        await gate.entered.acquire()
        assert gate.batches == [[0, 2, 3], [1]]
        gate.open.set()
        assert await asyncio.gather(*asked) == [10 * i for i in range(8)]
        assert gate.batches == [[0, 2, 3], [1], [4, 5, 6], [7]]

    run(main)


def test_what_a_batch_calls_is_not_its_first_callers(run: Run) -> None:
    """Cancellation of the first caller does not cancel the calls that the batch makes."""
    seen: list[Call | None] = []

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> list[int]:
        seen.append(current_call.get())
        return items

    async def main() -> None:
        call = Call("python", (b"",), request_id="r", deadline=1.0)
        call.nested = NestedCalls()
        current_call.set(call)
        await f(1)

    run(main)
    assert [(c.request_id, c.deadline, c.nested) for c in seen if c] == [("r", None, None)]


def test_one_models_failure_is_its_own(run: Run) -> None:
    """In a batch for several models, a failure concerns one model's callers only."""
    seen = []

    @batch(max_batch_size=3)
    async def f(items: list[int]) -> list[int]:
        call = current_call.get()
        assert call is not None
        seen.append((call.model_id, items))
        if call.model_id == "bad":
            raise ValueError("no such model")
        return items

    async def ask(model_id: str, item: int) -> Any:
        current_call.set(Call("python", (b"",), model_id=model_id))
        return await f(item)

    async def main() -> None:
        asked = [asyncio.create_task(ask(m, i)) for i, m in enumerate(["good", "bad", "good"])]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert results[0] == 0
        assert results[2] == 2
        assert str(results[1]) == "no such model"

    run(main)
    assert seen == [("good", [0, 2]), ("bad", [1])]
