"""The listening socket that all proxy processes of a node share, and its handover between them.

New connections wait in the socket's queue until any of the processes accepts them. So a process can
end and another start without a refused connection. (With a socket per process, through
SO_REUSEPORT, connections in the queue of a process that ends would be reset.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket

from alacarte.errors import ConfigError
from alacarte.types import ServiceContext
from alacarte.unix_peers import is_same_user

__all__ = ["ListenerOffer", "listening_socket", "obtain_listener"]

log = logging.getLogger("alacarte.http")
BACKLOG = 2048
_HANDOVER_TIMEOUT_S = 2.0
"""How long a sibling process may take to hand over the socket; a stopped process never does."""


async def obtain_listener(context: ServiceContext, host: str, port: int) -> socket.socket:
    """Return the listening socket of this node's proxies, from a sibling process or a new one.

    Raises:
        ConfigError: The port is in use, or the address is not this machine's.
    """
    for path in context.sibling_sockets():
        try:
            async with asyncio.timeout(_HANDOVER_TIMEOUT_S):
                return await _receive_listener(path)
        except (OSError, TimeoutError) as error:  # the sibling is starting or ending
            log.debug("no listening socket from %s: %r", path, error)
    # With port=0, keep the port of the previous process, whose clients know it.
    previous_port = int(context.metadata.get("port", 0))
    if port == 0 and previous_port:
        try:
            return listening_socket(host, previous_port)
        except ConfigError:
            log.warning(
                "http: another program has taken port %d; the proxy listens on another port",
                previous_port,
            )
    return listening_socket(host, port)


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        ConfigError: The port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Here, because two sockets can be bound to one address until the first listens.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"http: port {port} on {host} is in use. Stop the program that listens there, or "
                "choose another port with http_options={'port': …} (`alacarte run --port`)."
            ) from None
        raise ConfigError(f"http: cannot listen on {host} port {port}: {error.strerror}.") from None
    listener.setblocking(False)
    return listener


async def _receive_listener(path: str) -> socket.socket:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sibling:
        sibling.setblocking(False)
        await loop.sock_connect(sibling, path)
        if not is_same_user(sibling):
            raise OSError(f"{path} belongs to another user")
        await _wait_readable(sibling)
        _, descriptors, _, _ = socket.recv_fds(sibling, 1, 1)
    if not descriptors:
        raise OSError("the sibling sent no socket")
    listener = socket.socket(fileno=descriptors[0])
    listener.setblocking(False)
    return listener


class ListenerOffer:
    """Hands the listening socket to sibling processes. Used on the proxy's event loop.

    Args:
        path: Path of a new Unix socket, in a directory that only this user can enter.
    """

    def __init__(self, listener: socket.socket, path: str) -> None:
        self._listener = listener
        self._path = path
        self._unix_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._unix_socket.bind(path)
            os.chmod(path, 0o600)
            self._unix_socket.listen()
        except BaseException:
            self._unix_socket.close()
            raise
        self._unix_socket.setblocking(False)
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def close(self) -> None:
        """End the offer; the listening socket stays open."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        self._unix_socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sibling, _ = await loop.sock_accept(self._unix_socket)
            # Does not block: a byte and a descriptor always fit into a new socket's buffer.
            with sibling, contextlib.suppress(OSError):
                if is_same_user(sibling):
                    socket.send_fds(sibling, [b"\0"], [self._listener.fileno()])


async def _wait_readable(peer: socket.socket) -> None:
    """Wait until a socket is readable: the event loop has no method to receive descriptors."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(peer, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(peer)
