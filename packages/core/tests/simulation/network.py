"""Sockets that are not there: connections between processes, with delays, resets and partitions."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from .loop import Process

__all__ = ["Network", "Transport"]

_CLOSED_S = 0.0005
"""What a process is told after its peer's end, it is told by the kernel."""


class Transport:
    """One end of a connection, as an `asyncio.Transport`.

    Attributes:
        process: Owner of this end.
        peer: The other end.
        held_until: Time before which no data arrives: a partition, or a full link.
    """

    def __init__(self, process: Process, chance: random.Random) -> None:
        self.process = process
        self.peer: Transport | None = None
        self.held_until = 0.0
        self._protocol: Any = None
        self._draw = chance.random
        self._arrives_at = 0.0
        self._closing = False
        self._is_lost = False

    # --- asyncio.Transport --------------------------------------------------------------

    def write(self, data: bytes) -> None:
        peer = self.peer
        if not self._closing and peer is not None and self.process.alive:
            peer._expect(peer._receive, bytes(data))

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def close(self) -> None:
        if not self._closing and self.process.alive:
            self._closing = True
            self.process.soon(self._lost, None)
            if self.peer is not None:
                self.peer._expect(self.peer._hang_up, None)

    def abort(self) -> None:
        self.break_off(ConnectionResetError("reset by peer"))

    def is_closing(self) -> bool:
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the limits: written data has left."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    # ------------------------------------------------------------------------------------

    def begin(self, factory: Callable[[], Any]) -> None:
        """Create the protocol in its process, and connect it."""
        if self._is_lost:
            return
        self._protocol = factory()
        self._protocol.connection_made(self)

    def break_off(self, error: Exception | None = None) -> None:
        """Reset the connection: data in transit is lost."""
        if self._closing or not self.process.alive:
            return
        self._closing = True
        self.process.soon(self._lost, None)
        if self.peer is not None:
            self.peer.process.post(_CLOSED_S * (0.5 + self._draw()), self.peer._hang_up, error)

    def vanish(self) -> None:
        """Close the end of a dead process; the peer learns of it after the data in transit."""
        self._closing = True
        if self.peer is not None:
            self.peer._expect(self.peer._hang_up, ConnectionResetError("reset by peer"))

    def _expect(self, callback: Callable[..., None], *args: Any) -> None:
        """Let something arrive here, after all that was sent before."""
        now = self.process.time()
        delay = 0.00002 + 0.0003 * self._draw()
        if self._draw() < 0.01:
            delay += 0.05 * self._draw()
        # Strictly after what was sent before: bytes do not overtake each other.
        when = self._arrives_at = max(now + delay, self._arrives_at + 1e-9, self.held_until)
        self.process.post(when - now, callback, *args)

    def _receive(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self._is_lost:
            buffer = self._protocol.get_buffer(-1)
            count = min(len(buffer), len(data) - at)
            buffer[:count] = data[at : at + count]
            at += count
            self._protocol.buffer_updated(count)

    def _hang_up(self, error: Exception | None) -> None:
        self._closing = True
        self._lost(error)

    def _lost(self, error: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = True
            if self._protocol is not None:
                self._protocol.connection_lost(error)


class _Server:
    """Where a process listens, as `asyncio.Server`."""

    def __init__(self, network: Network, process: Process, factory: Any, port: int) -> None:
        self.process = process
        self.factory = factory
        self.sockets = [self]
        self._network = network
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        return ("", self._port)

    def close(self) -> None:
        self._network.servers.pop(self._port, None)

    def is_serving(self) -> bool:
        return True


class Network:
    """All connections of a world.

    Attributes:
        transports: Ends of connections by process, oldest first.
    """

    def __init__(self, seed: int) -> None:
        self.servers: dict[int, _Server] = {}
        self.transports: dict[Process, list[Transport]] = {}
        self._seed = seed
        self._port = 0
        self._connections = 0

    def listen(self, process: Process, factory: Any, address: Any) -> _Server:
        self._port += 1
        server = self.servers[self._port] = _Server(self, process, factory, self._port)
        return server

    async def connect(self, process: Process, factory: Any, address: Any) -> Any:
        """Connect two processes. The kernel of a frozen process accepts, too."""
        self._connections += 1
        # Of their own, so that the order in which others send does not matter here.
        chance = random.Random(self._seed * 1_000_003 + self._connections)
        made = process.create_future()
        process.post(0.0001 + 0.0004 * chance.random(), _resolve, made)
        await made
        server = self.servers.get(address[1])
        if server is None or not server.process.alive:
            raise ConnectionRefusedError("nobody listens there")
        far, near = Transport(server.process, chance), Transport(process, chance)
        near.peer, far.peer = far, near
        for transport in (near, far):
            self.transports.setdefault(transport.process, []).append(transport)
        far._expect(far.begin, server.factory)
        near.begin(factory)
        return near, near._protocol

    def end_of(self, process: Process) -> None:
        """Close all sockets of a dead process."""
        for port in [port for port, server in self.servers.items() if server.process is process]:
            del self.servers[port]
        for transport in self.transports.pop(process, ()):
            transport.vanish()


def _resolve(future: Any) -> None:
    if not future.done():
        future.set_result(None)
