"""The rebuild of layers that failed, with exponential backoff."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alacarte_http._proxy.layer_rebuild import LayerRebuild


class Loop:
    """An event loop that records scheduled calls with their delays."""

    def __init__(self) -> None:
        self.planned: list[tuple[float, Any]] = []

    def call_later(self, delay_s: float, callback: Any) -> Loop:
        self.planned.append((delay_s, callback))
        return self

    def cancel(self) -> None:
        self.planned.pop()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


def test_pauses_double_and_are_bounded(loop):
    """One attempt is scheduled at a time, and a success ends the attempts."""
    attempts = []
    rebuild = LayerRebuild(lambda: attempts.append(1))
    pauses = []
    for _ in range(7):
        rebuild.schedule(failed=True)
        [(pause_s, again)] = loop.planned
        pauses.append(pause_s)
        again()
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert len(attempts) == 7
    rebuild.schedule(failed=False)
    assert loop.planned == []
    rebuild.schedule(failed=True)
    assert loop.planned[0][0] == 1
    rebuild.close()
    assert loop.planned == []
