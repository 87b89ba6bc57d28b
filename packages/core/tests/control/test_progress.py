"""A deployment's progress towards its target."""

from __future__ import annotations

from dataclasses import replace

from alacarte._control.desired_state import target_of
from alacarte._control.progress import Progress
from alacarte._control.reconcile import ReplicaView, Target
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte.config import DeploymentConfig
from alacarte.status import DeploymentStatus, DeploymentStatusTrigger, ReplicaState
from alacarte.types import DeploymentId


def target(replicas: int) -> Target:
    config = DeploymentConfig(num_replicas=replicas)
    return target_of(DeploymentSpec(DeploymentId("app", "D"), "v1", b"", b"", False, config))


def running(wanted: Target, count: int) -> list[ReplicaView]:
    return [
        ReplicaView(str(n), wanted.version, ReplicaState.RUNNING, wanted.settings, 0.0, True)
        for n in range(count)
    ]


def test_an_update_lasts_until_its_target_is_reached():
    """Autoscaling does not end an update; after the update it is a change of its own."""
    progress, two = Progress(), target(2)
    progress.set_target(None, two, automatic=False)
    three = replace(two, replicas=3)
    progress.set_target(two, three, automatic=True)
    assert progress.refresh(three, running(three, 2), failures=0) is DeploymentStatus.UPDATING
    assert progress.refresh(three, running(three, 3), failures=0) is DeploymentStatus.HEALTHY
    progress.set_target(three, two, automatic=True)
    assert progress.refresh(two, running(two, 3), failures=0) is DeploymentStatus.DOWNSCALING
    assert progress.condition.trigger is DeploymentStatusTrigger.AUTOSCALING


def test_a_deferred_deletion_is_shown():
    """The status shows the deletion while the replicas still serve."""
    progress, one = Progress(), target(1)
    progress.set_target(None, one, automatic=False)
    views = running(one, 1)
    progress.refresh(one, views, failures=0)
    shown = progress.overview(one, views, "", deletion_deferred=True)
    assert (shown.status, shown.status_trigger) == ("UPDATING", "DELETING")
    assert progress.condition.status is DeploymentStatus.HEALTHY


def test_a_fault_of_ours_is_shown():
    """Until the next refresh finds that all is well."""
    progress, one = Progress(), target(1)
    progress.set_target(None, one, automatic=False)
    progress.report_internal_error()
    assert progress.condition.trigger is DeploymentStatusTrigger.INTERNAL_ERROR
    assert progress.refresh(one, running(one, 1), failures=0) is DeploymentStatus.HEALTHY
