"""uvicorn's HTTP protocol, with what a proxy needs to know of its connection."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["ProxyConnection"]


class ProxyConnection(HttpToolsProtocol):
    """A client's connection.

    Attributes:
        task: Works on the current request; cancelled when the client hangs up, so that the
            replica stops too. Cheaper than watching `receive()` in a task of its own.
        lost: The client has hung up.
    """

    task: asyncio.Task[Any] | None = None
    lost = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["alacarte.connection"] = self  # type: ignore[typeddict-unknown-key]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        super().connection_lost(exc)
        if self.task is not None:
            self.task.cancel()
