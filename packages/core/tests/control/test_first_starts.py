"""Which applications are told to start for the first time."""

from __future__ import annotations

from alacarte._control.first_starts import FirstStarts
from alacarte._model.plan import Plan
from alacarte.types import DeploymentId, Route

OLD, NEW, INNER = DeploymentId("app", "Old"), DeploymentId("app", "New"), DeploymentId("app", "In")


def plan(*ingresses: DeploymentId) -> Plan:
    """An application behind a route, or none."""
    routes = tuple(Route("/", each.app, {each: 1.0}) for each in ingresses)
    return Plan(dict.fromkeys((*ingresses, INNER)) if ingresses else {}, routes)  # type: ignore[arg-type]


def starts(*ingresses: DeploymentId) -> FirstStarts:
    found = FirstStarts()
    found.set_plan(plan(*ingresses))
    return found


def test_an_application_starts_until_its_ingress_has_a_replica():
    """Whatever the deployments behind that have."""
    found = starts(OLD)
    found.update(INNER, 1, 1, failed=False)
    found.update(OLD, 0, 1, failed=False)
    assert found.changed
    assert found.take() == {"app"}
    found.update(OLD, 0, 2, failed=False)
    assert not found.changed
    found.update(OLD, 1, 2, failed=False)
    assert found.changed
    assert found.take() == frozenset()


def test_one_that_has_run_does_not_start_for_the_first_time_again():
    """Not without a replica, and not with another ingress; but once it was deleted."""
    found = starts(OLD)
    found.update(OLD, 1, 1, failed=False)
    found.update(OLD, 0, 1, failed=False)
    found.set_plan(plan(NEW))
    found.update(NEW, 0, 1, failed=False)
    assert found.take() == frozenset()
    found.set_plan(plan())
    found.set_plan(plan(NEW))
    found.update(NEW, 0, 1, failed=False)
    assert found.take() == {"app"}


def test_one_that_was_deleted_while_it_started():
    """It is told no more."""
    found = starts(OLD)
    found.update(OLD, 0, 1, failed=False)
    found.set_plan(plan())
    assert found.take() == frozenset()


def test_one_that_waits_for_calls():
    """With no replica wanted, calls wait from the first on, for they are what starts it."""
    found = starts(OLD)
    found.update(OLD, 0, 0, failed=False)
    found.update(OLD, 0, 1, failed=False)
    assert found.take() == frozenset()


def test_one_that_has_failed():
    """It is not starting; deployed again, it is."""
    found = starts(OLD)
    found.update(OLD, 0, 1, failed=False)
    found.update(OLD, 0, 1, failed=True)
    assert found.take() == frozenset()
    found.update(OLD, 0, 1, failed=False)
    assert found.take() == {"app"}


def test_a_former_controllers():
    """They have run, as far as anybody knows."""
    found = FirstStarts()
    found.resume(plan(OLD))
    found.set_plan(plan(OLD))
    found.update(OLD, 0, 1, failed=False)
    assert found.take() == frozenset()
