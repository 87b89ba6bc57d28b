"""Publication of snapshots: contents and versions, and no publication of equal values."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from typing import Any

import pytest

from alacarte import _plugins
from alacarte._control.desired_state import target_of
from alacarte._control.publisher import Publisher
from alacarte._control.report_topics import ReportTopics
from alacarte._model.plan import Plan
from alacarte._model.snapshots import ROUTES_KEY, deployment_key
from alacarte.actors import ReplicaEntry, RoutedDeployment, WatchRequest
from alacarte.errors import DeployError
from alacarte.status import DeploymentStatus
from alacarte.types import Address, DeploymentId, UserCode

from ..plan_support import application, planned

ME = DeploymentId("a", "x")
ENTRY = ReplicaEntry("a#x#1", Address("/s", "host", None), "node", 5)


class Group:
    """The published attributes of a replica group."""

    deployment = ME

    def __init__(self, plan: Plan, *entries: ReplicaEntry) -> None:
        self.spec = plan.deployments.get(ME)
        self.target = None if self.spec is None else target_of(self.spec)
        self.entries = entries


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(application("a", "x", prefix="/a"))


@pytest.fixture
def publisher() -> Publisher:
    core = [record for record in _plugins.discover() if record.name == "core"]
    plugins = _plugins.load(core, strict=True)
    return Publisher(plugins, ReportTopics({}, str, plugins.failures))


def publish(publisher: Publisher, status: DeploymentStatus, plan: Plan, *entries: Any) -> Any:
    group: Any = Group(plan, *entries)
    publisher.publish_deployment(group, status)
    return publisher.hub.current(deployment_key(ME))


def test_a_snapshot_is_published_once(publisher: Publisher, plan: Plan):
    """An equal snapshot keeps its version; other replicas get a higher one."""
    first = publish(publisher, DeploymentStatus.UPDATING, plan)
    assert (first.state, first.replicas) == ("up", ())
    assert publish(publisher, DeploymentStatus.UPDATING, plan) is first
    second = publish(publisher, DeploymentStatus.HEALTHY, plan, ENTRY)
    assert second.version > first.version
    assert second.replicas == (ENTRY,)


def test_a_deployment_that_failed_or_is_deleted_says_so(publisher: Publisher, plan: Plan):
    """A failed deployment that still has replicas is published with them."""
    failed = DeploymentStatus.DEPLOY_FAILED
    assert publish(publisher, failed, plan).state == "failed"
    assert publish(publisher, failed, plan, ENTRY).state == "up"
    assert publish(publisher, DeploymentStatus.UPDATING, Plan()).state == "absent"


def test_routes_say_what_starts_for_the_first_time(publisher: Publisher, plan: Plan):
    """First starts are published with the routes, and only when they change."""
    publisher.set_plan(plan)
    publish(publisher, DeploymentStatus.UPDATING, plan)
    publisher.publish_routes()
    first = publisher.hub.current(ROUTES_KEY)
    assert (first.routes, first.starting) == (plan.routes, {"a"})
    publisher.publish_routes()
    assert publisher.hub.current(ROUTES_KEY) is first
    assert not publisher.starts_changed
    publish(publisher, DeploymentStatus.HEALTHY, plan, ENTRY)
    assert publisher.starts_changed
    publisher.publish_routes()
    second = publisher.hub.current(ROUTES_KEY)
    assert second.starting == frozenset()
    assert publisher.routes_version == second.version > first.version


def test_what_a_former_controller_left_has_run(publisher: Publisher, plan: Plan):
    """Applications of a former controller are not starting for the first time."""
    publisher.recover(plan)
    publisher.set_plan(plan)
    publish(publisher, DeploymentStatus.UPDATING, plan)
    publisher.publish_routes()
    assert publisher.hub.current(ROUTES_KEY).starting == frozenset()


def test_applications_are_published_with_the_routes(publisher: Publisher):
    """Applications without a route are published, too, and a change of them is a newer table."""
    publisher.set_plan(planned(application("a", "x", "y", prefix="/a"), application("b", "x")))
    publisher.publish_routes()
    first = publisher.hub.current(ROUTES_KEY)
    assert first.ingresses == {"a": DeploymentId("a", "y"), "b": DeploymentId("b", "x")}
    assert first.deployments == dict.fromkeys(first.ingresses.values(), RoutedDeployment("v1", {}))
    publisher.set_plan(planned(application("a", "x", "y", prefix="/a")))
    publisher.publish_routes()
    second = publisher.hub.current(ROUTES_KEY)
    assert second.version > first.version
    assert (second.routes, list(second.ingresses)) == (first.routes, ["a"])


def test_options_are_published_without_code(publisher: Publisher):
    """Callers and proxies get options without code, and a new version for other code."""

    def heads(code: bytes) -> Any:
        options = {"cache": {"ttl_s": 5, "keys": [UserCode("shop:key", code)]}}
        made = application("a", "x", prefix="/a")
        [spec] = made.spec.deployments
        changed = replace(made.spec, deployments=(replace(spec, options=options),))
        plan = planned(replace(made, spec=changed))
        publisher.set_plan(plan)
        publisher.publish_routes()
        snapshot = publish(publisher, DeploymentStatus.UPDATING, plan)
        return snapshot, publisher.hub.current(ROUTES_KEY).deployments[ME]

    (first, first_head), (second, second_head) = heads(b"CODE 1"), heads(b"CODE 2")
    assert first.options == first_head.options
    assert first.options["cache"]["keys"] == [UserCode("shop:key", b"CODE 1").without_code()]
    assert b"CODE" not in pickle.dumps((first, first_head))
    assert first.version < second.version
    assert first_head != second_head


async def test_who_follows_what_there_is_not_is_told(publisher: Publisher):
    """A watcher of an unknown deployment gets `absent` at once, and the key is retired."""
    key = deployment_key(DeploymentId("no", "such"))
    found = await publisher.watch(WatchRequest("p", "p-1", 1, {key: 0}))
    snapshot: Any = found[key]
    assert (snapshot.state, snapshot.id) == ("absent", DeploymentId("no", "such"))


def test_routes_that_reach_nobody(publisher: Publisher, plan: Plan, run: Any):
    """The error names the proxies if none has applied the routes."""

    async def main() -> None:
        publisher.hub.track("stuck")
        publisher.set_plan(plan)
        publisher.publish_routes()
        version = publisher.routes_version
        assert await publisher.wait_routes_applied(version) == version  # after its time is over
        with pytest.raises(DeployError, match="application 'a' runs, but .* its route: stuck has"):
            publisher.check_reached("application 'a'", version)
        publisher.hub.track("other")
        with pytest.raises(DeployError, match="stuck, other have not applied"):
            publisher.check_reached("application 'a'", version)
        watching = asyncio.create_task(
            publisher.watch(WatchRequest("other", "other/1", 1, {ROUTES_KEY: version}))
        )
        await asyncio.sleep(0)  # until it waits
        publisher.check_reached("application 'a'", version)
        watching.cancel()
        await asyncio.wait([watching])

    run(main)
