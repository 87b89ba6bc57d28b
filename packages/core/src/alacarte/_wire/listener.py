"""The listener of a replica: its sockets, and who is connected to them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from ..unix_peers import is_same_user
from .authentication import ReplicaHandshake
from .connection import Load
from .frames import Kind
from .pending import PendingPeers
from .refusals import RefusalLog
from .replica_connection import Acceptor, ReplicaConnection
from .shared_memory import Segments

__all__ = ["Listener"]


class Listener:
    """A replica's sockets: one Unix socket, and a TCP port where other hosts must reach it.

    Args:
        acceptor: Takes the calls.
        replica_id: Whom callers must be looking for.
        secret: The instance's secret.
        max_message: The longest request accepted, in bytes.
        facts: What a caller is told once trusted.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        replica_id: str,
        secret: bytes,
        *,
        max_message: int,
        facts: Callable[[], dict[str, Any]],
        kind: type[ReplicaConnection] = ReplicaConnection,
    ) -> None:
        self.acceptor = acceptor
        self.max_message = max_message
        self.facts = facts
        self.load = Load()
        self.advertisement = b""
        self.connections: set[ReplicaConnection] = set()
        self.refusals = RefusalLog()
        self.segments = Segments()
        self._kind = kind
        self._replica_id = replica_id
        self._secret = secret
        self._pending_unix: PendingPeers[ReplicaConnection] = PendingPeers()
        self._pending_tcp: PendingPeers[ReplicaConnection] = PendingPeers()
        self._servers: list[asyncio.Server] = []
        self._unix_path = ""
        self._gone: asyncio.Future[None] | None = None

    async def listen_unix(self, path: str) -> None:
        """Listen at `path`, in a directory that only this user may enter."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: self._kind(self), path)
        os.chmod(path, 0o600)
        self._unix_path = path
        self._servers.append(server)

    async def listen_tcp(self, host: str) -> tuple[str, int]:
        """Listen on a free port of that address; return `(host, port)`."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._kind(self), host, 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return host, port

    def announce(self, kind: Kind) -> None:
        """Send a frame without payload to every caller."""
        for connection in self.connections:
            connection.send(kind, 0, 0)

    def advertise(self, advertisement: bytes) -> None:
        """Send this ADVERTISE to every caller, and to each that connects later."""
        self.advertisement = advertisement
        for connection in self.connections:
            connection.advertise()

    def close(self) -> None:
        """Stop listening, and hang up when what is to be sent has been sent."""
        self._stop_listening()
        for connection in [*self.connections, *self.pending]:
            connection.close()

    def abort(self) -> None:
        """Stop listening, and hang up at once."""
        self._stop_listening()
        for connection in [*self.connections, *self.pending]:
            connection.abort()

    async def wait_closed(self) -> None:
        """After `close`: return when every connection is gone."""
        while self.connections or self.pending:
            self._gone = asyncio.get_running_loop().create_future()
            await self._gone

    def _stop_listening(self) -> None:
        self.segments.close()
        for server in self._servers:
            server.close()
        if self._unix_path and os.path.exists(self._unix_path):
            os.unlink(self._unix_path)

    # --- what connections ask -----------------------------------------------------------

    def handshake(self) -> ReplicaHandshake:
        return ReplicaHandshake(self._secret, self._replica_id)

    @property
    def pending(self) -> list[ReplicaConnection]:
        """Connections whose peers have not authenticated."""
        return [*self._pending_unix.peers(), *self._pending_tcp.peers()]

    def admit(self, connection: ReplicaConnection) -> str:
        """Take in a new connection; return why not, or ""."""
        if not _same_user(connection):
            return "the peer belongs to another user"
        pending, address = self._place(connection)
        _give_way(pending.connected(connection, address))
        return ""

    def greeted(self, connection: ReplicaConnection) -> None:
        """A peer has named this replica, and has still to prove itself."""
        pending, _ = self._place(connection)
        if connection in pending:  # it may have given way while its words were on their way
            _give_way(pending.greeted(connection))

    def trusted(self, connection: ReplicaConnection) -> None:
        self._pending_unix.remove(connection)
        self._pending_tcp.remove(connection)
        self.connections.add(connection)

    def forget(self, connection: ReplicaConnection) -> None:
        self._pending_unix.remove(connection)
        self._pending_tcp.remove(connection)
        self.connections.discard(connection)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _place(self, connection: ReplicaConnection) -> tuple[PendingPeers[ReplicaConnection], str]:
        """Return whom a pending connection competes with, and from which address it comes."""
        assert connection.transport is not None
        peer = connection.transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            return self._pending_tcp, str(peer[0])
        return self._pending_unix, ""


def _give_way(connection: ReplicaConnection | None) -> None:
    if connection is not None:
        connection.refuse("it gave way to newer ones, since too many are authenticating")


def _same_user(connection: ReplicaConnection) -> bool:
    """Whether a peer on a Unix socket runs as our user. Other sockets pass: they authenticate."""
    assert connection.transport is not None
    peer = connection.transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return True
    # A duplicate, since uvloop hands out an object that has no getsockopt of its own.
    with socket.socket(fileno=os.dup(peer.fileno())) as duplicate:
        return is_same_user(duplicate)
