"""A plugin that fails while an instance runs harms nobody else, and is named.

Each was a bug that a stranger met: one application's layer stopped a proxy for ever, and what
plugins returned failed in every call, without a name.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Literal

import pytest

from alacarte import serve
from alacarte.errors import DeploymentUnavailableError, PluginError
from alacarte.hookspecs import hookimpl
from alacarte.testing import local_instance, wait_until
from alacarte.types import Meter, NodeServiceSpec, ProcessId, ReportTopic, WireObserver

pytest.importorskip("alacarte_http", reason="of all packages together")
pytest.importorskip("alacarte_handles", reason="of all packages together")
NAME = "odd_plugin_of_tests"


@serve.deployment
class Model:
    async def __call__(self, request: Any) -> str:
        return "answer"


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Run an instance with a plugin that implements these hooks; yield its URL."""

    def instance(http_options: Any = None, **hooks: Callable[..., Any]) -> Any:
        module = ModuleType(NAME)
        for name, function in hooks.items():
            setattr(module, name, hookimpl(function))
        monkeypatch.setitem(sys.modules, NAME, module)
        options = {} if http_options is None else {"http_options": http_options}
        return local_instance(plugins=[NAME], **options)

    # Ray clusters of others on this machine are none of its business.
    monkeypatch.setenv("ALACARTE_CLUSTER", "local")
    yield instance
    assert not serve.status().applications


def get(url: str) -> tuple[int, str]:
    """Return the status and the body of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def failures() -> set[tuple[str, str, str]]:
    return {(each.plugin, each.hook, each.subject) for each in serve.status().plugin_failures}


def processes_of(hook: str) -> set[str]:
    return {each.process for each in serve.status().plugin_failures if each.hook == hook}


def refuse_one(deployment: Any) -> None:
    if deployment.id.app == "bad":
        raise KeyError("auth config missing")


def test_a_layer_that_cannot_be_made_for_one_application(odd):
    """Its calls fail, over HTTP and by handle; the proxy goes on taking routes of all others."""
    with odd(wrap_caller=refuse_one) as url:
        serve.run(Model.bind(), name="good", route_prefix="/good")
        bad = serve.run(Model.bind(), name="bad", route_prefix="/bad")
        serve.run(Model.bind(), name="later", route_prefix="/later")
        assert get(f"{url}/good") == get(f"{url}/later") == (200, "answer")
        status, text = get(f"{url}/bad")
        assert (status, "a plugin around it failed" in text) == (503, True)
        with pytest.raises(
            DeploymentUnavailableError, match=f"{NAME} failed in wrap_caller: KeyErr"
        ):
            bad.remote(None).result()
        expected = (NAME, "wrap_caller", "deployment bad#Model")
        wait_until(lambda: failures() == {expected}, 10, "the failure in the status")
        assert {each.count for each in serve.status().plugin_failures} == {1}
        shown = {app: each.message for app, each in serve.status().applications.items()}
        assert shown["good"] == shown["later"] == ""
        assert f"plugin {NAME} could not build its layer (wrap_caller)" in shown["bad"]


@pytest.mark.parametrize("layer", [17, lambda service: None])
def test_a_layer_that_is_none(odd, layer: Any):
    """It fails where it is made, by the plugin's name, and not in each call as a TypeError."""
    with odd(wrap_caller=lambda: layer) as url:
        handle = serve.run(Model.bind(), route_prefix="/")
        with pytest.raises(
            DeploymentUnavailableError, match=f"plugin {NAME}: .*(cannot be|instead of) call"
        ):
            handle.remote(None).result()
        assert get(url)[0] == 503


@pytest.mark.parametrize("hook", ["wrap_caller", "wrap_replica"])
def test_a_layer_that_answers_a_call_with_anything(odd, hook: str, caplog):
    """Calls of that application fail by the plugin's name, logged once; others go on for ever."""

    def give(deployment: Any) -> Any:
        return answers if deployment.id.app == "bad" else None

    def answers(service: Any) -> Any:
        async def call(request: Any) -> int:
            return 17

        return call

    with odd(**{hook: give}, http_options={"max_concurrent_requests": 2}) as url:
        serve.run(Model.bind(), name="good", route_prefix="/good")
        bad = serve.run(Model.bind(), name="bad", route_prefix="/bad")
        assert [get(f"{url}/bad")[0] for _ in range(3)] == [500] * 3
        assert get(f"{url}/good") == (200, "answer")
        with pytest.raises(PluginError, match=f"plugin {NAME}: {hook}: .* 17 instead of a Reply"):
            bad.remote(None).result()
        wait_until(
            lambda: failures() == {(NAME, hook, "calls to deployment bad#Model")},
            10,
            "the failure in the status",
        )
        logged = [each for each in caplog.records if each.name == "alacarte.plugins"]
        # One line in each process that has met it, though here their logs are one.
        assert len(logged) == len(processes_of(hook)) <= 2


def test_an_error_of_the_user_passes_the_layers(odd):
    """As its own type, and no plugin is blamed."""

    @serve.deployment
    def fails(request: Any) -> None:
        raise LookupError("of the user")

    def layer(service: Any) -> Any:
        async def call(request: Any) -> Any:
            return await service(request)

        return call

    with odd(wrap_caller=lambda: layer, wrap_replica=lambda: layer):
        handle = serve.run(fails.bind(), route_prefix="/")
        with pytest.raises(LookupError, match="of the user"):
            handle.remote(None).result()
        assert failures() == set()


def test_an_observer_that_fails(odd):
    """Nothing else notices, and the status names it."""

    def on_event(event: Any) -> None:
        raise RuntimeError("no disk")

    with odd(on_event=on_event) as url:
        serve.run(Model.bind(), route_prefix="/")
        assert get(url) == (200, "answer")
        assert {plugin for plugin, hook, _ in failures() if hook == "on_event"} == {NAME}


def test_a_meter_that_cannot_be_made(odd):
    """Requests go on without it, and the status names it for each process."""

    def make_meter(process: Any) -> None:
        raise RuntimeError("no disk")

    with odd(make_meter=make_meter) as url:
        serve.run(Model.bind(), route_prefix="/")
        assert get(url) == (200, "answer")
        wait_until(lambda: len(processes_of("make_meter")) >= 3, 10, "the failures in the status")
        assert failures() == {(NAME, "make_meter", "")}


class BadWire(Meter):
    def wire(self, end: Literal["caller", "replica"]) -> WireObserver | None:
        raise RuntimeError("no disk")


def test_a_meter_that_cannot_observe_connections(odd):
    """As it is asked for them while a process starts."""
    with odd(make_meter=lambda process: BadWire()) as url:
        serve.run(Model.bind(), route_prefix="/")
        assert get(url) == (200, "answer")
        wait_until(lambda: len(processes_of("meter: wire")) >= 3, 10, "the failures in the status")
        assert failures() == {(NAME, "meter: wire", "")}


class BadReceiver:
    def report(self, process: ProcessId, value: Any) -> None:
        raise RuntimeError("no disk")

    def forget(self, process: ProcessId) -> None: ...


def test_a_receiver_that_fails(odd):
    """What is reported to it is lost, and the status names its plugin."""

    def on_process(process: Any, runtime: Any) -> None:
        if runtime is not None:
            runtime.report("sizes", 1)

    topic = ReportTopic("sizes", BadReceiver)
    with odd(register_report_topics=lambda: [topic], on_process=on_process) as url:
        serve.run(Model.bind(), route_prefix="/")
        assert get(url) == (200, "answer")
        expected = (NAME, "topic sizes: report", "")
        wait_until(lambda: failures() == {expected}, 10, "the failure in the status")
        assert processes_of("topic sizes: report") == {"controller"}


class BadService:
    async def start(self, runtime: Any) -> dict[str, str]:
        raise RuntimeError("no disk")

    async def drain(self, limit_s: float, *, replaced: bool) -> None: ...

    async def stop(self) -> None: ...


def test_a_node_service_that_does_not_start(odd):
    """Everything else does, and the status names its plugin."""
    spec = NodeServiceSpec("disks", f"{__name__}:BadService")
    with odd(register_node_services=lambda: [spec]) as url:
        serve.run(Model.bind(), route_prefix="/")
        assert get(url) == (200, "answer")
        expected = (NAME, "node service disks: start", "node local")
        wait_until(lambda: expected in failures(), 10, "the failure in the status")
        [service] = [each for each in serve.status().services.values() if each.service == "disks"]
        assert f"plugin {NAME} failed: RuntimeError: no disk" in service.message


@pytest.mark.parametrize("given", [None, 17, [("cached", "x:y")]])
def test_a_registry_that_returns_something_else(odd, given: Any):
    """The plugin that a program asks for is refused by name; nobody else's names are broken."""
    with pytest.raises(PluginError, match=rf"'{NAME}' is required but failed: register_api"):
        odd(register_api=lambda: given).__enter__()
    with local_instance():
        assert callable(serve.batch)
