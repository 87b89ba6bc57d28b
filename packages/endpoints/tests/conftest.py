"""Fixtures: the plugins of core and this package, and a stand-in for HTTP."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from types import ModuleType
from typing import Any

import pytest

from alacarte import _plugins, serve
from alacarte._plugins import PluginRecord
from alacarte.calls import python_call, python_result
from alacarte.hookspecs import hookimpl
from alacarte.runtime import get_runtime
from alacarte.serve import _current
from alacarte.testing import FakeClock, local_instance
from alacarte.types import DeploymentId, NodeServiceSpec, Runtime
from alacarte_endpoints import Arguments, ServeRequest

Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture
def run() -> Callable[[Main], None]:
    """Run a coroutine function in virtual time; fail if a task is pending at the end."""
    return lambda main: FakeClock().run(main())


class Routes(ModuleType):
    """A plugin that allows paths of resources, and makes handles."""

    def __init__(self) -> None:
        super().__init__("routes_of_tests")

        @hookimpl
        def register_node_services() -> list[NodeServiceSpec]:
            return [
                NodeServiceSpec(
                    "routes", "nowhere:nothing", serves_routes=True, enabled=lambda config: False
                )
            ]

        @hookimpl
        def make_handle(deployment: DeploymentId, runtime: Runtime | None) -> Any:
            return deployment

        self.register_node_services, self.make_handle = register_node_services, make_handle


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Any:
    routes = Routes()
    monkeypatch.setitem(sys.modules, routes.__name__, routes)
    ours = [record for record in _plugins.discover() if record.name in ("core", "endpoints")]
    return _plugins.load([*ours, PluginRecord("routes", routes.__name__)], strict=True)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, plugins: Any) -> Iterator[Any]:
    """The client of a local cluster, from `serve.start`."""
    monkeypatch.setattr(_current, "load_plugins", lambda: plugins)
    # Also for what a test does after the instance has ended, whatever runs on this machine.
    monkeypatch.setenv("ALACARTE_CLUSTER", "local")
    # Names that plugins give are kept when first used, and these plugins are not all there are.
    monkeypatch.delitem(vars(serve), "batch", raising=False)
    with local_instance(http_options=None):
        yield serve.connect()


class Caller:
    """Calls endpoints through the runtime, with core alone."""

    def begin(
        self, endpoint: str, request: Any = None, *, method: str = "__call__", **args: Any
    ) -> Future[Any]:
        """Call with a `ServeRequest`, or another request."""
        runtime = get_runtime()
        if request is None:
            request = ServeRequest(args=Arguments(args), call_method=method)

        async def call() -> Any:
            service = runtime.service(DeploymentId("", endpoint))
            return python_result(await service(python_call("__call__", (request,), {})))

        return runtime.submit(call())

    def __call__(self, endpoint: str, request: Any = None, **options: Any) -> Any:
        """Call, and wait for the result."""
        return self.begin(endpoint, request, **options).result(30)


@pytest.fixture
def ask(client: Any) -> Caller:
    return Caller()
