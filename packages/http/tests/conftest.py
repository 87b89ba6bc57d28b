"""A local cluster for each test, with the plugins of core and http and one of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from alacarte import _plugins, instance, serve
from alacarte import plugins as process_plugins
from alacarte.serve import _api_names, _current

from . import gates, plugin
from .wire import Wire


@pytest.fixture(scope="session")
def plugins() -> Any:
    """The plugins of core, http and the tests, without other installed plugins."""
    return _loaded()


@pytest.fixture(scope="session")
def plugins_with_endpoints() -> Any:
    """These plugins and alacarte-endpoints, which counts and shadows calls of routes."""
    pytest.importorskip("alacarte_endpoints", reason="`nox -s tests` installs it")
    return _loaded("endpoints")


def _loaded(*more: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALACARTE_PLUGINS", plugin.__name__)
        wanted = ("core", "http", plugin.__name__, *more)
        ours = [record for record in _plugins.discover() if record.name in wanted]
    return _plugins.load(ours, strict=True)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[gates.Gate]:
    """A fresh gate for this test's handlers; opened at the end of the test."""
    fresh = gates.Gate()
    monkeypatch.setattr(gates, "GATE", fresh)
    yield fresh
    fresh.open.set()


@pytest.fixture
def local(gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, plugins: Any) -> Iterator[Any]:
    """`serve` on a local cluster of this test."""
    for module in (process_plugins, _current, _api_names, instance):
        monkeypatch.setattr(module, "load_plugins", lambda: plugins)
    monkeypatch.setenv("ALACARTE_CLUSTER", "local")
    yield serve
    gate.open.set()
    serve.shutdown()


class Site:
    """A running instance with its proxy on a free port."""

    def __init__(self, **options: Any) -> None:
        serve.start(http_options={"port": 0, **options})
        [proxy] = serve.status().proxies.values()
        self.url = proxy.url
        self.port = httpx.URL(proxy.url).port
        self.http = httpx.Client(base_url=proxy.url, timeout=gates.WAIT_S, trust_env=False)

    def run(self, app: Any, prefix: str | None = "/", name: str = "default") -> None:
        serve.run(app, name=name, route_prefix=prefix)

    def wire(self, **options: Any) -> Wire:
        assert self.port is not None
        return Wire(self.port, **options)


@pytest.fixture
def start(local: Any) -> Iterator[Any]:
    """A function that starts an instance with HTTP options and returns its `Site`."""
    sites = []

    def start(**options: Any) -> Site:
        sites.append(Site(**options))
        return sites[-1]

    yield start
    for site in sites:
        site.http.close()


@pytest.fixture
def site(start: Any) -> Site:
    """An instance with default options."""
    found: Site = start()
    return found
