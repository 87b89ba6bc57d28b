"""Detection of clients that have disconnected after they stopped sending."""

from __future__ import annotations

import asyncio
from typing import Protocol

from .client_socket import is_reset, write_now
from .exchange import Exchange
from .response_starts import CONTINUE

__all__ = ["HalfClose"]

_PROBE_INTERVAL_S = 0.05
_MAX_PROBE_INTERVAL_S = 10.0
_RESET_CHECK_DELAYS_S = (0.001, 0.004, 0.015)
"""Times after a probe to check for a reset; a remote client's reset takes a round trip."""
_QUIET_S = 1.0
"""Time after which a client is dropped if its response has begun but no part was written since."""


class HalfClosed(Protocol):
    """The connection of a client that has stopped sending.

    Attributes:
        active: The exchange in progress, None without one.
    """

    active: Exchange | None
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def drop_client(self) -> None:
        """Cancel the exchange in progress and drop the connection."""


class HalfClose:
    """Distinguishes clients that have disconnected from clients that wait for their responses.

    Both have sent a FIN. A client that has disconnected answers a write with a reset, within a
    round trip; on the same machine, before the write returns. Until the response begins, the probe
    is an interim response (100 Continue); after that, the response's own parts are the probe.
    HTTP/1.0 has no interim responses, so its clients count as disconnected.
    """

    def __init__(self, connection: HalfClosed) -> None:
        self._connection = connection
        self._loop = connection.loop
        self._transport = connection.transport

    def watch(self, exchange: Exchange) -> None:
        """Watch the client of an exchange that was in progress when the client stopped sending."""
        if exchange.head.version == "1.0":
            self._connection.drop_client()
        elif exchange.response_started:
            exchange.has_written = False
            self._loop.call_later(_QUIET_S, self._drop_if_quiet, exchange)
        else:
            self._probe(exchange, _PROBE_INTERVAL_S)

    def watch_later(self, exchange: Exchange) -> None:
        """Watch the client of an exchange that began after the client had stopped sending."""
        self._loop.call_later(_PROBE_INTERVAL_S, self._probe, exchange, _PROBE_INTERVAL_S)

    def _probe(self, exchange: Exchange, delay_s: float) -> None:
        if exchange is not self._connection.active or exchange.response_started or self._check():
            return
        if exchange.head.version == "1.0":
            self._connection.drop_client()
            return
        if not self._transport.get_write_buffer_size():
            exchange.has_written = write_now(self._transport, CONTINUE)
            if self._check():
                return
            for check_s in _RESET_CHECK_DELAYS_S:
                self._loop.call_later(check_s, self._check)
        following_s = min(2 * delay_s, _MAX_PROBE_INTERVAL_S)
        self._loop.call_later(delay_s, self._probe, exchange, following_s)

    def _drop_if_quiet(self, exchange: Exchange) -> None:
        """Drop the client if no part of its response was written since it stopped sending.

        Without a write there is no reset that would tell whether the client is connected.
        """
        if exchange is self._connection.active and not exchange.has_written:
            if not self._transport.get_write_buffer_size():
                self._connection.drop_client()

    def _check(self) -> bool:
        """Drop a client that has reset the connection; return whether the connection is closed."""
        if self._transport.is_closing():
            return True
        if is_reset(self._transport):
            self._connection.drop_client()
            return True
        return False
