"""The streamed body of a request on its way to a replica."""

from __future__ import annotations

from collections.abc import AsyncIterator

from alacarte.types import Message

from .._edge.exchange import Exchange

__all__ = ["rest_of_body"]


async def rest_of_body(exchange: Exchange) -> AsyncIterator[Message]:
    """Yield the remaining parts of the body as they arrive."""
    while data := await exchange.read():
        yield (data,)
