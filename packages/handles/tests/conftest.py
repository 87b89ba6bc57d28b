"""A local cluster for each test, with the plugins of core and handles alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from alacarte import _plugins, serve
from alacarte.serve import _current

from . import gates


@pytest.fixture(scope="session")
def plugins() -> Any:
    """The plugins of core and of this package, whatever else is installed."""
    ours = [record for record in _plugins.discover() if record.name in ("core", "handles")]
    return _plugins.load(ours, strict=True)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[gates.Gate]:
    """The gate of the test's handlers; waiting handlers go on when the test ends."""
    fresh = gates.Gate()
    monkeypatch.setattr(gates, "GATE", fresh)
    yield fresh
    fresh.open.set()


@pytest.fixture
def local(gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, plugins: Any) -> Iterator[Any]:
    """`serve` on a local cluster of its own."""
    monkeypatch.setattr(_current, "load_plugins", lambda: plugins)
    monkeypatch.setenv("ALACARTE_CLUSTER", "local")
    yield serve
    gate.open.set()
    serve.shutdown()
