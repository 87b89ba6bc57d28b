"""Connections whose bytes a plugin observes; made only where a plugin gives an observer."""

from __future__ import annotations

import asyncio
from typing import TypeVar, cast

from ..transports import CountingTransport
from ..types import WireObserver
from .connection import Connection, supports_writev

__all__ = ["observed_connection"]

C = TypeVar("C", bound=Connection)


def observed_connection(kind: type[C], observer: WireObserver) -> type[C]:
    """Return a subclass of `kind` that reports its bytes to an observer.

    Args:
        observer: The observer of one plugin, or of several together; raises nothing.
    """

    class ObservedConnection(kind):  # type: ignore[misc,valid-type]  # made once for each process
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            observer.opened()
            counting = CountingTransport(transport, observer.sent)
            super().connection_made(cast(asyncio.Transport, counting))
            self._supports_writev = supports_writev(transport)

        def buffer_updated(self, count: int) -> None:
            observer.received(count)
            super().buffer_updated(count)

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            observer.closed()

    return ObservedConnection
