from __future__ import annotations

from typing import Any

import pytest

import alacarte_endpoints
from alacarte import serve
from alacarte.serve import _current
from alacarte.testing import check_plugin
from alacarte_endpoints import hooks


def test_the_plugin_is_sound() -> None:
    """The plugin passes `check_plugin`."""
    check_plugin("endpoints")


def test_names_are_registered() -> None:
    """Each registered name is an export of this package."""
    for name in hooks.register_api():
        assert name.target == f"alacarte_endpoints:{name.name}"
        assert name.name in alacarte_endpoints.__all__


def test_exported_names_are_there() -> None:
    """Each exported name can be imported lazily."""
    for name in alacarte_endpoints.__all__:
        assert getattr(alacarte_endpoints, name).__name__ == name


def test_kinds_are_registered() -> None:
    """The kinds are backends, endpoints and splits."""
    assert [kind.name for kind in hooks.register_resources()] == ["backend", "endpoint", "traffic"]


def test_start_gives_the_client(monkeypatch: pytest.MonkeyPatch, plugins: Any) -> None:
    """`serve.start` returns the client of `make_client`, on each call."""
    monkeypatch.setattr(_current, "load_plugins", lambda: plugins)
    try:
        for _ in range(2):
            assert isinstance(serve.start(cluster="local"), alacarte_endpoints.Client)
        client = plugins.make_client(_current.current())
        assert isinstance(client, alacarte_endpoints.Client)
    finally:
        serve.shutdown()
