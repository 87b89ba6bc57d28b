"""How deployments and applications are said to be doing, by table."""

from __future__ import annotations

import pytest

from alacarte._control.reconcile import ReplicaView, Settings, Target
from alacarte._control.summary import application_status, deployment_status, settled
from alacarte.status import ApplicationStatus as App
from alacarte.status import DeploymentStatus as Status
from alacarte.status import DeploymentStatusOverview, ReplicaState
from alacarte.status import DeploymentStatusTrigger as Trigger

SETTINGS = Settings(5, "null")
TARGET = Target("new", 2, SETTINGS, failures_allowed=3)


def views(text: str) -> list[ReplicaView]:
    """Read "new RUNNING, …"; a third word stands for other settings."""
    found = []
    for part in filter(None, text.split(", ")):
        version, state, *other = part.split()
        settings = Settings(9, "null") if other else SETTINGS
        found.append(ReplicaView("r", version, ReplicaState[state], settings))
    return found


@pytest.mark.parametrize(
    ("replicas", "failures", "was_healthy", "status"),
    [
        ("", 0, False, Status.UPDATING),
        ("new STARTING, new RUNNING", 0, False, Status.UPDATING),
        ("new RUNNING, new RUNNING", 0, False, Status.HEALTHY),
        ("new RUNNING, new RUNNING, new STOPPING", 0, True, Status.HEALTHY),
        ("new RUNNING, new RUNNING, old STOPPING", 0, False, Status.UPDATING),
        ("new RUNNING, new RUNNING, old RUNNING", 0, False, Status.UPDATING),
        ("new RUNNING, new RUNNING other", 0, False, Status.UPDATING),
        ("new RUNNING, new RUNNING, new STARTING other", 0, False, Status.HEALTHY),
        ("old RUNNING, old RUNNING", 0, False, Status.UPDATING),
        ("new RUNNING", 0, True, Status.UNHEALTHY),
        ("", 2, True, Status.UNHEALTHY),
        ("", 2, False, Status.UPDATING),
        ("", 3, False, Status.DEPLOY_FAILED),
        ("old RUNNING, old RUNNING", 3, False, Status.DEPLOY_FAILED),
        ("new RUNNING", 3, False, Status.UPDATING),
    ],
)
def test_deployment(replicas: str, failures: int, was_healthy: bool, status: Status):
    """The status follows from what runs, of which version, and from what failed."""
    overview = deployment_status(
        TARGET, views(replicas), failures=failures, was_healthy=was_healthy, message="x failed"
    )
    assert overview.status is status
    trigger = {
        Status.UPDATING: Trigger.CONFIG_UPDATE_STARTED,
        Status.HEALTHY: Trigger.CONFIG_UPDATE_COMPLETED,
        Status.UNHEALTHY: Trigger.UNSPECIFIED,
        Status.DEPLOY_FAILED: Trigger.REPLICA_STARTUP_FAILED,
    }
    assert overview.status_trigger is trigger[status]
    assert overview.message == ("" if status is Status.HEALTHY else "x failed")


def test_replicas_are_counted_by_state():
    """States without a replica are left out; versions do not matter."""
    seen = views("new RUNNING, old RUNNING, old STOPPING")
    overview = deployment_status(TARGET, seen, failures=0, was_healthy=False, message="")
    assert overview.replica_states == {"RUNNING": 2, "STOPPING": 1}


def test_a_deployment_that_is_to_go():
    """Without a target it is being deleted, whatever still runs."""
    seen = views("new RUNNING")
    overview = deployment_status(None, seen, failures=9, was_healthy=True, message="")
    assert (overview.status, overview.status_trigger) == (Status.UPDATING, Trigger.DELETING)


@pytest.mark.parametrize(
    ("deployments", "status"),
    [
        ([Status.HEALTHY], App.RUNNING),
        ([Status.HEALTHY, Status.HEALTHY], App.RUNNING),
        ([Status.HEALTHY, Status.UPDATING], App.DEPLOYING),
        ([Status.UPDATING, Status.UNHEALTHY], App.UNHEALTHY),
        ([Status.UNHEALTHY, Status.DEPLOY_FAILED, Status.HEALTHY], App.DEPLOY_FAILED),
    ],
)
def test_an_application_is_as_its_worst_deployment(deployments: list[Status], status: App):
    """One failed deployment fails it, one unhealthy one makes it so, one updating delays it."""
    overviews = [DeploymentStatusOverview(each, Trigger.UNSPECIFIED) for each in deployments]
    assert application_status(overviews) is status


def test_waiting_ends_for_better_or_worse():
    """A deployment is waited for until it runs or has failed, and through all else."""
    assert {status for status in App if settled(status)} == {App.RUNNING, App.DEPLOY_FAILED}
