"""The user's object in a replica: constructed, called where it belongs, and ended once."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import threading
import time

import pytest

from alacarte._replica.python_protocol import PythonProtocol
from alacarte._replica.user_object import UserObject
from alacarte._wire.codec import decode, encode
from alacarte.errors import ConfigError, NotFoundError
from alacarte.types import Call, DeploymentId, Reply

HERE = DeploymentId("shop", "model")
WAIT_S = 20


async def made(target, *args, is_function=False, threads=2, **kwargs) -> UserObject:
    user = UserObject(HERE, target, is_function=is_function, threads=threads)
    await user.construct(args, kwargs)
    return user


# --- construction and life --------------------------------------------------------------


async def test_an_async_constructor_is_awaited():
    """An `async def __init__` is awaited."""

    class Model:
        async def __init__(self, name, *, size):
            await asyncio.sleep(0)
            self.what = (name, size)

    user = await made(Model, "m", size=3)
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

    user = await made(Model, "m")
    assert (user.instance.made_with, user.instance.name) == ("m", "m")


async def test_a_function_is_not_constructed():
    """A function is used as it is, and its only method is `__call__`."""

    def double(x):
        return 2 * x

    user = await made(double, is_function=True)
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

    user = await made(Async if is_async else Sync)
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

    user = await made(Model, threads=1)
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

    user = await made(function if is_function else Model, is_function=is_function)
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

    user = await made(Async if is_async else Sync)
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

    first, second = await made(Model, "first"), await made(Model, "second")
    await first.close()
    await second.close()
    assert ended == ["first", "second"]
    Model("third")
    assert ended == ["first", "second", "third"]


# --- finding callables ------------------------------------------------------------------


class Zoo:
    """A class with one callable of each kind."""

    def sync(self):
        return "sync"

    async def coroutine(self):
        return "coroutine"

    def generator(self):
        yield 1

    async def async_generator(self):
        yield 1

    @functools.wraps(coroutine)
    async def wrapped(self):
        return "wrapped"

    @staticmethod
    async def static():
        return "static"

    @classmethod
    def clsmethod(cls):
        return "class"

    class AsyncCallable:
        async def __call__(self):
            return "object"

    attribute = AsyncCallable()
    partial = staticmethod(functools.partial(print))
    no_method = 7
    _private = 8


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
    user = await made(Zoo)
    entry = user.method(name)
    assert (entry.is_async, entry.is_generator) == (is_async, is_generator)
    assert user.method(name) is entry


@pytest.mark.parametrize("name", ["missing", "no_method", "__call__"])
async def test_a_method_that_is_not_there(name):
    """The error names the deployment, the missing method and the existing ones."""
    user = await made(Zoo)
    with pytest.raises(NotFoundError, match=f"shop#model has no method '{name}'") as caught:
        user.method(name)
    assert "async_generator" in str(caught.value)
    assert "no_method" not in str(caught.value).partition("It has")[2]


# --- threads ----------------------------------------------------------------------------

WHERE = contextvars.ContextVar("WHERE", default="nowhere")


async def test_sync_code_runs_in_threads_with_its_context():
    """Beside the event loop, as many at a time as the replica takes, knowing their request."""
    user = await made(Zoo, threads=2)
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
    user = await made(Zoo)

    async def coroutine():
        return asyncio.get_running_loop()

    assert await user.in_thread(lambda: coroutine()) is asyncio.get_running_loop()
    await user.close()


@pytest.mark.parametrize("error", [KeyError("k"), StopIteration("end"), SystemExit(2)])
async def test_exceptions_of_a_thread_are_raised(error):
    """Not even StopIteration, which no future can hold, leaves the caller waiting."""
    user = await made(Zoo)

    def fail():
        raise error

    with pytest.raises(BaseException) as caught:
        async with asyncio.timeout(WAIT_S):
            await user.in_thread(fail)
    assert type(error).__name__ in repr(caught.value) + repr(caught.value.__cause__)
    await user.close()


async def test_more_threads_for_more_requests():
    """After `max_ongoing_requests` was raised, as many sync handlers run concurrently."""
    user = await made(Zoo, threads=1)
    user.resize(3)
    all_three = threading.Barrier(3, timeout=WAIT_S)
    await asyncio.gather(*(user.in_thread(all_three.wait) for _ in range(3)))
    await user.close()


# --- generators -------------------------------------------------------------------------


async def test_an_async_generator_is_iterated_as_it_is():
    """No thread, no copy."""
    user = await made(Zoo)

    async def items():
        yield 1

    generator = items()
    assert user.iterate(generator) is generator
    assert [item async for item in generator] == [1]


async def test_a_sync_generator_runs_in_one_thread_with_its_context():
    """Items come in order; each step runs in the same thread, which is not the loop's."""
    user = await made(Zoo)
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
    user = await made(Zoo)
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
    user = await made(Zoo, threads=1)
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
    user = await made(Zoo)

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
    user = await made(Zoo)
    assert [item async for item in user.iterate(iter(()))] == []
    await user.close()


# --- calls with Python values -----------------------------------------------------------


async def called(target, method="__call__", *args, streaming=False, **kwargs):
    user = await made(target, is_function=inspect.isfunction(target))
    (payload,) = encode((args, kwargs))
    reply: Reply = await PythonProtocol().bind(user)(
        Call("python", (payload,), method, streaming=streaming)
    )
    if reply.rest is None:
        return decode(reply.payload[0])
    return [decode(message[0]) async for message in reply.rest]


@pytest.mark.parametrize(
    ("method", "expected"),
    [("sync", "sync"), ("coroutine", "coroutine"), ("static", "static"), ("attribute", "object")],
)
async def test_a_call_of_each_kind(method, expected):
    """The result does not depend on where the method runs."""
    assert await called(Zoo, method) == expected


@pytest.mark.parametrize("method", ["generator", "async_generator"])
async def test_a_streaming_call(method):
    """Each item is a message."""
    assert await called(Zoo, method, streaming=True) == [1]


def untold(function):
    """Wrap a function so that `inspect` cannot see its kind."""

    def call(*args):
        return function(*args)

    return call


def told_as_async(function):
    @functools.wraps(function)
    async def call(*args):
        return function(*args)

    return call


class Delegates:
    """Gives streams without being a generator."""

    def items(self):
        yield from (1, 2)

    async def async_items(self):
        yield 1
        yield 2

    def sync(self):
        return self.items()

    def sync_of_async(self):
        return self.async_items()

    async def coroutine(self):
        return self.items()

    async def coroutine_of_async(self):
        return self.async_items()

    def iterator(self):
        return iter([1, 2])

    wrapped = untold(items)
    wrapped_async = untold(async_items)
    static = staticmethod(told_as_async(lambda: Delegates().items()))
    partial = staticmethod(functools.partial(lambda n: iter(range(1, n)), 3))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sync", (False, [5, True])),
        ("coroutine", (False, [5, False])),
        ("sync_items", (True, [5, True])),
        ("async_items", (True, [5, False])),
        ("given", (True, [5, False])),
    ],
)
async def test_invoke_runs_every_kind_of_method(kind, expected):
    """Methods of every kind run; those with items return an async iterator."""

    class Model:
        def sync(self, x):
            return [x, threading.current_thread() is not main]

        async def coroutine(self, x):
            return [x, threading.current_thread() is not main]

        def sync_items(self, x):
            yield x
            yield threading.current_thread() is not main

        async def async_items(self, x):
            yield x
            yield threading.current_thread() is not main

        async def given(self, x):
            return self.async_items(x)

    main = threading.current_thread()
    user = await made(Model)
    result = await user.invoke(kind, x=5)
    found = [item async for item in result] if hasattr(result, "__anext__") else result
    assert (hasattr(result, "__anext__"), found) == expected
    await user.close()


async def test_invoke_names_a_method_that_is_not_there():
    """`invoke` raises the same error as a call."""
    user = await made(lambda: 5, is_function=True)
    assert await user.invoke("__call__") == 5
    with pytest.raises(NotFoundError, match=r"no method 'other'\. It has: __call__"):
        await user.invoke("other")
    await user.close()


@pytest.mark.parametrize(
    "method",
    [
        "sync", "sync_of_async", "coroutine", "coroutine_of_async", "iterator", "wrapped",
        "wrapped_async", "static", "partial",
    ],
)  # fmt: skip
async def test_a_method_that_returns_a_generator(method):
    """A returned generator is streamed; without stream=True the error names the option."""
    assert await called(Delegates, method, streaming=True) == [1, 2]
    if method in ("iterator", "partial"):  # which pickle takes, other than generators
        assert list(await called(Delegates, method)) == [1, 2]
        return
    with pytest.raises(TypeError, match=rf"shop#model.{method} returned an? .*\(stream=True\)"):
        await called(Delegates, method)


async def test_a_generator_that_an_async_function_wraps():
    """The call's result decides, not the function that `functools.wraps` names."""

    async def items():
        yield 1

    class Model:
        __call__ = staticmethod(told_as_async(items))

    assert await called(Model, streaming=True) == [1]


def collected(function):
    @functools.wraps(function)
    def call(*args):
        return list(function(*args))

    return call


def collected_async(function):
    @functools.wraps(function)
    async def call(*args):
        return [item async for item in function(*args)]

    return call


class Collects:
    """Collects the items of its generators into lists."""

    @collected
    def items(self):
        yield from (1, 2)

    @collected_async
    async def async_items(self):
        yield 1
        yield 2

    static = staticmethod(collected(lambda: iter([1, 2])))


@collected
def collects():
    yield from (1, 2)


@collected_async
async def collects_async():
    yield 1
    yield 2


@pytest.mark.parametrize(
    ("target", "method"),
    [
        (Collects, "items"), (Collects, "async_items"), (Collects, "static"),
        (collects, "__call__"), (collects_async, "__call__"),
    ],
)  # fmt: skip
async def test_a_decorator_that_collects_a_generator(target, method):
    """The result is a list, whatever function `functools.wraps` names."""
    assert await called(target, method) == [1, 2]
    with pytest.raises(TypeError, match="is not a generator, and returned a list"):
        await called(target, method, streaming=True)


async def test_a_forgotten_await():
    """The error asks for the missing `await`."""

    class Model:
        async def __call__(self):
            return asyncio.get_running_loop().create_future()

        async def coroutine(self):
            return self.inner()

        async def inner(self):
            return 1

    with pytest.raises(
        TypeError, match=r"model.__call__ \(.*\.py:\d+\) returned a .* did you forget"
    ):
        await called(Model)
    with pytest.raises(TypeError, match=r"returned a coroutine of .*Model\.inner\(\): did you"):
        await called(Model, "coroutine")


async def test_arguments_arrive():
    """Positional and by name."""

    class Model:
        def __call__(self, a, /, b, *, c=0):
            return [a, b, c]

    assert await called(Model, "__call__", 1, b=2, c=3) == [1, 2, 3]


async def test_a_misspelt_method():
    """The error suggests the nearest name, if one is near."""
    with pytest.raises(NotFoundError, match="no method 'generatr'. Did you mean 'generator'"):
        await called(Zoo, "generatr")
    with pytest.raises(NotFoundError, match="no method 'xyz'. It has: AsyncCallable, "):
        await called(Zoo, "xyz")


async def test_the_wrong_way_to_call():
    """A generator called without stream=True, or the reverse, gives an error with the remedy."""
    with pytest.raises(TypeError, match=r"shop#model.generator is a generator: .*stream=True"):
        await called(Zoo, "generator")
    with pytest.raises(
        TypeError, match=r"shop#model.sync is not a generator, and returned a str: .*without stream"
    ):
        await called(Zoo, "sync", streaming=True)


async def test_a_result_that_cannot_be_sent():
    """The error names the method, and why."""

    class Model:
        def __call__(self):
            return threading.Lock()

        def items(self):
            yield time.monotonic
            yield threading.Lock()

    told = r"shop#model\.__call__ returned a value that cannot be sent: lock"
    with pytest.raises(ConfigError, match=told):
        await called(Model)
    with pytest.raises(
        ConfigError, match=r"shop#model\.items returned a value that cannot be sent"
    ):
        await called(Model, "items", streaming=True)
