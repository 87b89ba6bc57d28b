"""Which peers may be authenticating: honest ones get in, however many strangers wait."""

import asyncio
from random import Random

import pytest

from alacarte._wire.authentication import HANDSHAKE_TIMEOUT_S
from alacarte._wire.pending import MAX_PENDING, MAX_PENDING_PER_ADDRESS, PendingPeers
from alacarte.testing import FakeClock


def connect(pending, address, count, mark=""):
    """Let peers connect; return the evicted ones, in order."""
    left = [pending.add(f"{address}-{mark}{number}", address) for number in range(count)]
    return [peer for peer in left if peer is not None]


def test_peers_below_the_bounds_stay():
    """As many peers as allowed wait side by side, and none is evicted."""
    pending = PendingPeers()
    assert connect(pending, "a", MAX_PENDING_PER_ADDRESS) == []
    assert len(pending) == MAX_PENDING_PER_ADDRESS
    assert pending.peers()[0] == "a-0"


def test_the_oldest_of_an_address_is_evicted():
    """One peer too many of an address evicts the oldest of that address."""
    pending = PendingPeers()
    connect(pending, "other", 1)
    assert connect(pending, "a", MAX_PENDING_PER_ADDRESS + 2) == ["a-0", "a-1"]
    assert "other-0" in pending
    assert len(pending) == MAX_PENDING_PER_ADDRESS + 1


def test_the_address_with_the_most_peers_loses_one():
    """One peer too many in total evicts the oldest of the address with the most peers."""
    pending = PendingPeers()
    connect(pending, "modest", 1)
    connect(pending, "greedy", MAX_PENDING_PER_ADDRESS)
    connect(pending, "middling", MAX_PENDING - MAX_PENDING_PER_ADDRESS - 1)
    assert len(pending) == MAX_PENDING
    assert connect(pending, "late", 2) == ["greedy-0", "greedy-1"]
    assert "modest-0" in pending


def test_many_addresses_drive_out_their_oldest():
    """A flood in which every peer has an address of its own drives out its own oldest."""
    pending = PendingPeers()
    left = [pending.add(number, f"address {number}") for number in range(MAX_PENDING + 3)]
    assert [peer for peer in left if peer is not None] == [0, 1, 2]


def test_a_hello_protects_from_silent_peers():
    """Silent peers evict silent ones only; a peer that has sent its HELLO stays."""
    pending = PendingPeers()
    pending.add("honest", "a")
    assert pending.advance("honest") is None
    assert "honest" not in connect(pending, "a", 10 * MAX_PENDING)
    assert "honest" in pending


def test_peers_with_a_hello_are_bounded_separately():
    """Peers that stop after their HELLO have a bound of their own, and evict no silent ones."""
    pending = PendingPeers()
    pending.add("quiet", "a")
    left = []
    for number in range(MAX_PENDING_PER_ADDRESS + 1):
        pending.add(number, "a")
        left.append(pending.advance(number))
    assert left == [None] * MAX_PENDING_PER_ADDRESS + [0]
    assert "quiet" in pending


@pytest.mark.parametrize("hello", [False, True])
def test_removed_peers_take_no_room(hello):
    """A peer that has authenticated or disconnected is removed, at either stage."""
    pending = PendingPeers()
    for number in range(10 * MAX_PENDING):
        assert pending.add(number, "a") is None
        if hello:
            assert pending.advance(number) is None
        pending.remove(number)
        pending.remove(number)  # the connection is lost after it was refused
    assert len(pending) == 0
    assert not pending._silent._by_address
    assert not pending._identified._by_address


@pytest.mark.once
@pytest.mark.parametrize("shares_address", [True, False])
@pytest.mark.parametrize("strangers", [64, 200, 500])
def test_honest_peers_get_in(strangers, shares_address):
    """However many strangers reconnect, no peer that needs 2 ms for each step is evicted."""
    clock = FakeClock()
    pending = PendingPeers()
    places = {}
    lost = []

    def connected(peer, address):
        left = pending.add(peer, address)
        if left is not None:
            places.pop(left).set()
        places[peer] = gone = asyncio.Event()
        return gone

    async def stranger(number):
        random = Random(number)
        await asyncio.sleep(random.uniform(0, 0.1))
        for attempt in range(10_000):
            gone = connected(("stranger", number, attempt), "strangers")
            try:
                async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                    await gone.wait()
            except TimeoutError:
                pending.remove(("stranger", number, attempt))
            await asyncio.sleep(random.uniform(0.01, 0.03))  # a round trip

    async def honest(number):
        peer = ("honest", number)
        connected(peer, "strangers" if shares_address else "honest")
        await asyncio.sleep(0.002)
        if peer in pending:
            left = pending.advance(peer)
            assert left is None
            await asyncio.sleep(0.002)
        if peer not in pending:
            lost.append(peer)
        pending.remove(peer)

    async def main():
        crowd = [asyncio.create_task(stranger(number)) for number in range(strangers)]
        await asyncio.sleep(0.5)
        for number in range(200):
            await honest(number)
            await asyncio.sleep(0.003)
        for each in crowd:
            each.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    clock.run(main())
    assert lost == []
