"""The lifecycle of replicas on the local cluster, with real user code."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import DeployError
from alacarte.status import DeploymentStatusOverview
from alacarte.testing import wait_until

from . import gates
from .gates import fresh_gate

WAIT_S = 20


class Gate(gates.Gate):
    """A gate for handlers, and the health of replicas."""

    def __init__(self) -> None:
        super().__init__()
        self.ill: set[str] = set()


GATE = Gate()


gate = fresh_gate(__name__, Gate)


def deployment(name: str, app: str = "default") -> DeploymentStatusOverview:
    return serve.status().applications[app].deployments[name]


@serve.deployment(num_replicas=2, health_check_period_s=0.05)
class Checked:
    """Reports the health that the test sets."""

    def __init__(self) -> None:
        self.name = serve.get_replica_context().replica_id

    async def check_health(self) -> None:
        if self.name in GATE.ill:
            raise RuntimeError("the model is broken")

    def __call__(self) -> str:
        return self.name


def test_a_replica_that_says_it_is_ill_is_replaced(local):
    """A failed check is repeated, and its traceback is kept in the status."""
    handle = local.run(Checked.bind())
    ill = handle.call()
    GATE.ill.add(ill)

    def replaced() -> bool:
        names = {replica.replica_id for replica in deployment("Checked").replicas}
        return ill not in names and len(names) == 2

    wait_until(replaced, WAIT_S)
    [failure] = deployment("Checked").recent_failures
    assert (failure.kind, failure.replica_id) == ("health", ill)
    assert failure.message == "RuntimeError: the model is broken"
    assert "check_health" in failure.traceback
    wait_until(lambda: deployment("Checked").status == "HEALTHY", WAIT_S)


@serve.deployment
def callee() -> str:
    return "answered"


@serve.deployment
class Caller:
    """Calls another deployment after a long time."""

    def __init__(self, callee: Any) -> None:
        self.callee = callee

    def __call__(self) -> str:
        GATE.inside.release()
        assert GATE.open.wait(WAIT_S)
        return self.callee.call()


def test_a_callee_goes_after_its_callers(local):
    """A request in flight while its application is deleted can still call other deployments."""
    handle = local.run(Caller.bind(callee.bind()))
    answer = handle.submit()
    assert GATE.inside.acquire(timeout=WAIT_S)
    serve.delete("default", _blocking=False)
    leaving = serve.status().applications["default"]
    assert leaving.status == "DELETING"
    waits = "the end of the deployments that call this one"
    assert leaving.deployments["callee"].waiting_for == waits
    assert leaving.deployments["callee"].replica_states == {"RUNNING": 1}
    assert leaving.deployments["Caller"].replica_states == {"STOPPING": 1}
    GATE.open.set()
    assert answer.result(WAIT_S) == "answered"
    wait_until(lambda: not serve.status().applications, WAIT_S)


def test_a_callee_that_the_new_version_lacks_stays_for_the_old_one(local):
    """A removed deployment stops after the last replica of the old version."""
    handle = local.run(Caller.bind(callee.bind()))
    answer = handle.submit()
    assert GATE.inside.acquire(timeout=WAIT_S)
    update = Checked.options(name="Caller", num_replicas=1).bind()
    running = threading.Thread(target=local.run, args=(update,))
    running.start()
    wait_until(lambda: deployment("Caller").replica_states == {"RUNNING": 1, "STOPPING": 1})
    GATE.open.set()
    running.join(WAIT_S)
    assert answer.result(WAIT_S) == "answered"
    wait_until(lambda: list(serve.status().applications["default"].deployments) == ["Caller"])


@serve.deployment(start_timeout_s=0.2)
class Endless:
    """Has a constructor that never returns."""

    async def __init__(self) -> None:
        import asyncio

        await asyncio.Event().wait()


def test_a_constructor_that_never_returns_is_told_of(local):
    """`start_timeout_s` turns an endless start into an error."""
    with pytest.raises(DeployError, match=r"start_timeout_s=0\.2 s"):
        local.run(Endless.bind())


def test_what_a_deployment_waits_for_is_told(local):
    """The status shows that a constructor is running."""
    threading.Thread(target=lambda: local.run(Waiting.bind()), daemon=True).start()
    assert GATE.inside.acquire(timeout=WAIT_S)
    seen = wait_until(lambda: serve.status().applications, WAIT_S)["default"].deployments["Waiting"]
    assert "the constructor of a replica" in seen.waiting_for
    assert [replica.state for replica in seen.replicas] == ["STARTING"]
    GATE.open.set()
    wait_until(lambda: deployment("Waiting").status == "HEALTHY", WAIT_S)
    assert deployment("Waiting").waiting_for == ""


@serve.deployment
class Waiting:
    """Has a constructor that waits for the test."""

    async def __init__(self) -> None:
        import asyncio

        GATE.inside.release()
        await asyncio.to_thread(GATE.open.wait, WAIT_S)
