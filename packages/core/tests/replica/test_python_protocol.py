"""Calls of the user's methods with Python values."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time

import pytest

from alacarte._replica.python_protocol import PythonProtocol
from alacarte._wire.codec import decode, encode
from alacarte.errors import ConfigError, NotFoundError
from alacarte.types import Call, Reply

from .support import Zoo, construct


async def called(target, method="__call__", *args, streaming=False, **kwargs):
    user = await construct(target, is_function=inspect.isfunction(target))
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
    user = await construct(Model)
    result = await user.invoke(kind, x=5)
    found = [item async for item in result] if hasattr(result, "__anext__") else result
    assert (hasattr(result, "__anext__"), found) == expected
    await user.close()


async def test_invoke_names_a_method_that_is_not_there():
    """`invoke` raises the same error as a call."""
    user = await construct(lambda: 5, is_function=True)
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
