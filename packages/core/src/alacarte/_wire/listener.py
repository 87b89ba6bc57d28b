"""The listener of a replica: its sockets and its connections."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping

from ..unix_peers import is_same_user
from .authentication import ReplicaHandshake
from .connection import LoadCounter
from .frames import Kind
from .pending import PendingPeers
from .refusals import RefusalLog
from .replica_connection import Acceptor, ReplicaConnection
from .shared_memory import SegmentPool

__all__ = ["Listener"]


class Listener:
    """A replica's sockets: a Unix socket, a TCP port for other hosts, or both.

    Args:
        acceptor: Runs the calls.
        replica_id: The replica's id, which each caller has to name in its HELLO.
        secret: The instance's secret.
        max_message: The longest request accepted, in bytes.
        metadata: Returns the metadata that an authenticated caller gets.
        kind: Class of the connections; see `observed_connection`.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        replica_id: str,
        secret: bytes,
        *,
        max_message: int,
        metadata: Callable[[], Mapping[str, object]],
        kind: type[ReplicaConnection] = ReplicaConnection,
    ) -> None:
        self.acceptor = acceptor
        self.max_message = max_message
        self.metadata = metadata
        self.load = LoadCounter()
        self.advertisement = b""
        self.connections: set[ReplicaConnection] = set()
        self.refusals = RefusalLog()
        self.segments = SegmentPool()
        self._kind = kind
        self._replica_id = replica_id
        self._secret = secret
        self._pending_unix: PendingPeers[ReplicaConnection] = PendingPeers()
        self._pending_tcp: PendingPeers[ReplicaConnection] = PendingPeers()
        self._servers: list[asyncio.Server] = []
        self._unix_path = ""
        self._connection_ended: asyncio.Future[None] | None = None

    async def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket at `path`, in a directory that only this user may enter."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: self._kind(self), path)
        os.chmod(path, 0o600)
        self._unix_path = path
        self._servers.append(server)

    async def listen_tcp(self, host: str) -> tuple[str, int]:
        """Listen on a free TCP port of `host`; return `(host, port)`."""
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
        """Send this payload of an ADVERTISE to every caller, now and when it connects."""
        self.advertisement = advertisement
        for connection in self.connections:
            connection.advertise()

    def close(self) -> None:
        """Stop listening, and close each connection after its written data has been sent."""
        self._stop_listening()
        for connection in [*self.connections, *self.pending]:
            connection.close()

    def abort(self) -> None:
        """Stop listening, and close every connection at once."""
        self._stop_listening()
        for connection in [*self.connections, *self.pending]:
            connection.abort()

    async def wait_closed(self) -> None:
        """Wait until every connection has ended, after `close`."""
        while self.connections or self.pending:
            self._connection_ended = asyncio.get_running_loop().create_future()
            await self._connection_ended

    def _stop_listening(self) -> None:
        self.segments.close()
        for server in self._servers:
            server.close()
        if self._unix_path and os.path.exists(self._unix_path):
            os.unlink(self._unix_path)

    # --- ConnectionOwner ----------------------------------------------------------------

    def handshake(self) -> ReplicaHandshake:
        return ReplicaHandshake(self._secret, self._replica_id)

    @property
    def pending(self) -> list[ReplicaConnection]:
        """Connections whose peers have not authenticated."""
        return [*self._pending_unix.peers(), *self._pending_tcp.peers()]

    def admit(self, connection: ReplicaConnection) -> str:
        """Add a new connection; return the reason of a refusal, or ""."""
        if not _is_same_user(connection):
            return "the peer belongs to another user"
        pending, address = self._pending_peers(connection)
        _evict(pending.add(connection, address))
        return ""

    def hello_received(self, connection: ReplicaConnection) -> None:
        """Note that a peer has sent a valid HELLO, and has still to authenticate."""
        pending, _ = self._pending_peers(connection)
        if connection in pending:  # an evicted connection still handles the frames of its last read
            _evict(pending.advance(connection))

    def authenticated(self, connection: ReplicaConnection) -> None:
        self._pending_unix.remove(connection)
        self._pending_tcp.remove(connection)
        self.connections.add(connection)

    def forget(self, connection: ReplicaConnection) -> None:
        self._pending_unix.remove(connection)
        self._pending_tcp.remove(connection)
        self.connections.discard(connection)
        if self._connection_ended is not None and not self._connection_ended.done():
            self._connection_ended.set_result(None)

    def _pending_peers(
        self, connection: ReplicaConnection
    ) -> tuple[PendingPeers[ReplicaConnection], str]:
        """Return the pending peers on the socket of a connection, and the peer's address."""
        assert connection.transport is not None
        peer = connection.transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            return self._pending_tcp, str(peer[0])
        return self._pending_unix, ""


def _evict(connection: ReplicaConnection | None) -> None:
    if connection is not None:
        connection.refuse("evicted for a newer connection, because too many are authenticating")


def _is_same_user(connection: ReplicaConnection) -> bool:
    """Return whether the peer of a Unix socket runs as this user; True for other sockets.

    Peers on other sockets prove by the handshake that they belong to the instance.
    """
    assert connection.transport is not None
    peer = connection.transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return True
    # A duplicate, since uvloop's pseudo-socket has no `getsockopt`.
    with socket.socket(fileno=os.dup(peer.fileno())) as duplicate:
        return is_same_user(duplicate)
