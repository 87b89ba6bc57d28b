"""Transports for plugins that observe the connections of an ingress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from .types import Buffer

__all__ = ["CountingTransport"]


class CountingTransport:
    """A transport that reports the size of each write, and passes every call on to another.

    Args:
        transport: Sends the bytes.
        sent: Called before each write with its size in bytes.
    """

    def __init__(self, transport: asyncio.BaseTransport, sent: Callable[[int], None]) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Buffer) -> None:
        """Report the size of the data and write the data."""
        self._sent(len(data))
        self._transport.write(data)

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """Report the size of all pieces together and write the pieces."""
        pieces = list(pieces)
        self._sent(sum(map(len, pieces)))
        self._transport.writelines(pieces)
