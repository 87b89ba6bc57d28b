"""What a driver says while it waits for applications to run, and when it gives up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from .._cluster.cluster_protocol import ActorDied
from ..errors import DeployTimeoutError, ServeError
from ..status import ApplicationStatus, DeploymentStatus, ServeStatus

__all__ = ["describe_waiting", "tell_waiting", "timed_out"]

log = logging.getLogger("alacarte")
_FIRST_S = 5.0
_SECOND_S = 30.0
_LONGEST_S = 3600.0


def describe_waiting(status: ServeStatus, applications: Sequence[str]) -> dict[str, str]:
    """Return what each deployment that does not run yet waits for.

    Returns:
        By `application#deployment`, in words that follow a colon.
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
    """Return the error for applications that do not run in time."""
    late = [
        name
        for name in applications
        if name not in status.applications
        or status.applications[name].status is not ApplicationStatus.RUNNING
    ]
    late = late or list(applications)  # it came up while we asked
    return DeployTimeoutError(
        tuple(late), timeout_s, describe_waiting(status, late), _messages(status, late)
    )


def _messages(status: ServeStatus, applications: Sequence[str]) -> tuple[str, ...]:
    """Return what is wrong with applications, each sentence once."""
    found = [
        deployment.message
        for name in applications
        if name in status.applications
        for deployment in status.applications[name].deployments.values()
        if deployment.message
    ]
    return tuple(dict.fromkeys(found))


async def tell_waiting(
    status: Callable[[], Awaitable[ServeStatus]], applications: Sequence[str]
) -> None:
    """Log what applications wait for, after ever longer pauses, until cancelled."""
    wait_s, pause_s = _FIRST_S, _SECOND_S
    while True:
        await asyncio.sleep(wait_s)
        wait_s, pause_s = pause_s, min(pause_s * 2, _LONGEST_S)
        try:
            seen = await status()
        except (ActorDied, ServeError) as error:
            log.debug("what is waited for is not known: %s", error)
            continue
        for deployment, text in describe_waiting(seen, applications).items():
            log.warning("%s: %s", deployment, text)
        for message in _messages(seen, applications):
            log.warning("%s", message)
