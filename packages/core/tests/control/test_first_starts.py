"""The applications that are starting for the first time."""

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
    """Only replicas of the ingress count, not those of the deployments behind it."""
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
    """An application that has run stays so until its deletion, even without a replica."""
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
    """A deleted application is not starting."""
    found = starts(OLD)
    found.update(OLD, 0, 1, failed=False)
    found.set_plan(plan())
    assert found.take() == frozenset()


def test_one_that_waits_for_calls():
    """An application that is scaled to zero is not starting: calls trigger its start."""
    found = starts(OLD)
    found.update(OLD, 0, 0, failed=False)
    found.update(OLD, 0, 1, failed=False)
    assert found.take() == frozenset()


def test_one_that_has_failed():
    """A failed application is not starting; after the next deploy it is."""
    found = starts(OLD)
    found.update(OLD, 0, 1, failed=False)
    found.update(OLD, 0, 1, failed=True)
    assert found.take() == frozenset()
    found.update(OLD, 0, 1, failed=False)
    assert found.take() == {"app"}


def test_a_former_controllers():
    """The applications of a former controller count as having run."""
    found = FirstStarts()
    found.resume(plan(OLD))
    found.set_plan(plan(OLD))
    found.update(OLD, 0, 1, failed=False)
    assert found.take() == frozenset()
