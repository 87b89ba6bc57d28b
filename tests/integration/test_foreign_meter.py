"""Strangers' meter and routing policy on Ray: in the driver, in replicas, by way of the proxy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.instance import TIMEOUT_S, Client, Instance, free_port

from alacarte import serve
from alacarte.testing import wait_until

counting_meter = pytest.importorskip(
    "counting_meter", reason="nox -s integration installs tests/foreign_plugin_meter"
)
pytest.importorskip("peak_ewma", reason="nox -s integration installs tests/foreign_plugin_ewma")
CALLS = 60


@serve.deployment(
    num_replicas=2,
    max_ongoing_requests=20,
    routing_policy={"name": "peak_ewma", "decay_s": 60},
)
class Model:
    """One of its replicas fails at once; each says what it has counted."""

    is_broken = False

    async def break_down(self, replica_id: str) -> str:
        here = serve.get_replica_context().replica_id
        self.is_broken = here == replica_id
        return here

    async def counted(self) -> dict[str, int]:
        counts = counting_meter.counts
        return {what: n for (subject, _, what), n in counts.items() if subject == "replica"}

    async def __call__(self, request: Any = None) -> str:
        if self.is_broken:
            raise ValueError("a broken GPU")
        return "ok"


@pytest.fixture(scope="module")
def observed(cluster: str) -> Iterator[Instance]:
    """An instance whose every process counts."""
    counting_meter.counts.clear()
    serve.start(
        cluster=cluster,
        http_options={"port": free_port()},
        counting_meter_options={"enabled": True},
    )
    here = Instance(cluster)
    yield here
    serve.shutdown()
    here.assert_gone()


def test_outcomes_in_every_process(observed: Instance, cluster: str):
    """A replica that fails is avoided by driver and proxy, and both ends count the same calls."""
    handle = serve.run(Model.bind(), name="a", route_prefix="/a")
    names = handle.broadcast("break_down", "").results(timeout_s=TIMEOUT_S)
    handle.broadcast("break_down", names[0]).results(timeout_s=TIMEOUT_S)
    answers: Counter[Any] = Counter()
    client = Client(serve.status().urls[0])
    for _ in range(CALLS):
        try:
            answers[handle.remote().result(timeout_s=TIMEOUT_S)] += 1
        except ValueError:
            answers["error"] += 1
        answers[client.get("/a").status] += 1
    client.close()
    assert answers["error"] <= 2
    assert answers[500] <= 2

    # On the local cluster the proxy is a thread of this process.
    succeeded = answers["ok"] + (answers[200] if cluster == "local" else 0)
    failed = answers["error"] + (answers[500] if cluster == "local" else 0)
    router = {
        what: number
        for (subject, _, what), number in counting_meter.counts.items()
        if subject == "router"
    }
    assert router["ended success"] == succeeded
    assert router.get("ended error internal", 0) == failed

    def in_replicas() -> int:
        if cluster == "local":
            return int(counting_meter.counts["replica", "a#Model", "ended error internal"])
        counts = handle.broadcast("counted").results(timeout_s=TIMEOUT_S)
        return sum(each.get("ended error internal", 0) for each in counts)

    wait_until(lambda: in_replicas() == answers["error"] + answers[500], 30, "their counts")
