"""Routers with real replicas: blocked replicas, and instances that have ended."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from dataclasses import replace
from typing import Any

import pytest

from alacarte import serve
from alacarte._process.process_runtime import ProcessRuntime
from alacarte._wire.error_codec import rebuild_error
from alacarte.actors import DeploymentSnapshot
from alacarte.calls import python_call
from alacarte.errors import DeadlineExceededError, DeploymentUnavailableError, PluginError
from alacarte.hookspecs import hookimpl
from alacarte.testing import wait_until
from alacarte.types import (
    ApplicationTable,
    CallerLoad,
    DeploymentId,
    DeploymentInfo,
    LoadWatch,
    PolicyContext,
    PolicyFactory,
    ProcessInfo,
    Route,
    Runtime,
)

WAIT_S = 20.0


class Gate:
    """Events shared by tests and replicas, which are threads of one process here."""

    def __init__(self) -> None:
        self.blocked = threading.Event()
        self.open = threading.Event()


GATE = Gate()


@pytest.fixture(autouse=True)
def gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "GATE", Gate())


@serve.deployment(num_replicas=2, max_ongoing_requests=10)
class Model:
    """A deployment that returns its replica's id, and can block its event loop."""

    async def __call__(self) -> str:
        return serve.get_replica_context().replica_id

    async def hang(self) -> None:
        await asyncio.Event().wait()

    async def block(self) -> str:
        GATE.blocked.set()
        assert GATE.open.wait(WAIT_S)
        return serve.get_replica_context().replica_id


def ready(handle: Any) -> set[str]:
    router = handle.runtime.routers[handle.deployment]
    return {load.replica_id for load in router.replicas}


def test_a_replica_whose_loop_is_blocked_is_left_out_until_it_turns_again(local):
    """The other replica answers all calls meanwhile; calls of the blocked one end later."""
    handle = local.run(Model.bind())
    handle.call()
    wait_until(lambda: len(ready(handle)) == 2, timeout_s=WAIT_S)
    both = ready(handle)
    blocked = handle.submit(method="block")
    assert GATE.blocked.wait(WAIT_S)
    wait_until(lambda: len(ready(handle)) == 1, timeout_s=WAIT_S)
    [other] = ready(handle)
    assert {handle.call() for _ in range(20)} == {other}
    GATE.open.set()
    assert {blocked.result(WAIT_S), other} == both
    wait_until(lambda: ready(handle) == both, timeout_s=WAIT_S)


def test_the_controller_is_told_of_a_replica_that_is_silent(local, monkeypatch):
    """The report names the process, the replica and the reason."""
    handle = local.run(Model.bind())
    handle.call()
    told: list[tuple[Any, ...]] = []
    runtime = handle.runtime
    controller = runtime._controller

    class Listening:
        async def suspect(self, *args: Any) -> None:
            told.append(args)

        def __getattr__(self, method: str) -> Any:
            return getattr(controller, method)

    monkeypatch.setattr(runtime, "_controller", Listening())
    blocked = handle.submit(method="block")
    wait_until(lambda: bool(told), timeout_s=WAIT_S)
    GATE.open.set()
    process, deployment, replica_id, reason = told[0]
    assert (process, deployment) == (runtime._name, handle.deployment)
    assert replica_id == blocked.result(WAIT_S)
    assert "has not answered" in reason


def test_a_process_of_an_instance_that_is_gone_says_so_once(local, plugins, caplog):
    """The process stops polling the next instance's controller, and does not connect to it."""
    handle = local.run(Model.bind())
    here = handle.runtime

    async def lose_the_controller() -> ProcessRuntime:
        access = replace(here._access, instance="before", secret=b"of an instance before")
        orphan = ProcessRuntime(
            access,
            plugins,
            here.config,
            process=ProcessInfo("driver", "orphan", "local"),
            decode_error=rebuild_error,
        )
        orphan.service(handle.deployment)
        orphan.watch_routes(lambda table: None)
        return orphan

    orphan = here.submit(lose_the_controller()).result(WAIT_S)
    wait_until(lambda: not orphan._subscription.is_open, timeout_s=WAIT_S)
    call = orphan.service(handle.deployment)(python_call("__call__", (), {}))
    with pytest.raises(DeploymentUnavailableError, match="was shut down, and another one runs"):
        here.submit(call).result(WAIT_S)
    found = [each.getMessage() for each in caplog.records if "all calls of" in each.getMessage()]
    assert len(found) == 1
    assert "process orphan" in found[0]
    here.submit(orphan.close()).result(WAIT_S)
    assert handle.call()


def test_a_plugin_that_fails_around_a_route_fails_its_calls_alone(local, monkeypatch):
    """Each call says which plugin; the deployment itself can be called."""
    handle = local.run(Model.bind())
    runtime = handle.runtime

    def fail(route: Route, runtime: Any) -> list[Any]:
        return [PluginError("plugin mad failed")]

    monkeypatch.setattr(runtime._plugins, "wrap_route", fail)
    for version in ("1", "2"):
        versions = {handle.deployment: version}
        route = Route("/r", "r", {handle.deployment: 1.0}, name="r", versions=versions)

        async def ask(route: Route = route) -> Any:
            return await runtime.route_service(route)(python_call("__call__", (), {}))

        with pytest.raises(PluginError, match="plugin mad failed"):
            runtime.submit(ask()).result(WAIT_S)
    assert handle.call()


def test_a_policy_that_would_end_the_process_fails_its_calls_alone(local):
    """A policy whose `create` raises SystemExit fails its deployment's calls only."""
    handle = local.run(Model.bind())
    runtime = handle.runtime

    def create(place: PolicyContext) -> Any:
        raise SystemExit(3)

    runtime._plugins.routing_policies["exits"] = PolicyFactory("exits", create)
    snapshot = DeploymentSnapshot(handle.deployment, 1, "up", policy="exits")
    chooser = runtime._policy(snapshot)
    with pytest.raises(BaseException) as caught:
        chooser.choose(python_call("__call__", (), {}), ())
    assert "could not be created: SystemExit: 3" in str(chooser.choose_error(caught.value))


def test_a_deadline_ends_a_call_where_no_plugin_wraps_calls(local):
    """Core's deadline layer exists without any plugin's layer."""
    handle = local.run(Model.bind())
    with pytest.raises(DeadlineExceededError, match=r"no reply within 0.2 s"):
        handle.submit(method="hang", timeout_s=0.2).result(WAIT_S)


def test_applications_are_watched_by_name(local):
    """Applications without a route are known when `serve.run` returns, until their deletion."""
    runtime = local.run(Model.bind(), name="shop").runtime
    seen: list[ApplicationTable] = []
    runtime.loop.call_soon_threadsafe(runtime.watch_applications, seen.append)
    wait_until(lambda: bool(seen), timeout_s=WAIT_S)
    assert list(seen[0].applications) == ["shop"]
    assert seen[0].applications["shop"].ingress.id == DeploymentId("shop", "Model")
    local.run(Model.bind(), name="other")
    wait_until(lambda: sorted(seen[-1].applications) == ["other", "shop"], timeout_s=WAIT_S)
    serve.delete("shop")
    wait_until(lambda: list(seen[-1].applications) == ["other"], timeout_s=WAIT_S)


def test_plugins_watch_the_load_of_a_deployment_that_scales(local, observer):
    """`watch_load` gets the deployment's info; a fixed `num_replicas` closes the watch."""
    asked: list[Any] = []

    class Watch:
        def __init__(self, load: CallerLoad) -> None:
            self.load = load
            self.seen: list[tuple[int, int]] = []
            self.closed = False

        def changed(self) -> None:
            self.seen.append((self.load.queued, self.load.in_flight))

        def close(self) -> None:
            self.closed = True

    @hookimpl
    def watch_load(deployment: DeploymentInfo, load: CallerLoad, runtime: Runtime) -> LoadWatch:
        watch = Watch(load)
        asked.append((deployment, runtime, watch))
        return watch

    handle = local.run(Model.bind())
    handle.call()
    runtime = handle.runtime
    router = runtime.routers[handle.deployment]
    plugin = types.ModuleType("alacarte_watcher_of_tests")
    plugin.watch_load = watch_load  # type: ignore[attr-defined]
    runtime._plugins._manager.register(plugin, name="watcher")
    snapshot = DeploymentSnapshot(handle.deployment, 0, "up", follow_load=True, code_version="7")

    async def follow(snapshot: DeploymentSnapshot | None) -> None:
        router._follow_load(snapshot)

    runtime.submit(follow(snapshot)).result(WAIT_S)
    [(deployment, given, watch)] = asked
    assert (deployment.id, deployment.version, given) == (handle.deployment, "7", runtime)
    handle.call()
    wait_until(lambda: watch.seen[-1:] == [(0, 0)], timeout_s=WAIT_S)
    assert (0, 1) in watch.seen
    runtime.submit(follow(None)).result(WAIT_S)
    assert watch.closed


def test_only_calls_to_a_route_by_name_need_a_task(local):
    """They may have to wait for the route, with a timeout that belongs to the task."""
    runtime = local.run(Model.bind()).runtime
    assert runtime.is_task_free(DeploymentId("default", "Model"))
    assert not runtime.is_task_free(DeploymentId("", "route"))
