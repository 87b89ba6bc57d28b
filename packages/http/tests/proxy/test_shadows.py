"""Shadows of a route over the real proxy: exact copies that delay no client."""

from __future__ import annotations

import hashlib
import math
import random
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from alacarte import serve
from alacarte.instance import get_instance
from alacarte.serve import _current
from alacarte.status import CallCounts
from alacarte.testing import wait_until
from alacarte.types import DeploymentId, Resource, Route

from .. import gates
from ..gates import WAIT_S
from ..websocket.apps import by_status
from ..websocket.support import UPGRADE

pytestmark = pytest.mark.once

MEGABYTE = 1 << 20


@pytest.fixture
def plugins(plugins_with_endpoints: Any) -> Any:
    """The plugins of each instance in this module."""
    return plugins_with_endpoints


async def describe(request: Request) -> dict[str, Any]:
    """Return all parts of a request that user code can see."""
    body = await request.body()
    return {
        "method": request.method,
        "url": str(request.url),
        "headers": [list(header) for header in request.headers.items()],
        "client": list(request.client),
        "root_path": request.scope["root_path"],
        "size": len(body),
        "digest": hashlib.sha256(body).hexdigest(),
    }


@serve.deployment(max_ongoing_requests=256)
async def primary(request: Request) -> Any:
    """Respond with the request."""
    return await describe(request)


@serve.deployment
async def careless() -> str:
    """Respond without reading the request."""
    return "no need"


@serve.deployment(max_ongoing_requests=256)
class Shadow:
    """A shadow that records requests, and behaves by its option."""

    def __init__(self, how: str = "") -> None:
        self.how = how

    async def __call__(self, request: Request) -> Any:
        if self.how == "stay":
            await gates.GATE.wait_cancelled()
        if self.how == "wait":
            await gates.GATE.pass_async()
        gates.GATE.note(await describe(request))
        if self.how == "raise":
            raise ValueError("as a shadow does")
        if self.how == "endless":
            return StreamingResponse(endless())
        return "nobody reads this"


async def endless() -> Any:
    try:
        while True:
            yield bytes(MEGABYTE)
    finally:
        gates.GATE.note("closed")


def shadowed(site: Any, how: str = "", share: float = 1.0) -> None:
    """A function that serves at "/s" with a shadow."""
    site.run(primary.bind(), None, "main")
    site.run(Shadow.bind(how), None, "shadow")
    route = Route(
        "/s",
        "s",
        {DeploymentId("main", ""): 1.0},
        shadows={DeploymentId("shadow", ""): share},
        name="s",
    )
    get_instance().apply(Resource("door", "s", route))


def counts(kind: str = "shadows", name: str = "shadow") -> CallCounts:
    """Return the status's counts of a shadow."""
    found = getattr(serve.status().routes["/s"], kind)[name].counts
    assert found is not None
    return found


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parts(total: int) -> tuple[bytes, list[bytes]]:
    """Return data, and the same data in parts of uneven sizes."""
    data = random.Random(7).randbytes(total)
    cuts = sorted(random.Random(8).sample(range(1, total), 20))
    return data, [data[a:b] for a, b in zip([0, *cuts], [*cuts, total], strict=True)]


# --- copies -----------------------------------------------------------------------------


def test_a_copy_is_the_same_request(site, gate):
    """Method, path, query, headers, body and client are the original's."""
    shadowed(site)
    answer = site.http.put("/s/more?a=1", content=b"small", headers={"X-A": "1", "X-B": b"\xfc"})
    assert gate.next_note() == answer.json()
    wait_until(lambda: counts().requests == 1, WAIT_S)
    assert (counts().errors, counts().dropped) == (0, 0)
    assert counts("targets", "main").requests == 1


@pytest.mark.parametrize("size", [3 * MEGABYTE, 12 * MEGABYTE])
def test_an_upload_is_copied_bit_for_bit(site, gate, size):
    """A body longer than any window reaches target and shadow unchanged."""
    shadowed(site)
    data, pieces = parts(size)
    answer = site.http.post("/s", content=iter(pieces)).json()
    note = gate.next_note()
    assert (answer["size"], answer["digest"]) == (size, digest(data))
    assert note == answer


def test_a_share_of_the_requests(site, gate):
    """A shadow gets copies of its share, within five standard deviations."""
    shadowed(site, share=0.3)
    total = 1000
    with site.wire() as wire:
        for _ in range(total):
            wire.ask("/s")
            assert wire.answer().status == 200
    wait_until(lambda: counts("targets", "main").requests == total, WAIT_S)
    copies = counts()
    assert copies.dropped == 0
    assert abs(copies.requests - 300) <= 5 * math.sqrt(total * 0.3 * 0.7)
    assert len(gate.notes()) == copies.requests


def test_no_copies_of_websockets(site, gate):
    """WebSockets are not shadowed."""
    shadowed(site)
    site.run(serve.deployment(serve.ingress(by_status)()).bind(), None, "main")
    with site.wire() as wire:
        wire.send(UPGRADE % b"/s/ws")
        assert wire.head().status == 101
    wait_until(lambda: counts("targets", "main").requests == 1, WAIT_S)
    assert counts() == CallCounts()
    assert gate.notes() == []


# --- failing and slow shadows ------------------------------------------------------------


def test_a_shadow_that_raises(site, gate):
    """A shadow's exception is counted, and the client gets its response."""
    shadowed(site, "raise")
    assert site.http.post("/s", content=b"x").json()["size"] == 1
    wait_until(lambda: counts().requests == 1, WAIT_S)
    assert counts().errors == 1
    assert counts("targets", "main").errors == 0


def test_a_shadow_that_hangs(site, gate):
    """A hanging shadow does not delay requests; further copies are dropped."""
    shadowed(site, "stay")
    data, pieces = parts(3 * MEGABYTE)
    for _ in range(3):
        assert site.http.post("/s", content=iter(pieces)).json()["digest"] == digest(data)
    with site.wire() as wire:
        for _ in range(100):
            wire.ask("/s")
            assert wire.answer().status == 200
    wait_until(lambda: counts("targets", "main").requests == 103, WAIT_S)
    assert counts().dropped == 103 - 64
    assert counts().requests == 0


def test_a_shadow_that_is_slow(site, gate):
    """A slow shadow gets every copy, and no request waits for it."""
    shadowed(site, "wait")
    with site.wire() as wire:
        for _ in range(30):
            wire.ask("/s", "POST", body=b"x")
            assert wire.answer().status == 200
    assert gate.notes() == []
    gate.open.set()
    assert [gate.next_note()["size"] for _ in range(30)] == [1] * 30
    wait_until(lambda: counts().requests == 30, WAIT_S)
    assert counts().errors == counts().dropped == 0


def test_the_time_of_a_slow_shadow(site, gate):
    """A slow shadow does not slow down requests: their median time is far below its time."""
    shadowed(site, "wait")
    with site.wire() as wire:
        for _ in range(50):
            wire.ask("/s")
            assert wire.answer().status == 200
    wait_until(lambda: counts("targets", "main").requests == 50, WAIT_S)
    gate.open.set()
    wait_until(lambda: counts().requests == 50, WAIT_S)
    assert counts("targets", "main").p50_s < counts().p50_s / 4


def test_a_copy_that_cannot_keep_up(site, gate):
    """A copy that the shadow does not read is dropped, counted, and frees its budget."""
    shadowed(site, "wait")
    data, pieces = parts(24 * MEGABYTE)
    for _ in range(2):
        assert site.http.post("/s", content=iter(pieces)).json()["digest"] == digest(data)
    wait_until(lambda: counts().dropped == 2, WAIT_S)
    assert gate.notes() == []
    gate.open.set()
    answer = site.http.post("/s", content=iter(pieces[:10])).json()
    assert gate.next_note() == answer
    wait_until(lambda: counts().requests == 1, WAIT_S)
    assert (counts().dropped, counts().errors) == (2, 0)


def test_a_shadow_that_answers_for_ever(site, gate):
    """A shadow's endless response is read only up to the request's timeout."""
    shadowed(site, "endless")
    answer = site.http.get("/s", headers={"X-Request-Timeout-Seconds": "1"})
    assert answer.status_code == 200
    gate.next_note()
    assert gate.next_note() == "closed"


def test_a_shadow_that_dies(site, gate):
    """A lost shadow is counted as an error, and the client gets its response."""
    shadowed(site, "stay")
    assert site.http.get("/s").status_code == 200
    gate.entered()
    for name, actor in list(_current.current().cluster._actors.items()):
        if "shadow#" in name:
            actor.kill()
    wait_until(lambda: counts().errors == 1, WAIT_S)
    assert counts("targets", "main").errors == 0


# --- failing originals -------------------------------------------------------------------


def test_a_client_that_leaves_in_the_middle_of_its_upload(site, gate):
    """An incomplete upload is complete for neither target nor shadow, and no error of either."""
    shadowed(site)
    with site.wire() as wire:
        wire.ask("/s", "POST", "Content-Length: 5000000")
        wire.send(bytes(2 * MEGABYTE))
    assert site.http.post("/s", content=b"next").json()["size"] == 4
    assert gate.next_note()["size"] == 4
    wait_until(lambda: counts().dropped == 1, WAIT_S)
    assert (counts().requests, counts().errors) == (1, 0)
    main = counts("targets", "main")
    assert (main.requests, main.errors) == (1, 0)


def test_a_client_that_leaves_before_its_answer(site, gate):
    """A copy is served even if the client disconnects before its response."""
    shadowed(site, "wait")
    site.run(Shadow.bind("stay"), None, "main")
    with site.wire() as wire:
        wire.ask("/s", "POST", body=b"whole")
        gate.entered()
        gate.entered()
    assert gate.next_note() == "cancelled"
    gate.open.set()
    assert gate.next_note()["size"] == 5


def test_an_original_that_does_not_read_its_upload(site, gate):
    """A target that does not read the upload responds at once, and the copy is dropped."""
    shadowed(site)
    site.run(careless.bind(), None, "main")
    with site.wire() as wire:
        wire.ask("/s", "POST", "Content-Length: 5000000")
        wire.send(bytes(MEGABYTE))
        assert wire.answer().body == b"no need"
    wait_until(lambda: counts().dropped == 1, WAIT_S)
    assert gate.notes() == []
