"""A method that blocks its replica's event loop is named in the log."""

from __future__ import annotations

import logging

import pytest

from alacarte import serve
from alacarte.testing import wait_until

from . import gates
from .gates import WAIT_S


@serve.deployment(max_ongoing_requests=4)
class Blocker:
    async def block(self) -> str:
        gates.GATE.pass_sync()
        return "at last"

    def in_a_thread(self) -> str:
        gates.GATE.pass_sync()
        return "at last"


@pytest.fixture
def blocker(local, caplog):
    caplog.set_level(logging.WARNING, "alacarte.replica")
    local.start(cluster="local", cluster_options={"blocked_loop_warning_s": 0.1})
    return local.run(Blocker.bind())


def test_an_async_method_that_waits(blocker, gate, caplog):
    """The warning names the deployment and the user's line."""
    response = blocker.block.remote()
    gate.entered()
    wait_until(lambda: "has been blocked" in caplog.text)
    assert "default#Blocker" in caplog.messages[0]
    assert "Blocker.block() (" in caplog.messages[0]
    assert "in block" in caplog.messages[0]
    gate.open.set()
    assert response.result(timeout_s=WAIT_S) == "at last"
    wait_until(lambda: "is free again" in caplog.text)


def test_a_sync_method_that_waits(blocker, gate, caplog):
    """A sync handler may block, since the event loop is free meanwhile."""
    response = blocker.in_a_thread.remote()
    gate.entered()
    assert blocker.in_a_thread.options(timeout_s=60).remote() is not None
    gate.entered()
    gate.open.set()
    assert response.result(timeout_s=WAIT_S) == "at last"
    assert "has been blocked" not in caplog.text
