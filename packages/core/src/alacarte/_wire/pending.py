"""Bounds on the peers that have not authenticated. Pure: peers in, peers out.

Above a bound the oldest peer is evicted. An honest peer sends its HELLO at once and its proof a
round trip later, and so is pending for milliseconds; the peers of a flood evict each other.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Generic, TypeVar

__all__ = ["MAX_PENDING", "MAX_PENDING_PER_ADDRESS", "PendingPeers"]

MAX_PENDING = 192
"""Most peers at one stage of the handshake, over one kind of socket."""
MAX_PENDING_PER_ADDRESS = 128
"""More than the 100 connections that asyncio accepts at once, so the first peer of such a burst is
read before 128 others can follow. Less than `MAX_PENDING`, which leaves room for other addresses.
"""

_Peer = TypeVar("_Peer")


class _Stage(Generic[_Peer]):
    """Peers at one stage of the handshake, the oldest first."""

    def __init__(self) -> None:
        # Dictionaries keep the order, and remove any peer in constant time.
        self._by_address: defaultdict[str, dict[_Peer, None]] = defaultdict(dict)
        self._count = 0

    def add(self, peer: _Peer, address: str) -> _Peer | None:
        """Add a peer; return the peer to evict, if any."""
        peers = self._by_address[address]
        peers[peer] = None
        self._count += 1
        if len(peers) > MAX_PENDING_PER_ADDRESS:
            return next(iter(peers))
        if self._count > MAX_PENDING:
            fullest = max(self._by_address.values(), key=lambda peers: len(peers))
            return next(iter(fullest))
        return None

    def remove(self, peer: _Peer, address: str) -> None:
        """Remove a peer; do nothing if the peer is not at this stage."""
        peers = self._by_address.get(address, {})
        if peer in peers:
            del peers[peer]
            self._count -= 1
            if not peers:
                del self._by_address[address]


class PendingPeers(Generic[_Peer]):
    """The peers on one kind of socket that have not authenticated.

    Peers that have sent a HELLO and peers that have sent nothing are bounded separately, so that a
    flood of either kind evicts its own peers only.
    """

    def __init__(self) -> None:
        self._addresses: dict[_Peer, str] = {}
        self._silent: _Stage[_Peer] = _Stage()
        self._identified: _Stage[_Peer] = _Stage()

    def __len__(self) -> int:
        return len(self._addresses)

    def __contains__(self, peer: object) -> bool:
        return peer in self._addresses

    def peers(self) -> list[_Peer]:
        """Return every peer, the oldest first."""
        return list(self._addresses)

    def add(self, peer: _Peer, address: str) -> _Peer | None:
        """Add a peer that has connected; return the peer that is evicted for it, if any."""
        self._addresses[peer] = address
        return self._evicted(self._silent.add(peer, address))

    def advance(self, peer: _Peer) -> _Peer | None:
        """Note that a peer has sent its HELLO; return the peer that is evicted for it, if any."""
        address = self._addresses[peer]
        self._silent.remove(peer, address)
        return self._evicted(self._identified.add(peer, address))

    def remove(self, peer: _Peer) -> None:
        """Remove a peer that has authenticated or disconnected; ignore an unknown peer."""
        address = self._addresses.pop(peer, None)
        if address is not None:
            self._silent.remove(peer, address)
            self._identified.remove(peer, address)

    def _evicted(self, peer: _Peer | None) -> _Peer | None:
        if peer is not None:
            self.remove(peer)
        return peer
