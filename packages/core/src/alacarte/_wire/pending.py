"""Which peers may take their time to authenticate, and who gives way when there are too many.

An honest peer says whom it looks for at once and proves itself one round trip later; a stranger may
wait for as long as it is let. So the oldest gives way: whoever floods a port drives out those who
waited before, and an honest peer needs its place for milliseconds only. Pure: peers in, peers out.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Generic, TypeVar

__all__ = ["MAX_PENDING", "MAX_PENDING_PER_ADDRESS", "PendingPeers"]

MAX_PENDING = 192
"""Peers at one stage of the handshake, over one kind of socket."""
MAX_PENDING_PER_ADDRESS = 128
"""More than the 100 connections that asyncio accepts at once: who comes first in such a burst is
heard before as many others can follow. Less than all, so that one address leaves room for others.
"""

_Peer = TypeVar("_Peer")


class _Stage(Generic[_Peer]):
    """Peers at one stage of the handshake, the oldest first."""

    def __init__(self) -> None:
        # Dictionaries for their order, and because a peer may leave from anywhere.
        self._by_address: defaultdict[str, dict[_Peer, None]] = defaultdict(dict)
        self._count = 0

    def join(self, peer: _Peer, address: str) -> _Peer | None:
        """Add a peer; return the one that has to give way, if any."""
        mates = self._by_address[address]
        mates[peer] = None
        self._count += 1
        if len(mates) > MAX_PENDING_PER_ADDRESS:
            return next(iter(mates))
        if self._count > MAX_PENDING:
            fullest = max(self._by_address.values(), key=lambda mates: len(mates))
            return next(iter(fullest))
        return None

    def leave(self, peer: _Peer, address: str) -> None:
        mates = self._by_address.get(address, {})
        if peer in mates:
            del mates[peer]
            self._count -= 1
            if not mates:
                del self._by_address[address]


class PendingPeers(Generic[_Peer]):
    """The peers on one kind of socket that have not authenticated.

    Those who have named this replica and those who have said nothing have a budget each, so that
    a flood of either kind drives out its own.
    """

    def __init__(self) -> None:
        self._addresses: dict[_Peer, str] = {}
        self._silent: _Stage[_Peer] = _Stage()
        self._greeted: _Stage[_Peer] = _Stage()

    def __len__(self) -> int:
        return len(self._addresses)

    def __contains__(self, peer: object) -> bool:
        return peer in self._addresses

    def peers(self) -> list[_Peer]:
        """Return every peer, the oldest first."""
        return list(self._addresses)

    def connected(self, peer: _Peer, address: str) -> _Peer | None:
        """Add a peer that has just connected; return the one that gives way to it, if any."""
        self._addresses[peer] = address
        return self._forgotten(self._silent.join(peer, address))

    def greeted(self, peer: _Peer) -> _Peer | None:
        """Note that a peer has named this replica; return the one that gives way, if any."""
        address = self._addresses[peer]
        self._silent.leave(peer, address)
        return self._forgotten(self._greeted.join(peer, address))

    def remove(self, peer: _Peer) -> None:
        """Forget a peer that has authenticated or left; nothing happens when it is not there."""
        address = self._addresses.pop(peer, None)
        if address is not None:
            self._silent.leave(peer, address)
            self._greeted.leave(peer, address)

    def _forgotten(self, peer: _Peer | None) -> _Peer | None:
        if peer is not None:
            self.remove(peer)
        return peer
