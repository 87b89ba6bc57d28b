"""Several applications and several drivers, and the end of an instance; on the local cluster."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from alacarte import serve
from alacarte._cluster.cluster_protocol import Actor, ActorSpec, ClusterUnresponsive
from alacarte._cluster.local import LocalCluster
from alacarte._cluster.stubs import RemoteCall
from alacarte._model.deployment_spec import ApplicationSpec
from alacarte._process import controller_client
from alacarte._process.controller_retry import RetryLimits
from alacarte.errors import ConfigError, ConflictError, DeployError, PluginError, ServeError
from alacarte.instance import build_deployments, get_instance
from alacarte.serve import RunTarget, _controller_connection, _current, _session
from alacarte.testing import wait_until
from alacarte.types import Resource

from ..gates import Gate, fresh_gate

WAIT_S = 20


GATE = Gate()


gate = fresh_gate(__name__)


@serve.deployment
class Named:
    """A deployment that answers with its name; its constructor waits or fails on request."""

    def __init__(self, name: str = "", *, waits: bool = False, fails: bool = False) -> None:
        if waits:
            GATE.inside.release()
            GATE.open.wait(WAIT_S)
        if fails:
            raise RuntimeError("of the constructor")
        self.name = name

    def __call__(self) -> str:
        return self.name

    def slow(self) -> str:
        GATE.inside.release()
        GATE.open.wait(WAIT_S)
        return self.name


def target(name: str, **how: Any) -> RunTarget:
    return RunTarget(Named.bind(name, **how), name, None)


def kill_controller() -> None:
    session = _current.current()
    assert session is not None
    session.cluster._actors["alacarte:controller"].kill()  # type: ignore[attr-defined]


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("alacarte:")]


def test_run_many(local: Any):
    """Several applications come up at once; their handles are in the order of the targets."""
    handles = local.run_many([target("a"), target("b")])
    assert [handle.call() for handle in handles] == ["a", "b"]
    assert {app.status for app in local.status().applications.values()} == {"RUNNING"}


def test_run_many_is_all_or_nothing(local: Any):
    """When one application is refused, none is deployed, and earlier ones keep running."""
    before = local.run(Named.bind("old"), name="old", route_prefix=None)
    policy = Named.options(routing_policy="nobody-gives-it").bind("bad")
    with pytest.raises(ConfigError, match="nobody-gives-it"):
        local.run_many([target("good"), RunTarget(policy, "bad", None)])
    assert list(local.status().applications) == ["old"]
    assert before.call() == "old"


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], r"run_many\(\): targets is empty"),
        ([target("a"), target("a")], r"run_many\(\): two applications are named 'a'; rename"),
        (
            [RunTarget(Named.bind(), "a", None, logging_config={})],
            "logging_config is not supported yet",
        ),
    ],
)
def test_run_many_refuses(local: Any, targets: list[RunTarget], message: str):
    """Invalid targets are refused before anything starts."""
    with pytest.raises(ConfigError, match=message):
        local.run_many(targets)
    assert _current.current() is None


def test_run_many_without_waiting(local: Any, gate: Gate):
    """Without waiting, `run_many` returns before replicas are ready; calls wait for them."""
    [handle] = local.run_many([target("a", waits=True)], wait_for_applications_running=False)
    assert local.status().applications["a"].status == "DEPLOYING"
    answer = handle.submit()
    gate.open.set()
    assert answer.result(WAIT_S) == "a"


def test_the_first_failure_is_raised(local: Any, gate: Gate):
    """The failure of an application is raised at once, while another one still starts."""
    with pytest.raises(DeployError, match="of the constructor"):
        local.run_many([target("slow", waits=True), target("bad", fails=True)])
    assert not gate.open.is_set()
    gate.open.set()
    wait_until(lambda: local.status().applications["slow"].status == "RUNNING", WAIT_S)


def test_a_later_driver_wins(local: Any, gate: Gate):
    """A driver's wait fails when another driver deploys a different application by its name."""
    local.start()
    with ThreadPoolExecutor() as drivers:
        first = drivers.submit(local.run, Named.bind("1", waits=True), route_prefix=None)
        assert gate.inside.acquire(timeout=WAIT_S)
        second = drivers.submit(local.run, Named.bind("2"), route_prefix=None)
        with pytest.raises(DeployError, match="application 'default' was superseded"):
            first.result(WAIT_S)
        gate.open.set()
        assert second.result(WAIT_S).call() == "2"


def test_the_same_program_twice(local: Any, gate: Gate):
    """Two drivers that deploy the same program both return, and the program runs once."""
    local.start()
    app = Named.bind("same", waits=True)
    with ThreadPoolExecutor() as drivers:
        both = [drivers.submit(local.run, app, route_prefix=None) for _ in range(2)]
        assert gate.inside.acquire(timeout=WAIT_S)
        gate.open.set()
        assert [each.result(WAIT_S).call() for each in both] == ["same", "same"]
    assert local.status().applications["default"].deployments["Named"].replica_states == {
        "RUNNING": 1
    }


def test_different_applications_at_once(local: Any):
    """Drivers of different applications do not affect each other."""
    local.start()
    with ThreadPoolExecutor() as drivers:
        names = [f"app{number}" for number in range(6)]
        runs = [
            drivers.submit(local.run, Named.bind(name), name=name, route_prefix=None)
            for name in names
        ]
        assert [run.result(WAIT_S).call() for run in runs] == names


def test_deleted_while_it_comes_up(local: Any, gate: Gate):
    """The wait for an application fails when the application is deleted."""
    local.start()
    with ThreadPoolExecutor() as drivers:
        run = drivers.submit(local.run, Named.bind(waits=True), route_prefix=None)
        assert gate.inside.acquire(timeout=WAIT_S)
        local.delete("default", _blocking=False)
        with pytest.raises(DeployError, match="was deleted before it ran"):
            run.result(WAIT_S)
        gate.open.set()


def test_a_deletion_that_takes_too_long(local: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch):
    """A deletion that waits for a long request raises after a minute."""
    monkeypatch.setattr(_session, "_DELETED_S", 0.05)
    answer = local.run(Named.bind("a"), route_prefix=None).submit(method="slow")
    assert gate.inside.acquire(timeout=WAIT_S)
    with pytest.raises(TimeoutError, match="'default' is deleted, but its replicas still drain"):
        local.delete("default")
    gate.open.set()
    assert answer.result(WAIT_S) == "a"


def test_a_wait_ends_with_the_instance(local: Any):
    """`blocking=True` returns when this process shuts the instance down."""
    with ThreadPoolExecutor() as drivers:
        run = drivers.submit(local.run, Named.bind("a"), True, route_prefix=None)
        wait_until(lambda: "default" in local.status().applications, WAIT_S)
        wait_until(lambda: local.status().applications["default"].status == "RUNNING", WAIT_S)
        assert not run.done()
        local.shutdown()
        assert run.result(WAIT_S).deployment.app == "default"


def test_shutdown_by_force(local: Any, gate: Gate):
    """A forced shutdown waits neither for requests nor for a controller that hangs."""
    handle = local.run(Named.bind("a"), route_prefix=None)
    answer = handle.submit(method="slow")
    assert gate.inside.acquire(timeout=WAIT_S)
    session = _current.current()
    assert session is not None

    async def hang(self: Any, *args: Any) -> None:
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alacarte._control.controller_actor.ControllerActor.join", hang)
        for method in ("shutdown", "status"):
            patch.setattr(f"alacarte._control.controller.Controller.{method}", hang)
        local.shutdown(force=True)
    gate.open.set()
    with pytest.raises((ServeError, asyncio.CancelledError)):
        answer.result(WAIT_S)
    assert _current.current() is None
    wait_until(lambda: threads() == [], WAIT_S)
    assert local.run(Named.bind("b"), route_prefix=None).call() == "b"


def test_shutdown_without_a_controller(local: Any, monkeypatch: pytest.MonkeyPatch):
    """A shutdown ends the replicas of a controller that is gone for good."""
    monkeypatch.setattr(_session, "_SHUTDOWN", RetryLimits(gone_s=0.2))
    local.run(Named.bind("a"), route_prefix=None)
    kill_controller()
    local.shutdown()
    wait_until(lambda: threads() == [], WAIT_S)
    assert _current.current() is None


def test_shutdown_without_an_instance(local: Any):
    """Without an instance a shutdown, forced or not, is no error and starts nothing."""
    local.shutdown()
    local.shutdown(force=True)
    assert _current.current() is None
    assert threads() == []


async def test_shutdown_on_an_event_loop(local: Any):
    """`shutdown_async` does not block the event loop."""
    await asyncio.to_thread(local.run, Named.bind("a"), route_prefix=None)
    ending = asyncio.create_task(local.shutdown_async())
    await asyncio.sleep(0)
    assert not ending.done()
    await ending
    assert _current.current() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"http_port": 8000}, "alacarte-http"),
        ({"http_host": "x", "http_options": {}}, "http_host and http_options exclude each other"),
        ({"logging_config": {}}, "not supported yet"),
        ({"no_such_options": 1}, "no installed plugin provides 'no_such_options'"),
    ],
)
def test_refused_options_of_start(local: Any, options: dict[str, Any], message: str):
    """The error for an unsupported, misplaced or unknown option says what to do."""
    with pytest.raises(ServeError, match=message):
        local.start(**options)
    assert _current.current() is None


def test_a_cluster_that_is_silent_for_a_while(local: Any, monkeypatch: pytest.MonkeyPatch):
    """Starts that fail because the cluster does not answer do not count as failures of the code."""
    silent = [None] * 10  # more than the starts that are allowed to fail
    start_actor = LocalCluster.start_actor

    async def start(cluster: LocalCluster, spec: ActorSpec) -> Any:
        if ":replica:" in spec.name and silent:
            silent.pop()
            raise ClusterUnresponsive("no word")
        return await start_actor(cluster, spec)

    monkeypatch.setattr(LocalCluster, "start_actor", start)
    monkeypatch.setattr("alacarte._control.failure_history._BACKOFF_S", (0.0,))
    assert local.run(Named.bind("a"), route_prefix=None).call() == "a"
    failures = local.status().applications["default"].deployments["Named"].recent_failures
    assert {failure.kind for failure in failures} == {"cluster"}


def test_options_that_are_none(local: Any):
    """Ray Serve's unsupported options may be None."""
    local.start(grpc_options=None, logging_config=None)
    assert _current.current() is not None


def test_what_start_returns_without_a_client(local: Any):
    """`serve.start` works without alacarte-endpoints; using its client names the package."""
    client = local.start()
    assert _current.current() is not None
    assert "alacarte-endpoints is not installed" in repr(client)
    with pytest.raises(PluginError, match=r"create_backend\(\).*alacarte-endpoints"):
        client.create_backend("b", lambda: None)
    assert not hasattr(client, "_repr_html_")


def test_detached_asks_for_the_first(local: Any):
    """`detached=True` fails when an instance is running."""
    local.start(detached=True)
    with pytest.raises(ServeError, match=r"running already; join it with serve.connect\(\)"):
        local.start(detached=True)
    local.start()


def test_an_instance_is_found_by_packages(local: Any):
    """Packages apply, list and delete resources of any kind through the instance."""
    with pytest.raises(ServeError, match="alacarte is not running"):
        get_instance()
    local.start()
    instance = get_instance()
    [spec] = build_deployments(Named.bind("hello"), name="made")
    made = Resource("application", "made", ApplicationSpec("made", None, spec.id, (spec,)))
    instance.apply(made)
    assert [each.name for each in instance.resources("application")] == ["made"]
    assert instance.status().applications["made"].status == "RUNNING"
    assert instance.make_handle(spec.id).call() == "hello"
    other = Resource("application", "made", ApplicationSpec("made", "/", spec.id, (spec,)))
    with pytest.raises(PluginError, match="the path / needs the package alacarte-http"):
        instance.apply(other)
    other = Resource("application", "made", ApplicationSpec("made", None, spec.id, (spec, spec)))
    with pytest.raises(ConflictError):
        instance.apply(other, expected=[None])
    instance.apply(made, expected=[made])
    assert instance.delete("application", "made")
    assert not instance.delete("application", "made")
    assert not instance.ended
    local.shutdown()
    assert instance.ended


@pytest.mark.parametrize("options", [{"name": "\ud800"}, {"route_prefix": "/\udc80"}])
def test_lone_surrogates_are_refused(local: Any, options: dict[str, Any], monkeypatch: Any):
    """Names that cannot be encoded are refused before anything is stored."""
    monkeypatch.setattr(type(_current.load_plugins()), "provides_routes", True)
    with pytest.raises(ConfigError, match="contains the lone surrogate"):
        local.run(Named.bind("a"), **{"route_prefix": None, **options})
    assert local.status().applications == {}


def test_a_lease_survives_its_controller_s_absence(local: Any, monkeypatch: pytest.MonkeyPatch):
    """A process continues to renew its lease, however renewals fail."""
    monkeypatch.setattr(_controller_connection, "_LEASE_INTERVAL_S", 0.01)
    local.start(detached=False)
    session = _current.current()
    assert session is not None
    send, tries = controller_client.send, []

    async def failing(controller: Actor, call: RemoteCall) -> Any:
        if call.method != "renew_lease":
            return await send(controller, call)
        tries.append(call)
        raise ServeError("away")

    monkeypatch.setattr(controller_client, "send", failing)
    wait_until(lambda: len(tries) > 5, WAIT_S)


def test_the_end_of_a_process_is_not_another_instance_s(local: Any):
    """At exit, a process does not end the instance that it has joined later."""
    local.start(detached=False)
    first = _current.current()
    assert first is not None
    local.shutdown()
    local.start()
    _current.CURRENT.end_if_current(weakref.ref(first))
    assert _current.current() is not None
    second = _current.current()
    assert second is not None
    _current.CURRENT.end_if_current(weakref.ref(second))
    assert _current.current() is None


def test_a_session_that_has_ended_is_not_kept(local):
    """A process that has ended an instance keeps no reference to it."""
    serve.start()
    session = weakref.ref(_current.CURRENT.session)
    assert session() is not None
    serve.shutdown()

    def gone() -> bool:
        gc.collect()
        return session() is None

    wait_until(gone)
