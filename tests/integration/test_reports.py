"""Reports of every kind of process reach the controller, whoever dies; and so do messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.conftest import started
from tests.integration.instance import Instance
from tests.integration.reporting_plugin import ledger_file

from alacarte import plugins as process_plugins
from alacarte import serve
from alacarte.runtime import get_runtime
from alacarte.testing import wait_until
from alacarte.types import DeploymentId

FORGOTTEN_S = 60


@pytest.fixture(scope="module")
def instance(cluster: str) -> Iterator[Instance]:
    """An instance with the plugin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALACARTE_PLUGINS", "tests.integration.reporting_plugin")
        process_plugins._load_once.cache_clear()
        yield from started(cluster)
    process_plugins._load_once.cache_clear()


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Reporter:
    async def report(self, value: str) -> None:
        get_runtime().report("ledger", value)

    async def send(self, message: str) -> list[bytes]:
        return await get_runtime().node_service("pad").send(message.encode())


def ledger() -> tuple[str, list[Any]]:
    """Return which receiver has written last, and the values that it holds."""
    found = json.loads(ledger_file().read_text()) if ledger_file().exists() else ["", []]
    return found[0], found[1]


def test_messages_of_a_driver_reach_the_services_of_its_node(here: Instance):
    """The driver knows its node; after a restart of the services, the successors answer. Its
    replicas stay as near as they were: on Ray, none is local to a driver."""
    handle = serve.run(Reporter.bind(), route_prefix=None)
    runtime = get_runtime()

    def send(message: bytes) -> list[bytes]:
        return runtime.submit(runtime.node_service("pad").send(message)).result(60)

    assert send(b"abc") == [b"cba"]
    pads = [each for each in serve.status().services.values() if each.service == "pad"]
    assert runtime.node_id in {each.node_id for each in pads}
    handle.report.remote("x").result()
    [replica] = runtime.replicas_of(DeploymentId("default", "Reporter"))
    assert replica.local is (here.kind == "local")

    serve.restart_services("pad")
    assert send(b"def") == [b"fed"]
    assert handle.send.remote("ghi").result() == [b"ihg"]
    serve.delete("default")


def test_the_controller_holds_the_latest_report_of_each_living_process(here: Instance):
    """A driver's, a replica's and a node service's; a controller that is killed has them again, and
    a replica that is killed is forgotten."""
    handle = serve.run(Reporter.bind(), route_prefix=None)
    runtime = get_runtime()
    runtime.loop.call_soon_threadsafe(runtime.report, "ledger", "driver")
    handle.report.remote("first").result()
    handle.report.remote("replica").result()
    assert handle.send.remote("abc").result() == [b"cba"]
    everything = ["driver", "replica", "service: abc"]
    wait_until(lambda: ledger()[1] == everything, 30, "all reports")

    before, _ = ledger()
    here.kill_controller()
    wait_until(lambda: ledger()[0] != before and ledger()[1] == everything, 60, "all again")

    [replica] = here.replicas()
    here.kill_replica(replica)
    wait_until(lambda: ledger()[1] == ["driver", "service: abc"], FORGOTTEN_S, "the end of one")
