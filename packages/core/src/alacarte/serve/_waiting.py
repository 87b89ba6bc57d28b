"""Messages of a driver that waits for applications to run, and its error after a timeout."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from .._cluster.cluster_protocol import ActorDied
from ..errors import DeployTimeoutError, ServeError
from ..status import ApplicationStatus, DeploymentStatus, ServeStatus

__all__ = ["describe_waiting", "log_waiting", "timed_out"]

log = logging.getLogger("alacarte")
_FIRST_PAUSE_S = 5.0
_SECOND_PAUSE_S = 30.0
_MAX_PAUSE_S = 3600.0


def describe_waiting(status: ServeStatus, applications: Sequence[str]) -> dict[str, str]:
    """Return a description of each deployment that does not run yet, by `application#deployment`.

    The description has the ready replicas, and the reason for the wait.
    """
    found = {}
    for name in applications:
        application = status.applications.get(name)
        for deployment, each in (application.deployments if application else {}).items():
            if each.status is DeploymentStatus.HEALTHY:
                continue
            ready = each.replica_states.get("RUNNING", 0)
            waits = f", waits for {each.waiting_for}" if each.waiting_for else ""
            found[f"{name}#{deployment}"] = f"{ready} of {each.target_replicas} ready{waits}"
    return found


def timed_out(
    status: ServeStatus, applications: Sequence[str], timeout_s: float
) -> DeployTimeoutError:
    """Return the error for applications that are not running after `timeout_s`."""
    late = [
        name
        for name in applications
        if name not in status.applications
        or status.applications[name].status is not ApplicationStatus.RUNNING
    ]
    late = late or list(applications)  # all started to run during the call for the status
    return DeployTimeoutError(
        tuple(late), timeout_s, describe_waiting(status, late), _messages(status, late)
    )


def _messages(status: ServeStatus, applications: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct status messages of the applications' deployments."""
    found = [
        deployment.message
        for name in applications
        if name in status.applications
        for deployment in status.applications[name].deployments.values()
        if deployment.message
    ]
    return tuple(dict.fromkeys(found))


async def log_waiting(
    status: Callable[[], Awaitable[ServeStatus]], applications: Sequence[str]
) -> None:
    """Log what applications wait for, after ever longer pauses, until cancelled."""
    wait_s, pause_s = _FIRST_PAUSE_S, _SECOND_PAUSE_S
    while True:
        await asyncio.sleep(wait_s)
        wait_s, pause_s = pause_s, min(pause_s * 2, _MAX_PAUSE_S)
        try:
            current = await status()
        except (ActorDied, ServeError) as error:
            log.debug("the status of waiting applications is unavailable: %s", error)
            continue
        for deployment, text in describe_waiting(current, applications).items():
            log.warning("%s: %s", deployment, text)
        for message in _messages(current, applications):
            log.warning("%s", message)
