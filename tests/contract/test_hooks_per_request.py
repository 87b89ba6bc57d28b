"""Hooks build the pipeline when a process starts. At request time there are none."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from alacarte import _plugins, serve
from alacarte._cluster import actor_host
from alacarte._plugins import Plugins
from alacarte.serve import _current

CALLS = 1000


@pytest.fixture
def hook_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count every call of a hook in every process of the instance, however it is made."""
    calls: Counter[str] = Counter()
    load = _plugins.load

    def counted(*args: Any, **options: Any) -> Plugins:
        plugins = load(*args, **options)
        manager = plugins._manager
        manager.add_hookcall_monitoring(
            lambda name, impls, kwargs: calls.update([f"pluggy: {name}"]),
            lambda outcome, name, impls, kwargs: None,
        )
        for name in plugins.specifications:
            for impl in getattr(manager.hook, name).get_hookimpls():
                impl.function = _counting(impl.function, f"{impl.plugin_name}: {name}", calls)
        return plugins

    driver = counted()
    monkeypatch.setattr(actor_host, "load", counted)
    monkeypatch.setattr(_current, "load_plugins", lambda: driver)
    return calls


def _counting(function: Any, name: str, calls: Counter[str]) -> Any:
    def count(*args: Any, **kwargs: Any) -> Any:
        calls[name] += 1
        return function(*args, **kwargs)

    return count


@serve.deployment
class Inner:
    async def __call__(self, n: int) -> int:
        return n + 1

    def items(self, count: int) -> Any:
        yield from range(count)


@serve.deployment
class Outer:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, n: int) -> int:
        return await self.inner.remote(n)

    async def items(self, count: int) -> Any:
        async for item in self.inner.items.options(stream=True).remote(count):
            yield item


def test_a_request_calls_no_hook(hook_calls: Counter[str]):
    """1,000 calls through two deployments, and a stream: exactly none."""
    serve.start(cluster="local", proxy_location="Disabled")
    try:
        handle = serve.run(Outer.bind(Inner.bind()), route_prefix=None)
        stream = handle.items.options(stream=True)
        assert handle.remote(1).result() == 2
        assert list(stream.remote(3)) == [0, 1, 2]
        assert {"handles: make_handle", "core: register_config"} <= set(hook_calls)
        hook_calls.clear()
        for n in range(CALLS):
            assert handle.remote(n).result() == n + 1
        assert len(list(stream.remote(CALLS))) == CALLS
        assert hook_calls == {}
    finally:
        serve.shutdown()


def test_an_observed_request_calls_no_hook(hook_calls: Counter[str]):
    """A meter is made once for a process, and asked once for each subject: exactly none again."""
    meter = pytest.importorskip(
        "counting_meter", reason="nox -s contract installs tests/foreign_plugin_meter"
    )
    meter.counts.clear()
    serve.start(
        cluster="local", proxy_location="Disabled", counting_meter_options={"enabled": True}
    )
    try:
        handle = serve.run(Outer.bind(Inner.bind()), route_prefix=None)
        assert handle.remote(1).result() == 2
        assert hook_calls["counting-meter: make_meter"] > 0
        hook_calls.clear()
        for n in range(CALLS):
            assert handle.remote(n).result() == n + 1
        assert hook_calls == {}
        for deployment in ("Outer", "Inner"):
            key = ("router", f"default#{deployment}", "ended success")
            assert meter.counts[key] == CALLS + 1
    finally:
        serve.shutdown()
