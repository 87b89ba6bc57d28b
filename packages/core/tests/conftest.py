"""What core's tests share: virtual time, and a local cluster with core's plugin and one more."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from alacarte import _plugins, serve
from alacarte import plugins as process_plugins
from alacarte._plugins import PluginRecord, Plugins
from alacarte.calls import python_call, python_result, python_value
from alacarte.hookspecs import hookimpl
from alacarte.runtime import get_runtime
from alacarte.serve import _current
from alacarte.testing import FakeClock
from alacarte.types import DeploymentId, Runtime

Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture
def run() -> Callable[[Main], None]:
    """Run a coroutine function in virtual time; afterwards, no task may be left."""
    return lambda main: FakeClock().run(main())


class Handle:
    """The least that a handle must be: core has none of its own."""

    def __init__(self, deployment: DeploymentId, runtime: Runtime | None) -> None:
        self.deployment = deployment
        self.runtime = runtime or get_runtime()

    async def ask(self, *args: Any, method: str = "__call__", **options: Any) -> Any:
        """Call from the runtime's own loop."""
        call = python_call(method, args, {}, **options)
        reply = await self.runtime.service(self.deployment)(call)
        if reply.rest is None:
            return python_result(reply)
        return [python_value(message[0]) async for message in reply.rest]

    def call(self, *args: Any, **options: Any) -> Any:
        """Call from any other thread, and wait."""
        return self.submit(*args, **options).result(30)

    def submit(self, *args: Any, **options: Any) -> Any:
        return self.runtime.submit(self.ask(*args, **options))


class Observer(types.ModuleType):
    """A plugin that gives handles, and keeps the events it is told of."""

    def __init__(self) -> None:
        super().__init__("alacarte_observer_of_tests")
        self.events: list[Any] = []

        @hookimpl
        def make_handle(deployment: DeploymentId, runtime: Runtime | None) -> Handle:
            return Handle(deployment, runtime)

        @hookimpl
        def on_event(event: Any) -> None:
            self.events.append(event)

        # On the module itself: `dir` of a module does not show its class.
        self.make_handle, self.on_event = make_handle, on_event


@pytest.fixture
def observer(monkeypatch: pytest.MonkeyPatch) -> Observer:
    """The plugin that every process of the test's instance loads besides core's."""
    module = Observer()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def _load(observer: Observer) -> Plugins:
    core = [record for record in _plugins.discover() if record.name == "core"]
    return _plugins.load([*core, PluginRecord("observer", observer.__name__)], strict=True)


@pytest.fixture
def plugins(observer: Observer) -> Plugins:
    """Core's plugin and the observer, whatever else is installed."""
    return _load(observer)


def _use(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_current, "load_plugins", lambda: plugins)
    monkeypatch.setattr(process_plugins, "load_plugins", lambda: plugins)
    monkeypatch.setenv("ALACARTE_CLUSTER", "local")


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> Iterator[Any]:
    """`serve` on a local cluster of its own."""
    _use(plugins, monkeypatch)
    yield serve
    serve.shutdown()


@pytest.fixture
def local_with(monkeypatch: pytest.MonkeyPatch, observer: Observer) -> Iterator[Callable[..., Any]]:
    """Return `serve` on a local cluster whose observer implements these hooks as well."""

    def start(**hooks: Callable[..., Any]) -> Any:
        for name, function in hooks.items():
            setattr(observer, name, hookimpl(function))
        _use(_load(observer), monkeypatch)
        return serve

    yield start
    serve.shutdown()
