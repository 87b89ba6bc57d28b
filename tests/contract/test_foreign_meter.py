"""A stranger's meter sees every outcome that a router, a replica and the edge can produce.

It lies in tests/foreign_plugin_meter; `nox -s contract` builds and installs it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import BackPressureError, DeploymentUnavailableError
from alacarte.testing import check_plugin, wait_until

counting_meter = pytest.importorskip(
    "counting_meter", reason="nox -s contract installs tests/foreign_plugin_meter"
)
WAIT_S = 10.0
gate = threading.Event()


@pytest.fixture
def local() -> Iterator[Any]:
    """`serve` on a local cluster without HTTP, in which every request is counted."""
    counting_meter.counts.clear()
    gate.clear()
    serve.start(
        cluster="local", proxy_location="Disabled", counting_meter_options={"enabled": True}
    )
    yield serve
    gate.set()
    serve.shutdown()


def counted(subject: str, name: str) -> Counter[str]:
    """Return what was counted of one subject."""
    counts = dict(counting_meter.counts)
    return Counter({key[2]: n for key, n in counts.items() if key[:2] == (subject, name)})


def test_it_keeps_the_rules():
    """`check_plugin` passes."""
    assert check_plugin("counting-meter").distribution == "counting-meter-for-alacarte"


@serve.deployment(name="Model", max_ongoing_requests=1, max_queued_requests=1)
class Model:
    """Does what it is told."""

    async def __call__(self, what: str) -> str:
        if what == "fail":
            raise ValueError("a bug")
        if what == "wait":
            await asyncio.to_thread(gate.wait, WAIT_S)
        return what

    async def items(self, count: int) -> Any:
        for n in range(count):
            if n == 2:
                raise ValueError("a bug in the middle")
            yield n


def test_a_success(local):
    """At the router and in the replica."""
    assert local.run(Model.bind(), name="a", route_prefix=None).remote("x").result() == "x"
    wait_until(lambda: counted("replica", "a#Model")["ended success"] == 1, WAIT_S, "the replica")
    counts = counted("router", "a#Model")
    counts.pop("queued", None)  # the replica may not have been connected to yet
    assert counts == {"joined": 1, "began": 1, "sent": 1, "ended success": 1}
    assert counted("replica", "a#Model") == {"started": 1, "ended success": 1}


def test_an_error_of_the_code(local):
    """An error that the router and the replica see alike."""
    handle = local.run(Model.bind(), name="a", route_prefix=None)
    with pytest.raises(ValueError, match="a bug"):
        handle.remote("fail").result()
    for subject in ("router", "replica"):
        wait_until(
            lambda subject=subject: counted(subject, "a#Model")["ended error internal"] == 1,
            WAIT_S,
            f"the {subject}",
        )


def test_streams(local):
    """The first part, and the end: a whole stream, one that fails, one that is left."""
    handle = local.run(Model.bind(), name="a", route_prefix=None)
    stream = handle.items.options(stream=True)
    assert list(stream.remote(2)) == [0, 1]
    wait_until(lambda: counted("router", "a#Model")["ended success"] == 1, WAIT_S, "the stream")
    with pytest.raises(ValueError, match="in the middle"):
        list(stream.remote(3))
    for subject in ("router", "replica"):
        wait_until(
            lambda subject=subject: counted(subject, "a#Model")["ended error internal"] == 1,
            WAIT_S,
            f"the {subject}",
        )
        assert counted(subject, "a#Model")["first part"] == 2


def test_back_pressure_and_a_caller_that_leaves(local):
    """One runs, one waits, one is refused; then the one that runs is cancelled."""
    handle = local.run(Model.bind(), name="a", route_prefix=None)
    running = handle.remote("wait")
    wait_until(lambda: counted("replica", "a#Model")["started"] == 1, WAIT_S, "a call that runs")
    waiting = handle.remote("x")
    wait_until(lambda: counted("router", "a#Model")["queued"] >= 1, WAIT_S, "a call that waits")
    with pytest.raises(BackPressureError):
        handle.remote("y").result()
    assert counted("router", "a#Model")["ended error resource_exhausted"] == 1
    running.cancel()
    for subject in ("router", "replica"):
        wait_until(
            lambda subject=subject: counted(subject, "a#Model")["ended cancelled cancelled"] == 1,
            WAIT_S,
            f"the {subject}",
        )
    gate.set()
    assert waiting.result(timeout_s=WAIT_S) == "x"


def test_a_deadline(local):
    """A call whose time is over ended by its deadline, and not because somebody left."""
    handle = local.run(Model.bind(), name="a", route_prefix=None)
    with pytest.raises(TimeoutError):
        handle.options(timeout_s=0.2).remote("wait").result()
    wait_until(
        lambda: counted("router", "a#Model")["ended error deadline_exceeded"] == 1,
        WAIT_S,
        "the deadline",
    )


def test_a_deployment_that_is_deleted(local):
    """Its replicas leave, and calls to it end unsent."""
    handle = local.run(Model.bind(), name="a", route_prefix=None)
    assert handle.remote("x").result() == "x"
    local.delete("a")
    wait_until(lambda: counted("router", "a#Model")["left"] == 1, WAIT_S, "the replica's end")
    with pytest.raises(DeploymentUnavailableError):
        handle.remote("x").result()
    assert counted("router", "a#Model")["ended error unavailable"] == 1


def test_a_broadcast(local):
    """No call of the router's: it passes policy and queue by."""
    handle = local.run(Model.options(num_replicas=2).bind(), name="a", route_prefix=None)
    assert handle.broadcast("__call__", "x").results(timeout_s=WAIT_S) == ["x", "x"]
    assert counted("router", "a#Model")["broadcast"] == 1
    assert counted("router", "a#Model")["began"] == 0
    assert counted("replica", "a#Model")["ended success"] == 2


@serve.deployment(max_ongoing_requests=10)
class Batched:
    @serve.batch(max_batch_size=2, batch_wait_timeout_s=5.0)
    async def __call__(self, items: list[str]) -> list[str]:
        if "fail" in items:
            raise ValueError("a bug")
        return items


def test_batches(local):
    """Their size, and how they end."""
    handle = local.run(Batched.bind(), name="b", route_prefix=None)
    for items in (("x", "y"), ("x", "fail")):
        for response in [handle.remote(item) for item in items]:
            if "fail" in items:
                with pytest.raises(ValueError, match="a bug"):
                    response.result(timeout_s=WAIT_S)
            else:
                response.result(timeout_s=WAIT_S)
    name = "b#Batched.Batched.__call__"
    wait_until(lambda: counted("batcher", name)["ended 2 ValueError"] == 1, WAIT_S, "the batches")
    assert counted("batcher", name) == {
        "queued": 4, "started 2": 2, "ended 2 success": 1, "ended 2 ValueError": 1,
    }  # fmt: skip


def test_bytes_between_processes(local):
    """What a caller has sent its replicas have received, and the other way round."""
    handle = local.run(Model.bind(), name="a", route_prefix=None)
    for _ in range(10):
        assert handle.remote("x" * 1000).result() == "x" * 1000

    def same() -> bool:
        caller, replica = counted("wire", "caller"), counted("wire", "replica")
        there = caller["sent"] == replica["received"] > 10_000
        return there and caller["received"] == replica["sent"] > 10_000

    wait_until(same, WAIT_S, "the same bytes at both ends")
    assert counted("wire", "caller")["opened"] == counted("wire", "replica")["opened"] == 1
    local.delete("a")
    for end in ("caller", "replica"):
        wait_until(lambda end=end: counted("wire", end)["closed"] == 1, WAIT_S, f"the {end}")
