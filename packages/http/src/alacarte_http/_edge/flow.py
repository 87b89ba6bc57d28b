"""Who waits for whom on a connection: the client for us to read, or we for the client."""

from __future__ import annotations

import asyncio

__all__ = ["Flow"]


class Flow:
    """The flow of a connection's bytes in both directions.

    Attributes:
        read_paused: Nothing is read, so that the client waits.
        write_paused: The client does not read what was written.
    """

    __slots__ = ("_transport", "_writable", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.read_paused = False
        self.write_paused = False
        self._transport = transport
        self._writable: asyncio.Event | None = None

    def pause_reading(self) -> None:
        """Read nothing until `resume_reading`."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, where reading was paused."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Let `drain` wait: the transport holds enough."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let `drain` return: the transport has room, or is closed."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def drain(self) -> None:
        """Return when the client has read enough of what was written, or is gone."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()
