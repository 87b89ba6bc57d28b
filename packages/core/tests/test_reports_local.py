"""Reports and messages between the processes of an instance, on the local cluster."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from alacarte import serve
from alacarte._control import report_topics
from alacarte._process import topic_reporter
from alacarte.errors import NotFoundError, PluginError
from alacarte.hookspecs import hookimpl
from alacarte.runtime import get_runtime
from alacarte.testing import wait_until
from alacarte.types import NodeServiceSpec, ProcessId, ReportTopic, Runtime

WAIT_S = 20.0


class Board:
    """A receiver of the latest value of each process."""

    def __init__(self) -> None:
        self.values: dict[ProcessId, Any] = {}

    def report(self, process: ProcessId, value: Any) -> None:
        self.values[process] = value

    def forget(self, process: ProcessId) -> None:
        del self.values[process]


BOARDS: list[Board] = []


def board() -> Board:
    BOARDS.append(Board())
    return BOARDS[-1]


class Echo:
    """A node service that reports its number of messages, and replies in upper case."""

    async def start(self, runtime: Runtime) -> dict[str, str]:
        self.runtime = runtime
        self.count = 0
        return {}

    async def receive(self, message: bytes) -> bytes:
        self.count += 1
        self.runtime.report("board", self.count)
        assert self.runtime.service_context is not None
        return message.upper() + str(self.runtime.service_context.index).encode()

    async def drain(self, limit_s: float, *, replaced: bool) -> None: ...

    async def stop(self) -> None: ...


class Deaf(Echo):
    """A node service without `receive`."""

    receive = None  # type: ignore[assignment]


@serve.deployment
class Reporter:
    async def __call__(self, value: Any) -> Any:
        get_runtime().report("board", value)

    async def deliver(self, value: Any) -> None:
        await get_runtime().send_report("board", value)

    async def send(self, message: bytes) -> list[bytes]:
        return await get_runtime().node_service("echo").send(message)


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch, observer: Any) -> None:
    """Register the topic and the services in the instance."""
    BOARDS.clear()
    monkeypatch.setitem(sys.modules, "echo_of_tests", sys.modules[__name__])

    @hookimpl
    def register_node_services() -> list[NodeServiceSpec]:
        return [
            NodeServiceSpec("echo", "echo_of_tests:Echo", processes=lambda config: 2),
            NodeServiceSpec("deaf", "echo_of_tests:Deaf"),
            NodeServiceSpec("none", "echo_of_tests:Echo", enabled=lambda config: False),
        ]

    @hookimpl
    def register_report_topics() -> list[ReportTopic]:
        return [ReportTopic("board", board)]

    observer.register_node_services = register_node_services
    observer.register_report_topics = register_report_topics


def on_loop(runtime: Any, call: Any) -> Any:
    """Run a call of a runtime on its loop."""

    async def run() -> Any:
        found = call()
        return await found if hasattr(found, "__await__") else found

    return runtime.submit(run()).result(WAIT_S)


def test_every_kind_of_process_reports(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver, a replica and a node service each have their newest value in the controller, and
    none that has ended."""
    # A process is forgotten after fifty heartbeats, so that a slow machine forgets none that lives.
    monkeypatch.setattr(topic_reporter, "PERIOD_S", 0.05)
    monkeypatch.setattr(topic_reporter, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(report_topics, "FORGET_S", 5.0)
    handle = local.run(Reporter.bind())
    runtime = get_runtime()
    on_loop(runtime, lambda: runtime.report("board", {"driver": [1, 2]}))
    handle.call("first")
    handle.call("last")
    handle.call(b"x", method="send")
    [board] = BOARDS
    wait_until(lambda: len(board.values) == 4 and "last" in board.values.values(), WAIT_S)
    found = sorted(map(str, board.values.values()))
    assert found == ["1", "1", "last", "{'driver': [1, 2]}"]
    assert len({process.incarnation for process in board.values}) == 4
    serve.delete("default")
    wait_until(lambda: len(board.values) == 3 and "last" not in board.values.values(), WAIT_S)


def test_a_message_reaches_each_process_of_a_service(local: Any) -> None:
    """A replica and the driver can send; each process of the service replies."""
    handle = local.run(Reporter.bind())
    assert sorted(handle.call(b"hi", method="send")) == [b"HI0", b"HI1"]
    runtime = get_runtime()
    answers = on_loop(runtime, lambda: runtime.node_service("echo").send(b"a"))
    assert sorted(answers) == [b"A0", b"A1"]
    local.restart_services("echo")
    answers = on_loop(runtime, lambda: runtime.node_service("echo").send(b"b"))
    assert sorted(answers) == [b"B0", b"B1"]


def test_services_that_take_no_messages(local: Any) -> None:
    """One without `receive`, one that does not run, and one that nobody registers; and a message
    that is too long."""
    local.start()
    runtime = get_runtime()
    with pytest.raises(PluginError, match="Deaf accepts no messages"):
        on_loop(runtime, lambda: runtime.node_service("deaf").send(b""))
    with pytest.raises(NotFoundError, match="no process .*none.* runs"):
        on_loop(runtime, lambda: runtime.node_service("none").send(b""))
    with pytest.raises(
        PluginError, match=r"'lost'; registered services: \['deaf', 'echo', 'none'\]"
    ):
        on_loop(runtime, lambda: runtime.node_service("lost"))
    with pytest.raises(PluginError, match="has 1048577 bytes, the limit is 1048576"):
        on_loop(runtime, lambda: runtime.node_service("echo").send(bytes(1048577)))


def test_what_cannot_be_reported(local: Any) -> None:
    """Invalid reports raise in `report`."""
    local.start()
    runtime = get_runtime()
    with pytest.raises(PluginError, match="no installed plugin registers the report topic 'lost'"):
        on_loop(runtime, lambda: runtime.report("lost", 1))
    with pytest.raises(PluginError, match="has 70002 bytes, the limit is 65536"):
        on_loop(runtime, lambda: runtime.report("board", "x" * 70_000))
    with pytest.raises(TypeError, match="not JSON serializable"):
        on_loop(runtime, lambda: runtime.report("board", b"x"))


def test_a_report_is_delivered(local: Any):
    """`send_report` returns when the value has arrived, without a rate limit."""
    handle = local.run(Reporter.bind())
    for value in range(5):
        handle.call(value, method="deliver")
        assert value in BOARDS[0].values.values()
    with pytest.raises(PluginError, match="the limit is"):
        handle.call("x" * 100_000, method="deliver")
