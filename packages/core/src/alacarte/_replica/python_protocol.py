"""The call protocol of handles: methods of Python objects, with Python values.

The payload is a pickled `(args, kwargs)`; each message of the reply is a pickled value.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable

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

    def bind(self, user: UserCallable, /) -> Service:
        async def respond(call: Call) -> Reply:
            method = user.method(call.method)
            args, kwargs = decode(call.payload[0])
            if call.streaming:
                return await _stream(user, call, args, kwargs)
            if method.is_generator:
                raise TypeError(
                    f"{user.deployment}.{call.method} is a generator: call it with "
                    "handle.options(stream=True)."
                )
            # Not in a coroutine of its own: nearly every call takes this path.
            if method.is_async:
                result = await method.function(*args, **kwargs)
            else:
                result = await user.in_thread(method.function, *args, **kwargs)
            return Reply(_encode(result, user, call))

        return respond


async def _stream(
    user: UserCallable, call: Call, args: tuple[object, ...], kwargs: dict[str, object]
) -> Reply:
    """Return a streaming reply of the items of the generator that the method is or returns."""
    items = await user.invoke(call.method, *args, **kwargs)
    if not hasattr(items, "__anext__"):
        raise TypeError(
            f"{user.deployment}.{call.method} is not a generator, and returned "
            f"{_with_article(items)}: call the method without stream=True."
        )
    return Reply((b"",), _encoded(items, user, call))


async def _encoded(
    items: AsyncIterator[object], user: UserCallable, call: Call
) -> AsyncIterator[Message]:
    try:
        async for item in items:
            yield _encode(item, user, call)
    finally:
        await close_iterator(items)


def _encode(value: object, user: UserCallable, call: Call) -> Message:
    try:
        return encode(value)
    except ConfigError as error:
        method = f"{user.deployment}.{call.method}"
        if is_iterator(value):
            raise TypeError(
                f"{method} returned {_with_article(value)}: call the method with "
                "handle.options(stream=True)."
            ) from None
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()  # this error replaces Python's warning of a coroutine never awaited
            raise TypeError(
                f"{method}{_location(user.method(call.method).function)} returned "
                f"{_with_article(value)}: did you forget `await`? Return the awaited result."
            ) from None
        raise ConfigError(f"{method} returned a value that cannot be sent: {error}") from error


def _location(function: Callable[..., object]) -> str:
    """Return file and line of a function, in parentheses; "" for one without Python code."""
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return "" if code is None else f" ({code.co_filename}:{code.co_firstlineno})"


def _with_article(value: object) -> str:
    """Return the type of a value with its article, for errors."""
    if inspect.iscoroutine(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
        return f"a {type(value).__name__.replace('_', ' ')} of {value.__qualname__}()"
    name = type(value).__qualname__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
