"""Fixtures: the plugins of core and this package, and virtual time."""

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
    """Run a coroutine function in virtual time; fail if a task is pending at the end."""
    return lambda main: FakeClock().run(main())


@pytest.fixture(scope="session")
def plugins() -> Any:
    ours = [record for record in _plugins.discover() if record.name in ("core", "autoscaling")]
    return _plugins.load(ours, strict=True)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, plugins: Any) -> None:
    """Load only these plugins into the test's instances."""
    monkeypatch.setattr(_current, "load_plugins", lambda: plugins)
