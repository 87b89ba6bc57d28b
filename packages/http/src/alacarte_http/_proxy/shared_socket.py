"""One listening socket for all proxies of a node, handed from one process to the next.

What a client has connected to waits in the socket's queue, whichever process takes it from there.
So a process may end, and another begin, and nobody is refused. (With a socket for each process,
by SO_REUSEPORT, what waits in the queue of one that ends is lost.)
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

__all__ = ["Offer", "listening_socket", "obtain"]

log = logging.getLogger("alacarte.http")
BACKLOG = 2048
_TAKE_S = 2.0
"""How long a sibling may take to hand over; one that is stopped never does."""


async def obtain(place: ServiceContext, host: str, port: int) -> socket.socket:
    """Return the listening socket of this node's proxies: a sibling's, or a new one.

    Raises:
        ConfigError: The port is in use, or the address is not this machine's.
    """
    for path in place.sibling_sockets():
        try:
            async with asyncio.timeout(_TAKE_S):
                return await _take(path)
        except (OSError, TimeoutError) as error:  # it is on its way in or out; ask the next
            log.debug("no listening socket from %s: %r", path, error)
    # A free port is chosen once: clients of the process before this one know its port.
    former = int(place.facts.get("port", 0))
    if port == 0 and former:
        try:
            return listening_socket(host, former)
        except ConfigError:
            log.warning("http: port %d was taken meanwhile; another one is chosen", former)
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
        # Now, since two sockets may be bound to an address as long as neither listens.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"http: port {port} on {host} is in use; stop the program that listens there, or "
                "choose another with http_options={'port': …} (`alacarte run --port`)."
            ) from None
        raise ConfigError(f"http: cannot listen on {host} port {port}: {error.strerror}.") from None
    listener.setblocking(False)
    return listener


async def _take(path: str) -> socket.socket:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sibling:
        sibling.setblocking(False)
        await loop.sock_connect(sibling, path)
        if not is_same_user(sibling):
            raise OSError(f"{path} belongs to another user")
        await _readable(sibling)
        _, descriptors, _, _ = socket.recv_fds(sibling, 1, 1)
    if not descriptors:
        raise OSError("the sibling hung up")
    listener = socket.socket(fileno=descriptors[0])
    listener.setblocking(False)
    return listener


class Offer:
    """Hands the listening socket to whichever sibling asks. Lives on the proxy's loop.

    Args:
        path: Of a Unix socket in a directory that only this user can enter.
    """

    def __init__(self, listener: socket.socket, path: str) -> None:
        self._listener = listener
        self._path = path
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._door.bind(path)
            os.chmod(path, 0o600)
            self._door.listen()
        except BaseException:
            self._door.close()
            raise
        self._door.setblocking(False)
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def close(self) -> None:
        """Offer it no more; the listening socket itself stays as it is."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        self._door.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sibling, _ = await loop.sock_accept(self._door)
            # A byte and a descriptor always fit into a new socket: this does not block.
            with sibling, contextlib.suppress(OSError):
                if is_same_user(sibling):
                    socket.send_fds(sibling, [b"\0"], [self._listener.fileno()])


async def _readable(peer: socket.socket) -> None:
    """Wait until there is something to read. The loop has no call that takes descriptors."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(peer, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(peer)
