"""The user's object: construction, methods, threads and generators."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading

import pytest

from alacarte.errors import ConfigError, NotFoundError

from .support import WAIT_S, Zoo, construct

# --- construction and life --------------------------------------------------------------


async def test_an_async_constructor_is_awaited():
    """An `async def __init__` is awaited."""

    class Model:
        async def __init__(self, name, *, size):
            await asyncio.sleep(0)
            self.what = (name, size)

    user = await construct(Model, "m", size=3)
    assert user.instance.what == ("m", 3)


async def test_new_takes_part():
    """`__new__` gets the arguments, as in any construction."""

    class Model:
        def __new__(cls, name):
            self = super().__new__(cls)
            self.made_with = name
            return self

        def __init__(self, name):
            self.name = name

    user = await construct(Model, "m")
    assert (user.instance.made_with, user.instance.name) == ("m", "m")


async def test_a_function_is_not_constructed():
    """A function is used as it is, and its only method is `__call__`."""

    def double(x):
        return 2 * x

    user = await construct(double, is_function=True)
    assert user.method("__call__") == (double, False, False)
    told = r"shop#model has no method 'other'\. It has: __call__\."
    with pytest.raises(NotFoundError, match=told):
        user.method("other")
    await user.check_health()
    await user.close()


@pytest.mark.parametrize("is_async", [False, True])
async def test_reconfigure_and_check_health(is_async):
    """Both methods may be sync or async, and their exceptions are raised."""

    class Sync:
        def reconfigure(self, config):
            self.config = config

        def check_health(self):
            if self.config == "bad":
                raise RuntimeError("unhealthy")

    class Async(Sync):
        async def reconfigure(self, config):
            super().reconfigure(config)

        async def check_health(self):
            super().check_health()

    user = await construct(Async if is_async else Sync)
    await user.reconfigure({"a": 1})
    await user.check_health()
    assert user.instance.config == {"a": 1}
    await user.reconfigure("bad")
    with pytest.raises(RuntimeError, match="unhealthy"):
        await user.check_health()


async def test_a_sync_check_that_hangs():
    """A sync check runs once at a time, in a thread of its own, which ends with the check."""
    free, checks = threading.Event(), []

    class Model:
        def check_health(self):
            checks.append(threading.current_thread())
            free.wait(WAIT_S)

        def work(self):
            return "done"

    user = await construct(Model, threads=1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await user.check_health()
    assert await user.in_thread(user.instance.work) == "done"
    assert len(checks) == 1
    assert checks[0].daemon
    free.set()
    await user.check_health()
    await user.close()


@pytest.mark.parametrize("is_function", [False, True])
async def test_user_config_without_reconfigure(is_function):
    """The error names the method that is missing."""

    class Model:
        pass

    def function():
        pass

    user = await construct(function if is_function else Model, is_function=is_function)
    told = r"shop#model: user_config .*reconfigure\(self, user_config\)"
    with pytest.raises(ConfigError, match=told):
        await user.reconfigure({})
    await user.check_health()


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_destructor_runs_once(is_async):
    """When the replica ends, and not again when the interpreter drops the object."""
    ended = []

    class Sync:
        def __del__(self):
            ended.append("del")

    class Async:
        async def __del__(self):
            ended.append("del")

    user = await construct(Async if is_async else Sync)
    await user.close()
    assert ended == ["del"]
    user.instance = None
    gc.collect()
    assert ended == ["del"]


async def test_each_replica_ends_its_own_object():
    """Replicas of one process share the user's class, and each ends its own object only."""
    ended = []

    class Model:
        def __init__(self, name):
            self.name = name

        def __del__(self):
            ended.append(self.name)

    first, second = await construct(Model, "first"), await construct(Model, "second")
    await first.close()
    await second.close()
    assert ended == ["first", "second"]
    Model("third")
    assert ended == ["first", "second", "third"]


# --- finding callables ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_async", "is_generator"),
    [
        ("sync", False, False),
        ("coroutine", True, False),
        ("generator", False, True),
        ("async_generator", False, True),
        ("wrapped", True, False),
        ("static", True, False),
        ("clsmethod", False, False),
        ("attribute", True, False),
        ("partial", False, False),
    ],
)
async def test_how_a_callable_is_run(name, is_async, is_generator):
    """Each kind of callable is recognized, and looked up once."""
    user = await construct(Zoo)
    entry = user.method(name)
    assert (entry.is_async, entry.is_generator) == (is_async, is_generator)
    assert user.method(name) is entry


@pytest.mark.parametrize("name", ["missing", "no_method", "__call__"])
async def test_a_method_that_is_not_there(name):
    """The error names the deployment, the missing method and the existing ones."""
    user = await construct(Zoo)
    with pytest.raises(NotFoundError, match=f"shop#model has no method '{name}'") as caught:
        user.method(name)
    assert "async_generator" in str(caught.value)
    assert "no_method" not in str(caught.value).partition("It has")[2]


# --- threads ----------------------------------------------------------------------------

WHERE = contextvars.ContextVar("WHERE", default="nowhere")


async def test_sync_code_runs_in_threads_with_its_context():
    """Beside the event loop, as many at a time as the replica takes, knowing their request."""
    user = await construct(Zoo, threads=2)
    both = threading.Barrier(2, timeout=WAIT_S)

    def handler(x, *, y):
        both.wait()
        return (x + y, WHERE.get(), threading.current_thread() is threading.main_thread())

    WHERE.set("request")
    results = await asyncio.gather(*(user.in_thread(handler, n, y=1) for n in (1, 2)))
    assert results == [(2, "request", False), (3, "request", False)]
    await user.close()


async def test_a_sync_function_may_return_a_coroutine():
    """A coroutine that a sync function returns is awaited on the loop."""
    user = await construct(Zoo)

    async def coroutine():
        return asyncio.get_running_loop()

    assert await user.in_thread(lambda: coroutine()) is asyncio.get_running_loop()
    await user.close()


@pytest.mark.parametrize("error", [KeyError("k"), StopIteration("end"), SystemExit(2)])
async def test_exceptions_of_a_thread_are_raised(error):
    """Not even StopIteration, which no future can hold, leaves the caller waiting."""
    user = await construct(Zoo)

    def fail():
        raise error

    with pytest.raises(BaseException) as caught:
        async with asyncio.timeout(WAIT_S):
            await user.in_thread(fail)
    assert type(error).__name__ in repr(caught.value) + repr(caught.value.__cause__)
    await user.close()


async def test_more_threads_for_more_requests():
    """After `max_ongoing_requests` was raised, as many sync handlers run concurrently."""
    user = await construct(Zoo, threads=1)
    user.resize(3)
    all_three = threading.Barrier(3, timeout=WAIT_S)
    await asyncio.gather(*(user.in_thread(all_three.wait) for _ in range(3)))
    await user.close()


# --- generators -------------------------------------------------------------------------


async def test_an_async_generator_is_iterated_as_it_is():
    """No thread, no copy."""
    user = await construct(Zoo)

    async def items():
        yield 1

    generator = items()
    assert user.iterate(generator) is generator
    assert [item async for item in generator] == [1]


async def test_a_sync_generator_runs_in_one_thread_with_its_context():
    """Items come in order; each step runs in the same thread, which is not the loop's."""
    user = await construct(Zoo)
    threads = set()

    def items():
        for n in range(1000):
            threads.add((threading.current_thread(), WHERE.get()))
            yield n

    WHERE.set("request")
    assert [item async for item in user.iterate(items())] == list(range(1000))
    [(thread, where)] = threads
    assert thread is not threading.main_thread()
    assert where == "request"
    await user.close()


async def test_a_sync_generator_does_not_run_far_ahead():
    """A sync generator is never more than a bounded number of items ahead of its reader."""
    user = await construct(Zoo)
    produced = []

    def items():
        for n in range(5_000):
            produced.append(n)
            yield n

    async for n in user.iterate(items()):
        assert len(produced) - n <= 130
    assert len(produced) == 5_000
    await user.close()


async def test_a_sync_generator_that_is_left_is_closed():
    """The generator's `finally` runs in its thread, which is then free."""
    user = await construct(Zoo, threads=1)
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    stream = user.iterate(items())
    await anext(stream)
    await stream.aclose()
    assert await asyncio.wait_for(user.in_thread(closed.wait, WAIT_S), WAIT_S)
    await user.close()


async def test_a_sync_generator_that_raises():
    """The items before an error arrive, then the error."""
    user = await construct(Zoo)

    def items():
        yield 1
        raise ValueError("no more")

    stream = user.iterate(items())
    assert await anext(stream) == 1
    with pytest.raises(ValueError, match="no more"):
        await anext(stream)
    await user.close()


async def test_an_empty_sync_generator():
    """No items, no waiting."""
    user = await construct(Zoo)
    assert [item async for item in user.iterate(iter(()))] == []
    await user.close()
