"""Both ends of a connection in memory; the test decides what is delivered, and when."""

from __future__ import annotations

import asyncio
from typing import Any

from alacarte._wire.authentication import CallerHandshake
from alacarte._wire.caller_connection import CallerConnection
from alacarte._wire.connection import Connection
from alacarte._wire.error_codec import unpickle_error
from alacarte._wire.listener import Listener
from alacarte._wire.replica_connection import ReplicaConnection
from alacarte.types import Service

from .support import REPLICA_ID, SECRET, Desk

HIGH_WATER_BYTES = 600
"""More than that undelivered, and the writer is asked to pause, as a full socket does."""


class Pipe(asyncio.Transport):
    """The transport of one end, which holds written data until `deliver`."""

    def __init__(self, writer: Connection) -> None:
        super().__init__()
        self.writer = writer
        self.reader: Connection
        self.written = bytearray()
        self.broken = False
        self.reads = True

    def connect(self, reader: Connection) -> None:
        self.reader = reader
        self.writer.connection_made(self)

    def deliver(self, count: int) -> None:
        """Let the other end receive up to so many bytes in a read, unless it has paused reading."""
        end = self.reader.transport
        if isinstance(end, Pipe) and not end.reads:
            return
        data = memoryview(bytes(self.written[:count]))
        del self.written[:count]
        if len(self.written) <= HIGH_WATER_BYTES:
            self.writer.resume_writing()
        while data and not self.broken:
            buffer = self.reader.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            data = data[size:]
            self.reader.buffer_updated(size)

    def write(self, data: Any) -> None:
        self.written += data
        if len(self.written) > HIGH_WATER_BYTES:
            self.writer.pause_writing()

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def abort(self) -> None:
        self.broken = True

    def close(self) -> None:
        self.broken = True

    def is_closing(self) -> bool:
        return self.broken

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Line:
    """A caller and a replica that have authenticated each other.

    Attributes:
        up: Carries what the caller writes.
        down: Carries what the replica writes.
    """

    def __init__(self, service: Service, *, max_message: int, limit: int = 1000) -> None:
        self.desk = Desk(service, limit)
        self.desk.listener = Listener(
            self.desk, REPLICA_ID, SECRET, max_message=max_message, metadata=dict
        )
        self.caller = CallerConnection(
            CallerHandshake(SECRET, REPLICA_ID),
            max_message=max_message,
            decode_error=unpickle_error,
        )
        self.replica = ReplicaConnection(self.desk.listener)
        self.up = Pipe(self.caller)
        self.down = Pipe(self.replica)
        self.down.connect(self.caller)
        self.up.connect(self.replica)
        self.flush()
        assert self.caller.established.done()

    @property
    def broken(self) -> bool:
        return self.up.broken or self.down.broken

    def flush(self) -> None:
        """Deliver all written data, and the data written in answer."""
        while (self.up.written or self.down.written) and not self.broken:
            self.up.deliver(1 << 20)
            self.down.deliver(1 << 20)

    def close(self) -> None:
        self.caller.connection_lost(None)
        self.replica.connection_lost(None)
