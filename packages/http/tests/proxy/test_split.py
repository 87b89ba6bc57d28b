"""Routes that lead to several deployments, over the real proxy."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse

from alacarte import serve
from alacarte.instance import get_instance
from alacarte.status import CallCounts
from alacarte.testing import wait_until
from alacarte.types import DeploymentId, Resource, Route

from .. import gates
from ..gates import WAIT_S
from ..websocket.apps import by_status
from ..websocket.support import UPGRADE
from ..wire import Wire

pytestmark = pytest.mark.once


@pytest.fixture
def plugins(plugins_with_endpoints: Any) -> Any:
    """The plugins of each instance in this module."""
    return plugins_with_endpoints


@serve.deployment(max_ongoing_requests=128)
class Named:
    """A deployment that responds with its application's name, or as the path's end says."""

    async def __call__(self, request: Request) -> Any:
        what = request.url.path.rpartition("/")[2]
        name = serve.get_replica_context().app_name
        if what == "raise":
            raise ValueError("as asked")
        if what.isdigit():
            return PlainTextResponse(name, int(what))
        if what == "stay":
            await gates.GATE.wait_cancelled()
        if what == "stream":
            return StreamingResponse(iter([name]), 500)
        if what == "late":
            return StreamingResponse(self.late())
        if what == "upload":
            async for piece in request.stream():
                if piece:
                    gates.GATE.note(bytes(piece))
        return name

    async def late(self) -> AsyncIterator[bytes]:
        await gates.GATE.pass_async()
        yield b"late"


@serve.deployment(max_ongoing_requests=1)
async def narrow() -> str:
    """A deployment that takes one request at a time and waits."""
    await gates.GATE.pass_async()
    return "narrow"


def split(site: Any, weights: dict[str, float], path: str = "/s", **options: Any) -> None:
    """Split the requests for a path between applications by weights."""
    targets = {DeploymentId(app, ""): weight for app, weight in weights.items()}
    route = Route(path, "mix", targets, **{"name": "mix", **options})
    get_instance().apply(Resource("door", "mix", route))


def answers(wire: Wire, count: int, *headers: str) -> Iterator[str]:
    """Send requests, and yield the responses."""
    while count > 0:
        batch = min(count, 100)
        for _ in range(batch):
            wire.ask("/s", "GET", *headers)
        for _ in range(batch):
            answer = wire.answer()
            assert answer.status == 200
            yield answer.body.decode()
        count -= batch


def counts(target: str, path: str = "/s") -> CallCounts:
    """Return the status's counts of a target."""
    found = serve.status().routes[path].targets[target].counts
    assert found is not None
    return found


def chosen(wire: Wire, keys: Iterable[int], header: str = "X-Serve-Shard-Key") -> dict[int, str]:
    """Return the target of each key."""
    return {key: next(answers(wire, 1, f"{header}: user {key}")) for key in keys}


@pytest.fixture
def pair(site):
    """An instance with two applications without routes."""
    for name in ("a", "b"):
        site.run(Named.bind(), None, name)
    return site


@pytest.mark.parametrize("share", [0.7, 0.99])
def test_weights(pair, share):
    """Each target gets its share, within five standard deviations, and status counts the same."""
    split(pair, {"a": share, "b": 1 - share})
    total = 4000
    with pair.wire() as wire:
        found = Counter(answers(wire, total))
    assert abs(found["a"] - total * share) <= 5 * math.sqrt(total * share * (1 - share))
    assert found["a"] + found["b"] == total
    wait_until(lambda: counts("a").requests + counts("b").requests == total, WAIT_S)
    assert {name: counts(name).requests for name in "ab"} == found
    assert counts("a").errors == counts("b").errors == 0
    assert 0 < counts("a").p50_s <= counts("a").p99_s


def test_a_weight_of_nothing(pair):
    """A target with weight 0 is ready and gets no request."""
    split(pair, {"a": 0.0, "b": 1.0})
    with pair.wire() as wire:
        assert set(answers(wire, 300)) == {"b"}


def test_keys_stick(pair):
    """A key sticks to its target, and moves only to targets that gain weight."""
    split(pair, {"a": 0.5, "b": 0.5})
    keys = range(400)
    with pair.wire() as wire:
        before = chosen(wire, keys)
        assert chosen(wire, keys) == before
        shares = Counter(before.values())
        assert abs(shares["a"] - 200) <= 5 * math.sqrt(400 / 4)
        split(pair, {"a": 0.4, "b": 0.6})
        after = chosen(wire, keys)
        moved = [key for key in keys if after[key] != before[key]]
        assert moved
        assert {after[key] for key in moved} == {"b"}
        assert len(moved) <= 40 + 5 * math.sqrt(400 * 0.1 * 0.9)
        split(pair, {"a": 0.5, "b": 0.5})
        assert chosen(wire, keys) == before


def test_sessions_stick(pair):
    """A session id sticks like a shard key, which precedes it."""
    split(pair, {"a": 0.5, "b": 0.5})
    keys = range(40)
    with pair.wire() as wire:
        by_key = chosen(wire, keys)
        assert chosen(wire, keys, "X-Session-ID") == by_key
        both = {
            key: next(answers(wire, 1, f"X-Session-ID: {key}", f"X-Serve-Shard-Key: user {key}"))
            for key in keys
        }
    assert both == by_key


def test_weights_change_under_load(pair):
    """Weights change without a failed request, and apply to the next request."""
    split(pair, {"a": 0.5, "b": 0.5})
    done = threading.Event()

    def load() -> int:
        count = 0
        with pair.wire() as wire:
            while not done.is_set():
                count += sum(1 for _ in answers(wire, 20))  # each of them has status 200
        return count

    with ThreadPoolExecutor(4) as pool, pair.wire() as wire:
        loads = [pool.submit(load) for _ in range(4)]
        try:
            for turn in range(20):
                target = "ab"[turn % 2]
                split(pair, {"a": 0.0, "b": 0.0, target: 1.0})
                assert set(answers(wire, 20)) == {target}
        finally:
            done.set()
        assert all(each.result(WAIT_S) for each in loads)


def test_a_target_that_goes(pair):
    """An application without weight can be deleted under load without a failed request."""
    split(pair, {"a": 0.5, "b": 0.5})
    done = threading.Event()

    def load() -> set[str]:
        with pair.wire() as wire:
            while not done.is_set():
                assert set(answers(wire, 20)) <= {"a", "b"}
            return set(answers(wire, 20))

    with ThreadPoolExecutor(2) as pool:
        loads = [pool.submit(load) for _ in range(2)]
        try:
            split(pair, {"a": 1.0})
            serve.delete("b")
        finally:
            done.set()
        assert [each.result(WAIT_S) for each in loads] == [{"a"}, {"a"}]


def test_requests_that_wait_for_a_target_that_goes(pair, gate):
    """Queued requests of a removed target go to another one; running ones are finished."""
    pair.run(narrow.bind(), None, "narrow")
    split(pair, {"narrow": 1.0})
    with contextlib.ExitStack() as stack:
        first, *others = [stack.enter_context(pair.wire()) for _ in range(4)]
        pool = stack.enter_context(ThreadPoolExecutor(1))
        first.ask("/s")
        gate.entered()
        for wire in others:
            wire.ask("/s")
        assert pair.http.get("/-/healthz").status_code == 200  # the proxy has read them all
        split(pair, {"a": 1.0})
        deleting = pool.submit(serve.delete, "narrow")
        assert [wire.answer().body for wire in others] == [b"a"] * 3
        gate.open.set()
        assert first.answer().body == b"narrow"
        deleting.result(WAIT_S)


def test_a_path_of_an_applications(site):
    """An overriding route takes a path with everything below it, and gives it back at its end."""
    site.run(Named.bind(), "/s", "a")
    site.run(Named.bind(), None, "b")
    split(site, {"b": 1.0}, overrides=True, name="")
    assert site.http.get("/s/x").text == "b"
    assert site.http.get("/-/routes").json() == {"/s": "mix"}
    get_instance().delete("door", "mix")
    assert site.http.get("/s/x").text == "a"


def test_a_route_without_a_path(pair):
    """A route without a path is not served by HTTP."""
    split(pair, {"a": 0.5, "b": 0.5}, path="")
    assert pair.http.get("/-/routes").json() == {}
    assert pair.http.get("/").status_code == 404


# --- counts and access log --------------------------------------------------------------


def test_errors_are_counted(pair):
    """Exceptions and 5xx count as errors, whole or streamed; other statuses do not."""
    split(pair, {"a": 1.0})
    for what in ("raise", "500", "503", "stream", "499", "404", "200", "stay-not"):
        pair.http.get(f"/s/{what}")
    wait_until(lambda: counts("a").requests == 8, WAIT_S)
    assert counts("a").errors == 4


def test_disconnects_are_not_counted(pair, gate):
    """A client's disconnect does not count as an error."""
    split(pair, {"a": 1.0})
    with pair.wire() as wire:
        wire.ask("/s/stay")
        gate.entered()
    assert gate.next_note() == "cancelled"
    for stays in ((), ("X-Request-Disconnect-Disabled: ?1",)):
        with pair.wire() as wire:
            wire.ask("/s/upload", "POST", "Content-Length: 1000", *stays)
            wire.send(b"part")
            assert gate.next_note() == b"part"
    pair.http.get("/s/200")
    wait_until(lambda: counts("a").requests > 0, WAIT_S)
    assert (counts("a").requests, counts("a").errors) == (1, 0)


def test_the_head_of_a_stream(pair, gate):
    """The head of a stream does not wait for its body, with or without a shadow."""
    split(pair, {"a": 1.0}, shadows={DeploymentId("b", ""): 1.0})
    with pair.wire() as wire:
        wire.ask("/s/late")
        assert wire.head().status == 200
        gate.entered()
        gate.entered()  # the shadow's
        gate.open.set()
        assert (wire.chunk(), wire.chunk()) == (b"late", b"")


def test_websockets(pair):
    """A WebSocket goes to one target; a denial with 5xx counts as an error."""
    pair.run(serve.deployment(serve.ingress(by_status)()).bind(), None, "sockets")
    # A length that might be taken for a status.
    offer = b"Sec-WebSocket-Protocol: ab\r\n\r\n"
    split(pair, {"sockets": 1.0})
    for path, status in (("", 101), ("/503", 503), ("/403", 403)):
        with pair.wire() as wire:
            wire.send((UPGRADE % f"/s{path}".encode())[:-2] + offer)
            assert wire.head().status == status
    wait_until(lambda: counts("sockets").requests == 3, WAIT_S)
    assert counts("sockets").errors == 1


def test_the_access_log(start: Any, tmp_path: Path):
    """The access log has the route, and the application that responded or failed."""
    path = tmp_path / "access.log"
    site = start(access_log="json", access_log_path=str(path))
    site.run(Named.bind(), None, "a")
    site.run(serve.deployment(serve.ingress(by_status)()).bind(), None, "sockets")
    split(site, {"a": 1.0}, methods=frozenset({"GET"}))
    site.http.get("/s/200")
    site.http.get("/s/raise")
    site.http.post("/s")
    split(site, {"sockets": 1.0})
    with site.wire() as wire:
        wire.send(UPGRADE % b"/s/ws")
        wire.head()

    def lines() -> list[Any]:
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    wait_until(lambda: len(lines()) == 4, WAIT_S)
    assert [(each["path"], each["status"], each["app"], each["route"]) for each in lines()] == [
        ("/s/200", 200, "a", "/s"),
        ("/s/raise", 500, "a", "/s"),
        ("/s", 405, "mix", "/s"),
        ("/s/ws", 101, "sockets", "/s"),
    ]
