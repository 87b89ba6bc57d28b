"""Where the handlers of a test module wait until a test lets them go on.

Code goes to the replicas of the local cluster by reference to the module, and they live in this
process; so a handler and its test meet at the module's `GATE`, which is a fresh one in every test.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

__all__ = ["Gate", "fresh_gate"]


class Gate:
    """A gate for any thread. Modules add what their handlers note, or are told."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.open = threading.Event()


def fresh_gate(module: str, kind: Callable[[], Gate] = Gate) -> Any:
    """Return a fixture that gives each test of a module a gate, and opens it at the test's end."""

    @pytest.fixture(autouse=True)
    def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
        fresh = kind()
        monkeypatch.setattr(sys.modules[module], "GATE", fresh)
        yield fresh
        fresh.open.set()

    return gate
