"""How deployments and applications are said to be doing, by table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._control.deployment_status import (
    Change,
    Condition,
    application_status,
    change_between,
    condition_of,
    overview_of,
    settled,
    waiting_for,
)
from alacarte._control.reconcile import ReplicaView, Settings, Target
from alacarte.status import ApplicationStatus as App
from alacarte.status import DeploymentStatus as Status
from alacarte.status import DeploymentStatusOverview, ReplicaState
from alacarte.status import DeploymentStatusTrigger as Trigger

SETTINGS = Settings(5, "null")
TARGET = Target("new", 2, SETTINGS, failures_allowed=3)
AT_WORK = Condition(Status.UPDATING, Trigger.CONFIG_UPDATE_STARTED, 1.0)
WELL = Condition(Status.HEALTHY, Trigger.CONFIG_UPDATE_COMPLETED, 1.0, reached=True)
NOW = 5.0


def views(text: str) -> list[ReplicaView]:
    """Read "new RUNNING, …"; a third word says that it has other settings, or is unfit."""
    found = []
    for part in filter(None, text.split(", ")):
        version, state, *other = part.split()
        settings = Settings(9, "null") if other == ["other"] else SETTINGS
        healthy = other != ["unfit"]
        found.append(ReplicaView("r", version, ReplicaState[state], settings, healthy=healthy))
    return found


@pytest.mark.parametrize(
    ("replicas", "failures", "before", "status"),
    [
        ("", 0, AT_WORK, Status.UPDATING),
        ("new STARTING, new RUNNING", 0, AT_WORK, Status.UPDATING),
        ("new RUNNING, new RUNNING", 0, AT_WORK, Status.HEALTHY),
        ("new RUNNING, new RUNNING, new STOPPING", 0, WELL, Status.HEALTHY),
        ("new RUNNING, new RUNNING, old STOPPING", 0, AT_WORK, Status.UPDATING),
        ("new RUNNING, new RUNNING, old RUNNING", 0, AT_WORK, Status.UPDATING),
        ("new RUNNING, new RUNNING other", 0, AT_WORK, Status.UPDATING),
        ("new UPDATING, new RUNNING", 0, WELL, Status.HEALTHY),
        ("new RUNNING, new RUNNING, new STARTING", 0, AT_WORK, Status.HEALTHY),
        ("new PENDING_MIGRATION, new RUNNING, new STARTING", 0, WELL, Status.HEALTHY),
        ("new PENDING_MIGRATION, new RUNNING, new RUNNING", 0, WELL, Status.HEALTHY),
        ("old RUNNING, old RUNNING", 0, AT_WORK, Status.UPDATING),
        ("new RUNNING", 0, WELL, Status.UNHEALTHY),
        ("new RUNNING, new RUNNING unfit", 0, WELL, Status.UNHEALTHY),
        ("", 2, WELL, Status.UNHEALTHY),
        ("", 2, AT_WORK, Status.UPDATING),
        ("", 3, AT_WORK, Status.DEPLOY_FAILED),
        ("old RUNNING, old RUNNING", 3, AT_WORK, Status.DEPLOY_FAILED),
        ("new RUNNING", 3, AT_WORK, Status.UPDATING),
        ("new RUNNING other", 3, AT_WORK, Status.DEPLOY_FAILED),
    ],
)
def test_a_deployment(replicas: str, failures: int, before: Condition, status: Status):
    """The status follows from replicas, versions, failures and the last status."""
    found = condition_of(before, Change.CONFIG, TARGET, views(replicas), failures=failures, now=NOW)
    assert found.status is status
    if status is Status.UPDATING:
        assert found.trigger is Trigger.CONFIG_UPDATE_STARTED
    if status is Status.DEPLOY_FAILED:
        assert found.trigger is Trigger.REPLICA_STARTUP_FAILED
    assert found.since == (before.since if status is before.status else NOW)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (Change.CONFIG, "UPDATING CONFIG_UPDATE_STARTED", "CONFIG_UPDATE_COMPLETED"),
        (Change.UP, "UPSCALING CONFIG_UPDATE_STARTED", "UPSCALE_COMPLETED"),
        (Change.DOWN, "DOWNSCALING CONFIG_UPDATE_STARTED", "DOWNSCALE_COMPLETED"),
        (Change.AUTO_UP, "UPSCALING AUTOSCALING", "UPSCALE_COMPLETED"),
        (Change.AUTO_DOWN, "DOWNSCALING AUTOSCALING", "DOWNSCALE_COMPLETED"),
    ],
)
def test_each_change_has_its_own_names(change: Change, before: str, after: str):
    """Changes of the number, of the code, and by autoscaling have different statuses."""
    asked = replace(WELL, reached=False)
    under_way = condition_of(asked, change, TARGET, views("new RUNNING"), failures=0, now=NOW)
    assert f"{under_way.status} {under_way.trigger}" == before
    seen = views("new RUNNING, new RUNNING")
    done = condition_of(under_way, change, TARGET, seen, failures=0, now=NOW)
    assert (done.status, done.trigger, done.reached) == (Status.HEALTHY, Trigger[after], True)


def test_what_a_change_is():
    """Only the number: a scaling; anything else, or the first: an update."""
    more, fewer = replace(TARGET, replicas=3), replace(TARGET, replicas=1)
    assert change_between(None, TARGET, automatic=True) is Change.CONFIG
    assert change_between(TARGET, more, automatic=False) is Change.UP
    assert change_between(TARGET, fewer, automatic=False) is Change.DOWN
    assert change_between(TARGET, more, automatic=True) is Change.AUTO_UP
    assert change_between(TARGET, fewer, automatic=True) is Change.AUTO_DOWN
    assert change_between(TARGET, replace(more, version="x"), automatic=False) is Change.CONFIG


def test_a_recovery_is_told_as_such():
    """A missing replica makes a deployment UNHEALTHY, then HEALTHY, without a change trigger."""
    ill = condition_of(WELL, Change.CONFIG, TARGET, views("new RUNNING"), failures=0, now=NOW)
    assert (ill.status, ill.trigger) == (Status.UNHEALTHY, Trigger.UNSPECIFIED)
    still = condition_of(ill, Change.CONFIG, TARGET, views("new RUNNING"), failures=0, now=9.0)
    assert still.since == NOW
    seen = views("new RUNNING, new RUNNING")
    well = condition_of(still, Change.CONFIG, TARGET, seen, failures=0, now=9.0)
    assert (well.status, well.trigger, well.since) == (Status.HEALTHY, Trigger.UNSPECIFIED, 9.0)


def test_a_failed_health_check_is_the_trigger():
    """The trigger stays until the unhealthy replica has gone."""
    seen = views("new RUNNING, new RUNNING unfit, new STARTING")
    ill = condition_of(WELL, Change.CONFIG, TARGET, seen, failures=0, now=NOW)
    assert (ill.status, ill.trigger) == (Status.UNHEALTHY, Trigger.HEALTH_CHECK_FAILED)
    seen = views("new RUNNING, new STOPPING unfit")
    still = condition_of(ill, Change.CONFIG, TARGET, seen, failures=0, now=NOW)
    assert still.trigger is Trigger.HEALTH_CHECK_FAILED


def test_a_deployment_that_is_to_go():
    """A deployment without a target is DELETING."""
    found = condition_of(WELL, Change.CONFIG, None, views("new RUNNING"), failures=9, now=NOW)
    assert (found.status, found.trigger) == (Status.UPDATING, Trigger.DELETING)


def test_replicas_are_counted_by_state():
    """Counts are by state, without empty states."""
    seen = views("new RUNNING, old RUNNING, old STOPPING")
    overview = overview_of(AT_WORK, TARGET, seen, "x failed")
    assert overview.replica_states == {"RUNNING": 2, "STOPPING": 1}
    assert (overview.message, overview.target_replicas) == ("x failed", 2)
    assert overview_of(WELL, TARGET, seen, "x failed").message == ""


@pytest.mark.parametrize(
    ("replicas", "failures", "waits"),
    [
        ("new RUNNING, new RUNNING", 0, ""),
        ("new STARTING, new STARTING", 0, "the constructor of 2 replicas"),
        ("new RUNNING, old RUNNING, new STARTING", 0, "the replacement of a replica of another"),
        ("new RUNNING, new RUNNING, old STOPPING", 0, "the last requests of a replica"),
        ("old RUNNING", 3, "a new deploy (this version failed to start 3 times)"),
        ("new RUNNING", 1, "the end of the 4.0 s backoff after the last failure"),
    ],
)
def test_what_is_waited_for(replicas: str, failures: int, waits: str):
    """Each pending event is named, and none for a deployment that matches its target."""
    found = waiting_for(TARGET, views(replicas), failures=failures, pause_s=4.0)
    assert waits in "; ".join(found)
    assert bool(found) is bool(waits)


@given(st.lists(st.sampled_from(ReplicaState), max_size=6), st.integers(0, 4), st.booleans())
def test_it_is_healthy_only_with_all_that_is_wanted(
    states: list[ReplicaState], failures: int, reached: bool
):
    """HEALTHY says that at least the wanted number answers requests."""
    seen = [ReplicaView(f"r{n}", "new", state, SETTINGS) for n, state in enumerate(states)]
    before = WELL if reached else AT_WORK
    found = condition_of(before, Change.CONFIG, TARGET, seen, failures=failures, now=NOW)
    serving = sum(state.value in ("RUNNING", "UPDATING", "PENDING_MIGRATION") for state in states)
    assert found.status is not Status.HEALTHY or serving >= TARGET.replicas


@pytest.mark.parametrize(
    ("deployments", "status"),
    [
        ([Status.HEALTHY], App.RUNNING),
        ([Status.HEALTHY, Status.HEALTHY], App.RUNNING),
        ([Status.HEALTHY, Status.UPDATING], App.DEPLOYING),
        ([Status.HEALTHY, Status.UPSCALING], App.DEPLOYING),
        ([Status.UPDATING, Status.UNHEALTHY], App.UNHEALTHY),
        ([Status.UNHEALTHY, Status.DEPLOY_FAILED, Status.HEALTHY], App.DEPLOY_FAILED),
    ],
)
def test_an_application_is_as_its_worst_deployment(deployments: list[Status], status: App):
    """An application has the worst status of its deployments."""
    overviews = [DeploymentStatusOverview(each, Trigger.UNSPECIFIED) for each in deployments]
    assert application_status(overviews) is status


def test_autoscaling_leaves_an_application_running():
    """Autoscaling does not change the status of the application."""
    scaling = DeploymentStatusOverview(Status.UPSCALING, Trigger.AUTOSCALING)
    assert application_status([scaling]) is App.RUNNING


def test_waiting_ends_for_better_or_worse():
    """A deploy ends with RUNNING or DEPLOY_FAILED only."""
    assert {status for status in App if settled(status)} == {App.RUNNING, App.DEPLOY_FAILED}
