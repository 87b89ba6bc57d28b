"""How connections end: whether the client is still there, and how its socket is let go."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import termios
from fcntl import ioctl
from typing import Protocol

from .exchange import Exchange
from .responses import CONTINUE

__all__ = ["LINGER_S", "HalfClose", "has_unread", "is_reset", "reset"]

LINGER_S = 2.0
"""How long what a client goes on sending is read and dropped, behind its last answer."""

_PROBE_S = 0.05
_MAX_PROBE_S = 10.0
_CHECKS_S = (0.001, 0.004, 0.015)
"""When to look for the answer to a probe, from clients at some distance."""
_QUIET_S = 1.0
_NO_LINGER = struct.pack("ii", 1, 0)


def has_unread(transport: asyncio.Transport) -> bool:
    """Return whether the kernel holds bytes of the client that nobody has read yet."""
    if transport.is_closing():
        return False
    return ioctl(_descriptor(transport), termios.FIONREAD, bytes(4)) != bytes(4)


def is_reset(transport: asyncio.Transport) -> bool:
    """Return whether the client has reset the connection, which reading shows if it goes on."""
    poll = select.poll()
    poll.register(_descriptor(transport), 0)
    return bool(poll.poll(0))


def reset(transport: asyncio.Transport) -> None:
    """Drop the connection and what the kernel holds for it, at once."""
    peer = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


class Closable(Protocol):
    """The connection of a client that has stopped sending.

    Attributes:
        active: The exchange whose turn it is.
    """

    active: Exchange | None
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def give_up(self) -> None:
        """End at once: the client is not there any more."""


class HalfClose:
    """Finds out whether a client that has stopped sending is gone, or waits for its responses.

    One that is gone resets the connection when something is written to it: within a round trip,
    which on one machine is over when the call returns. As long as no response has begun, an
    interim response may be written; then the response's own parts tell. HTTP/1.0 does not know
    interim responses, so that its clients cannot be asked: they count as gone.
    """

    def __init__(self, connection: Closable) -> None:
        self._connection = connection
        self._loop = connection.loop
        self._transport = connection.transport

    def watch(self, exchange: Exchange) -> None:
        """Watch the client of an exchange that was in progress when the client stopped sending."""
        if exchange.head.version == "1.0":
            self._connection.give_up()
        elif exchange.response_started:
            exchange.wrote = False
            self._loop.call_later(_QUIET_S, self._end_if_quiet, exchange)
        else:
            self._probe(exchange, _PROBE_S)

    def watch_later(self, exchange: Exchange) -> None:
        """Watch the client of an exchange that began after the client had stopped sending."""
        self._loop.call_later(_PROBE_S, self._probe, exchange, _PROBE_S)

    def _probe(self, exchange: Exchange, delay_s: float) -> None:
        if exchange is not self._connection.active or exchange.response_started or self._check():
            return
        if exchange.head.version == "1.0":
            self._connection.give_up()
            return
        if not self._transport.get_write_buffer_size():
            exchange.wrote = self._write_now(CONTINUE)
            if self._check():
                return
            for check_s in _CHECKS_S:
                self._loop.call_later(check_s, self._check)
        following_s = min(2 * delay_s, _MAX_PROBE_S)
        self._loop.call_later(delay_s, self._probe, exchange, following_s)

    def _end_if_quiet(self, exchange: Exchange) -> None:
        """Give up the client if nothing was written to it since it stopped sending."""
        if exchange is self._connection.active and not exchange.wrote:
            if not self._transport.get_write_buffer_size():
                self._connection.give_up()

    def _check(self) -> bool:
        """Give up a client that has reset the connection; return whether it is gone."""
        if self._transport.is_closing():
            return True
        if is_reset(self._transport):
            self._connection.give_up()
            return True
        return False

    def _write_now(self, data: bytes) -> bool:
        """Write to the socket itself, as nothing else waits to be written; return if it was."""
        try:
            return os.write(_descriptor(self._transport), data) == len(data)
        except OSError:
            return False


def _descriptor(transport: asyncio.Transport) -> int:
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor
