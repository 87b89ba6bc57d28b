from __future__ import annotations

from typing import Any

import pytest

import alacarte_endpoints
from alacarte import serve
from alacarte.serve import _current
from alacarte.testing import check_plugin
from alacarte_endpoints import hooks


def test_the_plugin_is_sound() -> None:
    """It loads by its entry point, and every hook it implements exists."""
    check_plugin("endpoints")


def test_names_are_registered() -> None:
    """Each name the plugin gives to `serve` leads to what this package exports."""
    for name in hooks.register_api():
        assert name.target == f"alacarte_endpoints:{name.name}"
        assert name.name in alacarte_endpoints.__all__


def test_exported_names_are_there() -> None:
    """Each name that this package exports can be imported, though none is before it is used."""
    for name in alacarte_endpoints.__all__:
        assert getattr(alacarte_endpoints, name).__name__ == name


def test_kinds_are_registered() -> None:
    """Backends, endpoints and splits are resources, and nothing else is."""
    assert [kind.name for kind in hooks.register_resources()] == ["backend", "endpoint", "traffic"]


def test_start_gives_the_client(monkeypatch: pytest.MonkeyPatch, plugins: Any) -> None:
    """`make_client` is what `serve.start` returns, each time it is called."""
    monkeypatch.setattr(_current, "load_plugins", lambda: plugins)
    try:
        for _ in range(2):
            assert isinstance(serve.start(cluster="local"), alacarte_endpoints.Client)
        client = plugins.make_client(_current.current())
        assert isinstance(client, alacarte_endpoints.Client)
    finally:
        serve.shutdown()
