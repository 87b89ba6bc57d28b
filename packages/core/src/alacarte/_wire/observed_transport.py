"""Connections whose bytes a plugin observes; where no plugin asks, there are none of these."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from ..types import Buffer, WireObserver
from .connection import Connection, scatters

__all__ = ["observed"]

C = TypeVar("C", bound=Connection)


class CountingTransport:
    """A transport of whose written bytes an observer is told; else the transport itself."""

    def __init__(self, transport: asyncio.Transport, sent: Callable[[int], None]) -> None:
        self._transport = transport
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Buffer) -> None:
        """Count and write."""
        self._sent(len(data))
        self._transport.write(data)

    def writelines(self, parts: Iterable[Buffer]) -> None:
        """Count and write."""
        parts = list(parts)
        self._sent(sum(map(len, parts)))
        self._transport.writelines(parts)


def observed(kind: type[C], observer: WireObserver) -> type[C]:
    """Return a class of connections like `kind`, of which an observer is told.

    Args:
        observer: Of a plugin, or of several together; raises nothing.
    """

    class Observed(kind):  # type: ignore[misc,valid-type]  # made once for each process
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            observer.opened()
            counting = CountingTransport(cast(asyncio.Transport, transport), observer.sent)
            super().connection_made(cast(asyncio.Transport, counting))
            self._scatters = scatters(transport)

        def buffer_updated(self, count: int) -> None:
            observer.received(count)
            super().buffer_updated(count)

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            observer.closed()

    return Observed
