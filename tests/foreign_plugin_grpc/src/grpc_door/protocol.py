"""Call protocol for bytes without pickle, in the ingress and in replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from alacarte.errors import ErrorCode, NotFoundError, RequestError
from alacarte.types import Call, Message, Reply, Service, UserCallable

__all__ = ["PROTOCOL", "BytesProtocol", "UnknownMethodError", "messages"]

PROTOCOL = "grpc-door"
_VALUE, _ITEMS = b"v", b"i"
"""First piece of a reply: one message follows in the payload, or messages follow in the rest."""


class UnknownMethodError(RequestError):
    """The ingress deployment has no method with the requested name."""

    code = ErrorCode.UNIMPLEMENTED


class BytesProtocol:
    """A `CallProtocol`: the method gets the request's bytes, and returns or yields bytes."""

    name = PROTOCOL

    def bind(self, served: UserCallable) -> Service:
        async def respond(call: Call) -> Reply:
            try:
                served.method(call.method)
            except NotFoundError as error:
                unknown = UnknownMethodError(str(error))
                unknown.client_message = f"There is no method {call.method}."
                raise unknown from None
            result = await served.invoke(call.method, bytes(call.payload[0]))
            if hasattr(result, "__anext__"):
                return Reply((_ITEMS,), _encoded(call, result))
            return Reply((_VALUE, _bytes(call, result)))

        return respond


async def messages(reply: Reply) -> AsyncIterator[bytes]:
    """Yield the messages of a reply, in the ingress."""
    first = b"".join(map(bytes, reply.payload))
    if first[:1] == _VALUE:
        yield first[1:]
    if reply.rest is None:
        return
    try:
        async for message in reply.rest:
            yield b"".join(map(bytes, message))
    finally:
        await reply.rest.aclose()  # type: ignore[attr-defined]


async def _encoded(call: Call, items: Any) -> AsyncIterator[Message]:
    try:
        async for item in items:
            yield (_bytes(call, item),)
    finally:
        await items.aclose()


def _bytes(call: Call, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{call.method} returned {type(value).__name__}; it must return bytes.")
    return value
