"""The wait of `serve.run` for an application, its log lines, and its timeout."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from alacarte import serve
from alacarte._cluster.cluster_protocol import ActorDied
from alacarte.errors import ConfigError, DeployError, DeployTimeoutError, ServeError
from alacarte.serve._waiting import describe_waiting, log_waiting, timed_out
from alacarte.status import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ServeStatus,
)
from alacarte.testing import wait_until

NO_ROOM = "1 CPU; the cluster has 0 free. Lower `ray_actor_options['num_cpus']`, or add a node."

TOO_MUCH = "Deployment 'shop#Model' asks for 3 CPUs; the cluster has 2 in all."


def status_of(ready: int, waiting_for: str) -> ServeStatus:
    reached = not waiting_for
    deployment = DeploymentStatusOverview(
        DeploymentStatus.HEALTHY if reached else DeploymentStatus.UPDATING,
        DeploymentStatusTrigger.UNSPECIFIED,
        {"RUNNING": ready},
        message="" if reached else TOO_MUCH,
        waiting_for=waiting_for,
        target_replicas=2,
    )
    state = ApplicationStatus.RUNNING if reached else ApplicationStatus.DEPLOYING
    return ServeStatus(
        applications={"shop": ApplicationStatusOverview(state, deployments={"Model": deployment})}
    )


def test_what_is_waited_for():
    """The description has each deployment that is not ready: ready replicas and reason."""
    assert describe_waiting(status_of(1, NO_ROOM), ["shop", "gone"]) == {
        "shop#Model": f"1 of 2 ready, waits for {NO_ROOM}"
    }
    assert describe_waiting(status_of(2, ""), ["shop"]) == {}


def test_the_error_has_the_reason_and_a_remedy():
    """The error has the application, the time, each waiting deployment, and a remedy."""
    assert str(timed_out(status_of(1, NO_ROOM), ["shop"], 10)) == (
        "application 'shop' is not running after 10 s.\n"
        f"shop#Model: 1 of 2 ready, waits for {NO_ROOM}\n"
        f"{TOO_MUCH}\n"
        "It stays deployed and continues to start. serve.delete() removes it."
    )


def test_a_program_that_joined_logs_rarely(run: Any, caplog: pytest.LogCaptureFixture):
    """The log lines come after five seconds, then after ever longer pauses."""

    async def status() -> ServeStatus:
        return status_of(1, NO_ROOM)

    async def main() -> None:
        logging_task = asyncio.create_task(log_waiting(status, ["shop"]))
        await asyncio.sleep(4)
        assert caplog.messages == []
        await asyncio.sleep(600)
        assert caplog.messages[0].startswith("shop#Model: 1 of 2 ready, waits for 1 CPU")
        assert 4 <= sum(message.startswith("shop#Model:") for message in caplog.messages) <= 8
        assert caplog.messages[1] == TOO_MUCH
        logging_task.cancel()
        await asyncio.gather(logging_task, return_exceptions=True)

    caplog.set_level(logging.WARNING)
    run(main)


@pytest.mark.parametrize("error", [ActorDied("gone"), ServeError("silent")])
def test_an_unavailable_controller_is_asked_again(
    run: Any, caplog: pytest.LogCaptureFixture, error: Exception
):
    """The reason for the wait is logged once it is known, after any failures to get it."""
    errors = [error]

    async def status() -> ServeStatus:
        if errors:
            raise errors.pop()
        return status_of(1, NO_ROOM)

    async def main() -> None:
        logging_task = asyncio.create_task(log_waiting(status, ["shop"]))
        await asyncio.sleep(60)
        logging_task.cancel()
        await asyncio.gather(logging_task, return_exceptions=True)

    caplog.set_level(logging.WARNING)
    run(main)
    assert caplog.messages[0].startswith("shop#Model: 1 of 2 ready")


MAY_START = threading.Event()


@serve.deployment
class Slow:
    async def __init__(self) -> None:
        await asyncio.to_thread(MAY_START.wait)


def test_a_wait_that_is_bounded(local: Any):
    """The error comes after `timeout_s`; the application stays deployed, and runs later."""
    with pytest.raises(DeployTimeoutError) as caught:
        local.run(Slow.bind(), name="slow", timeout_s=0.2)
    MAY_START.set()
    assert isinstance(caught.value, DeployError)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.applications == ("slow",)
    assert "the constructor of a replica" in caught.value.waiting["slow#Slow"]

    def runs() -> bool:
        return local.status().applications["slow"].status is ApplicationStatus.RUNNING

    wait_until(runs, 30, "the application that was late")


def test_a_timeout_of_zero():
    """A timeout of zero or less is refused before anything starts."""
    with pytest.raises(ConfigError, match="must be greater than 0"):
        serve.run(Slow.bind(), timeout_s=0)
