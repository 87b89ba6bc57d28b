"""Fixtures with the plugins of core and of this package only."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte import _plugins
from alacarte.serve import _current


@pytest.fixture(scope="session")
def plugins() -> Any:
    ours = [record for record in _plugins.discover() if record.name in ("core", "multiplexing")]
    return _plugins.load(ours, strict=True)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, plugins: Any) -> None:
    """Instances of this test have these plugins only."""
    monkeypatch.setattr(_current, "load_plugins", lambda: plugins)
