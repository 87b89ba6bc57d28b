"""Core's plugin and ours, whatever else is installed; and virtual time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from alacarte import _plugins
from alacarte.serve import _current
from alacarte.testing import FakeClock

Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture
def run() -> Callable[[Main], None]:
    """Run a coroutine function in virtual time; afterwards, no task may be left."""
    return lambda main: FakeClock().run(main())


@pytest.fixture(scope="session")
def plugins() -> Any:
    ours = [record for record in _plugins.discover() if record.name in ("core", "autoscaling")]
    return _plugins.load(ours, strict=True)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, plugins: Any) -> None:
    """Instances of this test have these plugins only."""
    monkeypatch.setattr(_current, "load_plugins", lambda: plugins)
