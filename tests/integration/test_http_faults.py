"""What HTTP clients may do to a proxy, in short; `tests/faults` does it at length, with figures.

The instance is in processes of its own. What is measured there as a time or a size has room here
for a machine that is busy otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from tests.faults import (
    broken_sockets,
    deadlines,
    flood,
    handshakes,
    large_bodies,
    oversized,
    slow_clients,
    slowloris,
    smuggling,
)
from tests.faults.load import good_load
from tests.faults.raw import Seen, gather_in_waves
from tests.faults.serving import Server, open_files, serving

from alacarte.testing import wait_until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def usual() -> Iterator[Server]:
    """An instance on the local cluster, with a limit for bodies that is soon met."""
    with serving("local", max_body_bytes=oversized.MAX_BODY) as server:
        yield server


@pytest.fixture(scope="module")
def hasty() -> Iterator[Server]:
    """One with little patience for clients."""
    short = dict.fromkeys(
        ("receive_head_timeout_s", "receive_body_timeout_s", "send_timeout_s"), 1.0
    )
    with serving("local", **short) as server:
        yield server


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def either(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One without a limit for bodies, on each cluster in turn."""
    address = ""
    if request.param == "ray":
        address = request.getfixturevalue("ray_address")
    with serving(request.param, ray_address=address, max_body_bytes=None) as server:
        yield server


# --- slow clients -----------------------------------------------------------------------


def test_heads_that_never_end(hasty: Server):
    """Each is told 408 and hung up on, and good clients do not notice."""
    with good_load(hasty.port, rate=50) as load:
        seen = asyncio.run(slowloris.attack(hasty.port, 50, 0.2))
    assert Counter((each.status, each.ending) for each in seen) == {(408, "closed"): 50}
    assert max(each.took_s for each in seen) < 10
    assert load.failures == {}
    assert load.count > 0


def test_bodies_that_drip_and_responses_that_nobody_reads(hasty: Server):
    """A slow body is told 408; a silent connection, and one that reads nothing, are closed."""
    outcome = asyncio.run(slow_clients.attack(hasty, 10, 0.2))
    assert {(each.status, each.ending) for each in outcome.bodies} == {(408, "closed")}
    assert {(each.status, each.ending) for each in outcome.silent} == {(0, "closed")}
    assert outcome.unread_s < 20


def test_more_connections_than_there_may_be():
    """Those that idle give way to new ones, and good clients are served throughout."""
    open_files()
    # So many that a good client's own are not the longest idle when its machine stalls for a while.
    limit = 1000
    with serving("local", max_connections=limit) as server:
        files = server.files()["all"]
        with good_load(server.port, rate=50) as load:
            clients = asyncio.run(flood.flood(server.port, 4 * limit))
            # One at the limit is closed when the next one comes, and that takes a turn or two.
            wait_until(lambda: server.files()["all"] - files <= limit + 1)
        for client in clients:
            client.close()
        assert load.failures == {}
        assert load.count > 0
        wait_until(lambda: server.files()["all"] <= files)


# --- malformed requests -----------------------------------------------------------------


def test_requests_within_requests(usual: Server):
    """Whatever two servers could disagree about: the inner request is never served."""
    found = asyncio.run(smuggling.send(usual.port))
    wrong = {
        name: seen.data
        for name, seen in found.items()
        if smuggling.desynchronised(name.removesuffix(", byte by byte"), seen)
    }
    assert wrong == {}
    assert usual.get("/seen").startswith("[0,")
    assert [name for name, seen in found.items() if seen.ending == "open"] == []


@pytest.mark.parametrize("name", oversized.CASES)
def test_requests_larger_than_they_may_be(usual: Server, name: str):
    """The answer is exact, comes before the rest of the request, and costs next to no memory."""
    case, allowed = oversized.CASES[name]
    asyncio.run(oversized.answer_to(usual.port, case()))
    before = usual.sizes()["all"]
    usual.forget_peaks()
    status, _, problem = asyncio.run(oversized.answer_to(usual.port, case()))
    assert status in allowed, problem
    assert usual.peaks()["all"] - before < 8


# --- clients that vanish ----------------------------------------------------------------


def test_half_closed_clients(usual: Server):
    """Who has only stopped sending gets the whole response."""
    seen = asyncio.run(gather_in_waves(lambda: broken_sockets.half_close(usual.port), 50))
    assert {each.status for each in seen} == {200}
    assert all(each.data.endswith(b"half") and each.ending == "closed" for each in seen)


@pytest.mark.parametrize("by_reset", [True, False], ids=["reset", "close"])
@pytest.mark.parametrize("name", broken_sockets.ABANDONED)
def test_a_client_vanishes(usual: Server, name: str, by_reset: bool):
    """Its handler is cancelled soon, whatever it was doing, and however the client left."""
    request = broken_sockets.ABANDONED[name]
    assert asyncio.run(broken_sockets.noticed(usual, request, by_reset=by_reset)) < 5


def test_many_clients_vanish(usual: Server):
    """Nothing is left of them: no handler, no connection."""
    files = usual.files()["all"]
    for request in broken_sockets.ABANDONED.values():
        for by_reset in (True, False):

            async def leave(request: bytes = request, by_reset: bool = by_reset) -> None:
                await broken_sockets.abandon(usual.port, request, by_reset=by_reset)

            asyncio.run(gather_in_waves(leave, 100, 100))
    wait_until(lambda: usual.running == 0, 10, "the end of all handlers")
    wait_until(lambda: usual.files()["all"] <= files + 2, 10, "the end of all connections")


# --- time and space ---------------------------------------------------------------------


def test_wishes_for_time():
    """A client may shorten the time limit of the server, and never lengthen it."""
    with serving("local", request_timeout_s=deadlines.LIMIT_S) as server:
        with ThreadPoolExecutor() as pool:
            ask = partial(deadlines.ask, server, "/chain?0,0,60")
            answers = dict(zip(deadlines.WISHES, pool.map(ask, deadlines.WISHES), strict=True))
        assert {wish: answer.status for wish, answer in answers.items()} == deadlines.WISHES
        assert max(answer.took_s for answer in answers.values()) < 20
        wait_until(lambda: server.running == 0)


def test_large_bodies(either: Server):
    """Bodies far larger than what the processes may use pass through them, both ways."""
    size = 384 * MIB
    either.forget_peaks()
    assert asyncio.run(large_bodies.upload(either.port, size)) == size
    assert asyncio.run(large_bodies.upload(either.port, size, chunked=True)) == size
    assert asyncio.run(large_bodies.download(either.port, size, pause_s=1)) == size
    peaks = either.peaks()
    assert max(peaks.values()) < 300, peaks


def test_half_handshakes(usual: Server):
    """Strangers at the replicas' sockets are hung up on, and good requests go on."""
    began = time.monotonic()
    with good_load(usual.port, rate=50) as load:
        seen = asyncio.run(attack(usual.sockets))
    assert Counter(each.ending for each in seen)["open"] == 0
    assert time.monotonic() - began < 60
    assert load.failures == {}
    assert load.count > 0


async def attack(sockets: list[str]) -> list[Seen]:
    found = await asyncio.gather(*(handshakes.attack(path, 200) for path in sockets))
    return [each for seen in found for each in seen]
