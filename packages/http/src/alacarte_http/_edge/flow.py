"""Flow control of a client's connection, in both directions."""

from __future__ import annotations

import asyncio

__all__ = ["Flow"]


class Flow:
    """Pauses and resumes reading, and waits for a client that does not read.

    Attributes:
        read_paused: The server does not read, so that the client waits.
        write_paused: The client does not read, so that the transport's buffer is full.
    """

    __slots__ = ("_transport", "_writable", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.read_paused = False
        self.write_paused = False
        self._transport = transport
        self._writable: asyncio.Event | None = None

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading`."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading if it is paused."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Let `drain` wait: the transport's buffer is full."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let `drain` return: the transport's buffer has room, or the transport is closed."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def drain(self) -> None:
        """Wait until the client has read enough, or has disconnected."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()
