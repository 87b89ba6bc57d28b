"""Calls of Python methods with Python values: what handles send.

The payload is a pickled `(args, kwargs)`; so is each message of the reply. Core's own protocol.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .._wire.codec import decode, encode
from ..calls import PYTHON
from ..errors import ConfigError
from ..types import Call, Entry, Message, Reply, Served, Service

__all__ = ["PythonProtocol"]


class PythonProtocol:
    """The `CallProtocol` of handles."""

    name = PYTHON

    def bind(self, served: Served) -> Service:
        async def respond(call: Call) -> Reply:
            entry = served.entry(call.method)
            args, kwargs = decode(call.payload[0])
            if call.streaming:
                return await _stream(served, call, entry, args, kwargs)
            if entry.is_generator:
                raise TypeError(
                    f"{served.deployment}.{call.method} is a generator: call it with "
                    "handle.options(stream=True)."
                )
            if entry.is_async:
                result = await entry.function(*args, **kwargs)
            else:
                result = await served.in_thread(entry.function, *args, **kwargs)
            return Reply(_encode(result, served, call))

        return respond


async def _stream(
    served: Served, call: Call, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Reply:
    if not entry.is_generator:
        raise TypeError(
            f"{served.deployment}.{call.method} is not a generator: call it without stream=True."
        )
    items = served.iterate(entry.function(*args, **kwargs))
    return Reply((b"",), _encoded(items, served, call))


async def _encoded(items: AsyncIterator[Any], served: Served, call: Call) -> AsyncIterator[Message]:
    try:
        async for item in items:
            yield _encode(item, served, call)
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def _encode(value: Any, served: Served, call: Call) -> Message:
    try:
        return encode(value)
    except ConfigError as error:
        raise ConfigError(
            f"{served.deployment}.{call.method} returned what cannot be sent: {error}"
        ) from error
