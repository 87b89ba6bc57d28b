"""Calls of Python methods with Python values: what handles send.

The payload is a pickled `(args, kwargs)`; so is each message of the reply. Core's own protocol.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

from .._wire.codec import decode, encode
from ..aio import close_iterator
from ..calls import PYTHON
from ..errors import ConfigError
from ..types import Call, Message, Reply, Service, UserCallable
from .user_object import is_iterator

__all__ = ["PythonProtocol"]


class PythonProtocol:
    """The `CallProtocol` of handles."""

    name = PYTHON

    def bind(self, served: UserCallable) -> Service:
        async def respond(call: Call) -> Reply:
            entry = served.method(call.method)
            args, kwargs = decode(call.payload[0])
            if call.streaming:
                return await _stream(served, call, args, kwargs)
            if entry.is_generator:
                raise TypeError(
                    f"{served.deployment}.{call.method} is a generator: call it with "
                    "handle.options(stream=True)."
                )
            # Not in a coroutine of its own: this is the way of nearly every call.
            if entry.is_async:
                result = await entry.function(*args, **kwargs)
            else:
                result = await served.in_thread(entry.function, *args, **kwargs)
            return Reply(_encode(result, served, call))

        return respond


async def _stream(
    served: UserCallable, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Reply:
    """Iterate what the method returns: it may be a generator, or give one of somebody else's."""
    items = await served.invoke(call.method, *args, **kwargs)
    if not hasattr(items, "__anext__"):
        raise TypeError(
            f"{served.deployment}.{call.method} is not a generator, and returned {_a(items)}: call "
            "it without stream=True."
        )
    return Reply((b"",), _encoded(items, served, call))


async def _encoded(
    items: AsyncIterator[Any], served: UserCallable, call: Call
) -> AsyncIterator[Message]:
    try:
        async for item in items:
            yield _encode(item, served, call)
    finally:
        await close_iterator(items)


def _encode(value: Any, served: UserCallable, call: Call) -> Message:
    try:
        return encode(value)
    except ConfigError as error:
        method = f"{served.deployment}.{call.method}"
        if is_iterator(value):
            raise TypeError(
                f"{method} returned {_a(value)}: call it with handle.options(stream=True)."
            ) from None
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()  # else Python warns that nobody awaited it, as this says better
            raise TypeError(
                f"{method}{_line(served.method(call.method).function)} returned {_a(value)}: did "
                "you forget `await`? Return what it gives."
            ) from None
        raise ConfigError(f"{method} returned what cannot be sent: {error}") from error


def _line(function: Any) -> str:
    """Return where a method is defined, in brackets; "" for one that is not Python's."""
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return "" if code is None else f" ({code.co_filename}:{code.co_firstlineno})"


def _a(value: Any) -> str:
    """Return the kind of a value with its article, for errors."""
    if inspect.iscoroutine(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
        return f"a {type(value).__name__.replace('_', ' ')} of {value.__qualname__}()"
    name = type(value).__qualname__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
